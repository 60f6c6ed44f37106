"""A daemon's stores in another place: moved from SQLite into PostgreSQL, copied, restored. Real daemons, a real
PostgreSQL 18 with its own pg_dump and pg_restore."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from daemon_process import COMMAND, DaemonProcess, daemon_process
from event_store_file import stored_events
from postgres_database import new_database, program

PATH = "/apps/chat-app/channels/room:moving"
KEY = {"X-API-Key": "valid_key_chat-app"}
WITHIN_S = 30.0
ENV = {"POLYGLOTD_DRAIN__SECONDS": "0", "POLYGLOTD_PROCESSOR__PROCESS": "shared"}  # quick to start and stop
CHANNEL = "room:moving"


@pytest.fixture
def url() -> Iterator[str]:
    with new_database("postgres-18") as url:
        yield url


def publish(daemon: DaemonProcess, *texts: str) -> list[int]:
    seqs = []
    for text in texts:
        answer = httpx.post(daemon.url + PATH + "/publish", headers=KEY, json={"type": "m", "data": text})
        assert answer.status_code == 200, answer.text
        seqs.append(answer.json()["seq"])
    return seqs


def history(daemon: DaemonProcess) -> dict[str, Any]:
    answer = httpx.get(daemon.url + PATH + "/history", headers=KEY, params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return {"epoch": page["epoch"], "events": page["events"]}


def usage(daemon: DaemonProcess) -> tuple[int, int]:
    said = httpx.get(daemon.url + "/apps/chat-app/usage", headers=KEY).json()
    return said["events"], said["bytes"]


@contextmanager
def admin(daemon: DaemonProcess) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(daemon.data / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://polyglot.local") as client:
        yield client


def is_stored(daemon: DaemonProcess) -> None:
    """Wait until every stage has all that the log holds."""
    deadline = time.monotonic() + WITHIN_S
    with admin(daemon) as client:
        while True:
            said = client.get("/health").json()
            stages = said["processor"]["stages"]
            if "store" in stages and all(stage["lag_bytes"] == 0 for stage in stages.values()):
                return
            assert time.monotonic() < deadline, said
            time.sleep(0.05)


def run(*arguments: str, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments], env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(url: str) -> list[tuple[int, int]]:
    with closing(psycopg.connect(url)) as connection:
        return connection.execute(
            "SELECT seq, count(*) FROM polyglot.events WHERE channel = %s GROUP BY seq ORDER BY seq", (CHANNEL,)
        ).fetchall()


@pytest.fixture
def data() -> Iterator[Path]:
    """A place for a second daemon: its socket's path has to be short."""
    directory = Path(tempfile.mkdtemp(prefix="plg-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def on(data: Path, **env: str) -> Iterator[DaemonProcess]:
    """Another daemon on a directory that is there."""
    daemon = DaemonProcess(data, env=ENV | env)
    try:
        yield daemon.start()
        assert "Traceback" not in daemon.stderr, daemon.stderr[-8000:]
    finally:
        daemon.kill()


def test_a_daemon_goes_on_in_postgresql_where_it_was_in_sqlite(url: str) -> None:
    with daemon_process(env=ENV) as before:
        publish(before, *(f"text {n} \0 é" for n in range(30)))
        with admin(before) as client:
            made = client.post("/admin/apps", json={"app_id": "shop"}).json()
            token = before.admin_token
        is_stored(before)
        epoch, used = history(before)["epoch"], usage(before)
        said = run("migrate", "--from", str(before.data), code=1, POLYGLOTD_STORE__URL=url)
        assert "in use by another gateway" in said
        publish(before, *(f"late {n}" for n in range(10)))
        before.kill()
        shop = {"X-API-Key": made["api_key"]["key"]}
        run("migrate", "--from", str(before.data), code=2)  # to where?
        said = run("migrate", "--from", str(before.data), POLYGLOTD_STORE__URL=url)
        assert "2 apps" in said
        assert "already" in run("migrate", "--from", str(before.data), POLYGLOTD_STORE__URL=url)
        with on(before.data, POLYGLOTD_STORE__URL=url) as after:
            page = history(after)
            assert page["epoch"] == epoch
            assert [event["seq"] for event in page["events"]] == list(range(1, 41))
            assert page["events"][3]["data"] == "text 3 \0 é"
            assert httpx.get(after.url + "/apps/shop/usage", headers=shop).status_code == 200
            assert (
                httpx.get(after.url + "/admin/apps", headers={"Authorization": f"Bearer {token}"}).json()["apps"][1][
                    "app_id"
                ]
                == "shop"
            )
            assert publish(after, "new") == [41]
            is_stored(after)
            assert rows(url) == [(seq, 1) for seq in range(1, 42)]
            events, size = usage(after)
            assert events == used[0] + 11
            assert size == used[1] + sum(len(f'"late {n}"') for n in range(10)) + len('"new"')
            assert len(stored_events(before.data)) <= 40  # nobody wrote to the old one


def test_a_copy_of_a_directory_in_use_is_restored_with_history_seqs_and_keys(data: Path) -> None:
    with daemon_process(env=ENV) as original:
        publish(original, *(f"text {n}" for n in range(20)))
        with admin(original) as client:
            made = client.post("/admin/apps", json={"app_id": "shop"}).json()
        copy = data / "copy"
        run("backup", "--data", str(original.data), "--to", str(copy))
        run("backup", "--data", str(original.data), "--to", str(copy), code=1)
        assert publish(original, "after the copy") == [21]
        had = history(original)
        had["events"].pop()
        with on(copy) as restored:
            assert history(restored) == had
            assert publish(restored, "goes on") == [21]
            shop = {"X-API-Key": made["api_key"]["key"]}
            assert httpx.get(restored.url + "/apps/shop/usage", headers=shop).status_code == 200
            assert original.admin_token == restored.admin_token
            is_stored(restored)
            assert len(stored_events(copy)) == 21
            assert usage(restored)[0] == 21
        # Where the copy is older than what clients have seen, its operator says so: no seq comes a second time.
        (copy / "log" / "mark").unlink()
        with on(copy) as renewed:
            assert history(renewed)["epoch"] != had["epoch"]
            assert publish(renewed, "anew") == [1]


def test_a_copy_made_while_events_pour_in_is_whole(data: Path) -> None:
    with daemon_process(env=ENV) as original:
        publish(original, "first")
        load = subprocess.Popen(
            [
                "sh",
                "-c",
                f"while :; do curl -s -o /dev/null -H 'X-API-Key: valid_key_chat-app' -d '{{\"type\":\"m\"}}' "
                f"-H 'Content-Type: application/json' {original.url}{PATH}/publish; done",
            ]
        )
        try:
            for number in range(2):
                run("backup", "--data", str(original.data), "--to", str(data / f"copy{number}"))
        finally:
            load.kill()
            load.wait()
        had = {event["seq"]: event for event in history(original)["events"]}
        for number in range(2):
            with on(data / f"copy{number}") as restored:
                page = history(restored)
                assert [event["seq"] for event in page["events"]] == list(range(1, len(page["events"]) + 1))
                assert all(had[event["seq"]] == event for event in page["events"])
                is_stored(restored)
                assert len(stored_events(data / f"copy{number}")) == len(page["events"])


def test_a_dump_of_postgresql_and_a_copy_of_the_log_are_restored_together(url: str, data: Path) -> None:
    with daemon_process(env=ENV | {"POLYGLOTD_STORE__URL": url}) as original, new_database("postgres-18") as other:
        publish(original, *(f"text {n} \0 é" for n in range(20)))
        with admin(original) as client:
            made = client.post("/admin/apps", json={"app_id": "shop"}).json()
        is_stored(original)
        dump, copy = data / "dump", data / "copy"
        subprocess.run(
            [program("postgres-18", "pg_dump"), "--format=custom", "--schema=polyglot", f"--file={dump}", url],
            check=True,
        )
        publish(original, "between")  # in the log alone, as far as the copies go
        run("backup", "--data", str(original.data), "--to", str(copy), POLYGLOTD_STORE__URL=url)
        had = history(original)
        subprocess.run([program("postgres-18", "pg_restore"), f"--dbname={other}", str(dump)], check=True)
        with on(copy, POLYGLOTD_STORE__URL=other) as restored:
            assert history(restored) == had
            assert publish(restored, "goes on") == [22]
            shop = {"X-API-Key": made["api_key"]["key"]}
            assert httpx.get(restored.url + "/apps/shop/usage", headers=shop).status_code == 200
            is_stored(restored)
            assert rows(other) == [(seq, 1) for seq in range(1, 23)]
            assert usage(restored)[0] == 22


def test_a_store_that_is_older_than_the_log_gets_what_it_lacks_and_one_that_is_newer_begins_new_epochs(
    data: Path,
) -> None:
    with daemon_process(env=ENV) as original:
        publish(original, "one")
        is_stored(original)
        copy = data / "copy"
        run("backup", "--data", str(original.data), "--to", str(copy))
        publish(original, "two", "three")
        is_stored(original)
        had, used = history(original), usage(original)
        assert original.stop() == 0
        newer = data / "newer.db"
        shutil.move(original.data / "events.db", newer)
        for suffix in ("-wal", "-shm"):
            (original.data / f"events.db{suffix}").unlink(missing_ok=True)
        shutil.copy(copy / "events.db", original.data / "events.db")
        with on(original.data) as restored:
            assert history(restored) == had
            is_stored(restored)
            assert sorted(event.seq for event in stored_events(original.data)) == [1, 2, 3]
            assert usage(restored) == used
        shutil.copy(newer, copy / "events.db")
        with on(copy) as restored:
            assert publish(restored, "anew") == [1]
            assert history(restored)["epoch"] != had["epoch"]
            is_stored(restored)
            assert sorted(event.seq for event in stored_events(copy)) == [1, 1, 2, 3]  # nothing is lost, none doubled
