"""`bench ingest` against the real daemon: what it says is what the store has; what it published can be erased."""

import json
import os
import shlex
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, daemon_process
from wire.test_polyglotctl import Ctl

EVENTS, CHANNELS = 1_500, 7
SIZE = ("--events", str(EVENTS), "--batch", "200", "--channels", str(CHANNELS))
STAGES = {"store", "rollups", "webhooks"}


@pytest.fixture
def ctl(daemon: DaemonProcess, tmp_path: Path) -> Ctl:
    return Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)})


@pytest.fixture
def app_id(ctl: Ctl, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"ingest-{abs(hash(request.node.name)) % 10**8}"
    ctl.json("tenant", "create", name)
    yield name
    ctl.run("tenant", "delete", name, "--yes")


def in_the_store(daemon: DaemonProcess, app_id: str) -> "list[tuple[str, str, str | None, int]]":
    """Channel, type, user and size of each event."""
    with closing(sqlite3.connect(f"file:{daemon.data / 'events.db'}?mode=ro", uri=True)) as store:
        return store.execute(
            "SELECT c.channel, e.type, e.user_id, length(e.data) FROM events e JOIN channels c USING (channel_no)"
            " WHERE c.app_id = ?",
            (app_id,),
        ).fetchall()


def apps(ctl: Ctl) -> "set[str]":
    return {app["app_id"] for app in ctl.json("tenant", "list")["apps"]}


def said_before_it_failed(ctl: Ctl, *arguments: str) -> "tuple[dict[str, Any], str]":
    done = ctl.run("bench", "ingest", *arguments)
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def test_when_it_ends_the_store_has_every_event_and_one_command_erases_them(
    daemon: DaemonProcess, ctl: Ctl, app_id: str
) -> None:
    ctl.json("publish", app_id, "room:own", "--type", "message", "--data", '"stays"')
    found = ctl.json("bench", "ingest", "--app", app_id, "--data-bytes", "100", *SIZE)
    stored = in_the_store(daemon, app_id)
    ours = [event for event in stored if event[0].startswith("room:bench-ingest-")]
    assert found["admitted"] == len(ours) == EVENTS
    assert len({channel for channel, *_ in ours}) == CHANNELS
    assert {event[1:] for event in ours} == {("bench.ingest", "bench-ingest", 100)}
    assert found["refused"] == found["held_back"] == {}
    assert set(found["stages"]) == STAGES
    for stage in found["stages"].values():
        assert stage["had_all_after_s"] >= stage["behind_the_last_event_s"] >= 0
    assert found["admitted_per_s"] >= found["stored_per_s"] > 0
    assert found["busy_cores"]["server"] is not None
    program, *erase = shlex.split(found["erase_with"])
    assert program == "polyglotctl"
    assert ctl.json(*erase)["done"]
    left = [event for event in in_the_store(daemon, app_id) if event[1] != "erased"]
    assert [(channel, type_) for channel, type_, *_ in left] == [("room:own", "message")]


def test_without_an_app_it_makes_one_of_which_nothing_is_left(ctl: Ctl) -> None:
    before = apps(ctl)
    found = ctl.json("bench", "ingest", *SIZE, "--json")
    assert found["load"]["app_id"].startswith("bench-")
    assert found["erase_with"] is None
    assert apps(ctl) == before


def test_the_app_of_the_environment_is_used(daemon: DaemonProcess, tmp_path: Path, app_id: str) -> None:
    ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data), "POLYGLOT_APP": app_id})
    assert ctl.json("bench", "ingest", "--kind", "post", "--events", "10")["load"]["app_id"] == app_id
    assert {channel.partition("-")[0] for channel, *_ in in_the_store(daemon, app_id)} == {"post:bench"}


def test_a_processor_of_its_own_process_is_watched_too(tmp_path: Path) -> None:
    with daemon_process(env={"POLYGLOTD_PROCESSOR__PROCESS": "own"}) as daemon:
        ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)})
        ctl.json("tenant", "create", "own")
        found = ctl.json("bench", "ingest", "--app", "own", *SIZE)  # it waits for one that has yet to start
        assert len(in_the_store(daemon, "own")) == EVENTS == found["admitted"]


def test_what_a_rate_holds_back_is_counted_and_gets_in(daemon: DaemonProcess, ctl: Ctl, app_id: str) -> None:
    ctl.json("quota", "set", app_id, "--api-publishes", "1000")
    found = ctl.json("bench", "ingest", "--app", app_id, *SIZE)
    assert found["held_back"]["rate_limited"] > 0
    assert found["admitted"] == len(in_the_store(daemon, app_id)) == EVENTS
    assert found["refused"] == {}


def test_a_quota_that_is_used_up_ends_it_and_is_named(daemon: DaemonProcess, ctl: Ctl, app_id: str) -> None:
    ctl.json("quota", "set", app_id, "--events-per-month", "100", "--api-publishes", "1000000")
    found, said = said_before_it_failed(ctl, "--app", app_id, "--events", "1000000", "--batch", "50")
    assert 0 < found["refused"]["quota_exceeded"] <= 100  # of each connection the batch that was under way
    assert found["admitted"] == len(in_the_store(daemon, app_id)) < 1_000_000
    assert "quota_exceeded" in said
    assert f"polyglotctl quota show {app_id}" in said


def test_a_stage_that_does_not_get_on_is_named(daemon: DaemonProcess, ctl: Ctl, app_id: str) -> None:
    with closing(sqlite3.connect(daemon.data / "webhooks.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        ctl.json("publish", app_id, "room:own", "--type", "message", "--data", "1")
        found, said = said_before_it_failed(ctl, "--app", app_id, "--within", "5", *SIZE)
        holder.execute("ROLLBACK")
    assert found["stages"]["webhooks"]["had_all_after_s"] is None
    assert found["stages"]["store"]["had_all_after_s"] is not None
    assert "do not have all: webhooks" in said


def test_endpoints_that_will_get_the_events_are_mentioned(ctl: Ctl, app_id: str) -> None:
    ctl.json("webhook", "add", app_id, "https://hooks.invalid/in", "--channel", "post:*")
    done = ctl.run("bench", "ingest", "--app", app_id, "--events", "10")
    assert done.returncode == 0
    assert f"{app_id} has webhooks" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--kind", "ticker"), 2, "memory kind"),
        (("--kind", "nothing"), 1, "not_found"),
        (("--app", "nobodys"), 1, "not_found"),
        (("--batch", "1000", "--data-bytes", "9000"), 2, "8 MiB"),
        (("--batch", "1001"), 2, "--batch"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_published(
    ctl: Ctl, arguments: "tuple[str, ...]", code: int, words: str
) -> None:
    before = apps(ctl)
    done = ctl.run("bench", "ingest", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert apps(ctl) == before


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    done = Ctl(tmp_path, {"POLYGLOT_URL": "http://127.0.0.1:9"}).run("bench", "ingest")
    assert done.returncode == 3


def test_where_no_processor_is_at_work_nothing_is_published(tmp_path: Path) -> None:
    with daemon_process("--role", "gateway") as daemon:
        ctl = Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data)})
        before = apps(ctl)
        assert "processor is not at work" in ctl.refused("bench", "ingest")
        assert apps(ctl) == before
        assert "processor is not at work" in ctl.refused("bench", "ingest", "--app", "chat-app")
        assert ctl.json("channels", "chat-app")["channels"] == []


def test_an_interrupt_ends_it_and_says_how_to_erase(daemon: DaemonProcess, ctl: Ctl, app_id: str) -> None:
    process = ctl.start("bench", "ingest", "--app", app_id, "--events", "100000", "--batch", "10", "--rate", "100")
    try:
        deadline = time.monotonic() + 20
        while not in_the_store(daemon, app_id):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert f"polyglotctl event erase {app_id} --user bench-ingest --yes" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
