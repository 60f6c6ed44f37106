"""The bench against the real daemon, in sizes that take no time, and against servers that do wrong."""

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from daemon_process import DaemonProcess
from wire.faulty_phoenix import faulty_phoenix
from wire.test_polyglotctl import Ctl

from polyglotctl.bench.plan import Connect, Dialect, Plan, Publish, Published, Target
from polyglotctl.bench.runner import BenchFailed, run_plan

QUICK = ("--seconds", "0.4", "--warm-up", "0")
MEMBERS = 5


@pytest.fixture
def ctl(daemon: DaemonProcess, tmp_path: Path) -> Ctl:
    return Ctl(tmp_path, {"POLYGLOT_DATA": str(daemon.data), "POLYGLOT_URL": daemon.url})


def _admin(daemon: DaemonProcess, path: str, **body: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(daemon.data / "admin.sock"))) as client:
        url = f"http://polyglot.local{path}"
        return client.post(url, json=body) if body else client.get(url)


def _counters(daemon: DaemonProcess) -> "dict[str, float]":
    text = _admin(daemon, "/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(\w+)(?:\{\})? (\S+)$", text, re.MULTILINE)}


IN_FLIGHT_AT_THE_EDGES = 6  # three where the measured seconds begin, and three where they end


def test_a_fan_out_counts_what_the_daemon_counts(daemon: DaemonProcess, ctl: Ctl) -> None:
    before = _counters(daemon)
    found = ctl.json("bench", "fanout", "--members", str(MEMBERS), "--in-flight", "3", *QUICK)
    after = _counters(daemon)
    published = round(found["published_per_s"] * found["seconds"])
    assert published > 10
    events = after["polyglot_events_total"] - before["polyglot_events_total"]
    assert events == pytest.approx(published, abs=IN_FLIGHT_AT_THE_EDGES)
    deliveries = after["polyglot_deliveries_total"] - before["polyglot_deliveries_total"]
    assert deliveries == pytest.approx(published * MEMBERS, abs=MEMBERS * IN_FLIGHT_AT_THE_EDGES)
    assert not any(found["faults"].values())
    assert 0 < found["delivery_us"]["p50"] <= found["delivery_us"]["p99"] <= found["delivery_us"]["max"]
    assert found["server_cpu"]["s_per_million_deliveries"] > 0
    assert found["server_memory"]["private_bytes"] > 1 << 20


def test_rooms_at_a_rate_get_that_rate(ctl: Ctl) -> None:
    found = ctl.json("bench", "rooms", "--rooms", "4", "--members", "3", "--rate", "300", "--json", *QUICK)
    assert found["load"]["publishes_per_s"] == 100
    assert found["delivered_per_s"] == pytest.approx(300, rel=0.2)
    assert not any(found["faults"].values())


@pytest.mark.parametrize("mode", ["--self", "--no-self"])
def test_an_echo_is_acknowledged(ctl: Ctl, mode: str) -> None:
    found = ctl.json("bench", "echo", "--connections", "3", mode, *QUICK)
    assert found["acknowledged_per_s"] > 10
    assert (found["delivered_per_s"] > 0) is (mode == "--self")
    assert not any(found["faults"].values())


def test_a_kind_of_which_only_some_may_publish_is_published_to(ctl: Ctl) -> None:
    found = ctl.json("bench", "fanout", "--kind", "ticker", "--members", "2", "--in-flight", "1", *QUICK)
    assert found["delivered_per_s"] > 10


def test_connections_are_opened_and_held(ctl: Ctl) -> None:
    found = ctl.json(
        "bench", "connect", "--connections", "20", "--members", "5", "--hold", "0.5", "--heartbeat", "0.2"
    )
    assert found["connect"]["joined"] == 20
    assert found["connect"]["server_memory_per_connection"] is not None
    assert found["idle"]["heartbeats"] >= 20
    assert found["idle"]["heartbeats"] - found["idle"]["answered"] <= 20


def test_nothing_is_left_of_the_app_that_was_made_for_a_run(daemon: DaemonProcess, ctl: Ctl) -> None:
    before = _admin(daemon, "/admin/apps").json()
    ctl.json("bench", "echo", "--connections", "1", *QUICK)
    assert _admin(daemon, "/admin/apps").json() == before


def test_a_given_app_keeps_its_limits_and_the_bench_says_which_was_met(daemon: DaemonProcess, ctl: Ctl) -> None:
    _admin(daemon, "/admin/apps", app_id="bench-limits")
    before = _admin(daemon, "/admin/apps/bench-limits/secrets").json()["secrets"]
    said = ctl.refused("bench", "fanout", "--app", "bench-limits", "--members", "2", *QUICK)
    assert "rate_limited" in said
    assert "polyglotctl quota show" in said
    after = _admin(daemon, "/admin/apps/bench-limits/secrets").json()["secrets"]
    assert [one for one in after if one["revoked"] is None] == before


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    ctl = Ctl(tmp_path, {})
    done = ctl.run("bench", "echo", "--url", "ws://127.0.0.1:9", "--token", "x", *QUICK)
    assert done.returncode == 3
    assert "refused" in done.stderr


def test_any_phoenix_server_can_be_measured(tmp_path: Path) -> None:
    with faulty_phoenix("none") as server:
        found = Ctl(tmp_path, {}).json(
            "bench", "fanout", "--url", f"ws://127.0.0.1:{server.port}", "--profile", "phoenix", "--members", "2",
            "--event", "publish", "--broadcast", "event", "--payload", '{"data":"$STAMP","n":1}', *QUICK,
        )  # fmt: skip
    assert found["delivered_per_s"] > 0
    assert found["delivery_us"]["p50"] > 0
    assert not any(found["faults"].values())


# --- servers that do wrong ---


def _load(port: int, dialect: Dialect = Dialect.POLYGLOT, *, tolerant: bool = False) -> Published:
    target = Target(
        address="127.0.0.1",
        port=port,
        host=f"127.0.0.1:{port}",
        request="/socket/websocket?vsn=2.0.0",
        dialect=dialect,
        payload='{"data":"$STAMP"}',
    )
    steps = (
        Connect(rooms=1, members=3, concurrency=1, deadline_s=10),
        Publish(in_flight=2, warm_up_s=0, seconds=1.2 if tolerant else 0.5, drain_s=0.3, tolerant=tolerant),
    )
    result = run_plan(Plan(target=target, steps=steps))[-1]
    assert isinstance(result, Published)
    return result


def _faults(result: Published) -> "dict[str, int]":
    names = ("lost", "duplicates", "out_of_order", "foreign", "refused", "unanswered")
    return {name: getattr(result, name) for name in names if getattr(result, name)}


def test_a_right_server_has_no_faults_and_sees_every_frame_masked_anew() -> None:
    with faulty_phoenix("none") as server:
        result = _load(server.port)
        assert _faults(result) == {}
        assert result.published > 20
        assert server.faults_seen == []
        assert server.frames - len(server.masks) <= 1  # two of some thousand may meet


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("lose", {"lost": 1}),
        ("repeat", {"duplicates": 1}),
        ("swap", {"out_of_order": 1}),
        ("foreign", {"foreign": 1}),
        ("silent", {"unanswered": 1}),
    ],
)
def test_a_fault_among_many_deliveries_is_noticed(fault: str, found: "dict[str, int]") -> None:
    with faulty_phoenix(fault) as server:
        assert _faults(_load(server.port)) == found


@pytest.mark.parametrize(("fault", "found"), [("lose", {"lost": 1}), ("repeat", {"duplicates": 1})])
def test_without_seqs_losses_and_repeats_are_noticed_by_their_number(fault: str, found: "dict[str, int]") -> None:
    with faulty_phoenix(fault) as server:
        assert _faults(_load(server.port, Dialect.PHOENIX)) == found


def test_a_server_that_refuses_everything_ends_the_run() -> None:
    with faulty_phoenix("refuse") as server, pytest.raises(BenchFailed, match="rate_limited"):
        _load(server.port)


def test_a_server_that_closes_a_connection_ends_the_run() -> None:
    with faulty_phoenix("close") as server, pytest.raises(BenchFailed, match="connection 0"):
        _load(server.port)


def test_where_refusals_are_part_of_the_test_they_are_counted() -> None:
    with faulty_phoenix("refuse") as server:
        result = _load(server.port, tolerant=True)
    assert result.refused > 20
    assert result.acknowledged == 0
    assert result.reasons == {"refused: rate_limited": result.refused}


def test_where_closes_are_part_of_the_test_it_connects_again_and_goes_on() -> None:
    with faulty_phoenix("close") as server:
        result = _load(server.port, tolerant=True)
        assert len(server.members["room:bench-0"]) == 4
    assert result.closed == 1
    assert result.acknowledged > 20


def test_a_broken_promise_is_shown_and_is_a_failure(tmp_path: Path) -> None:
    with faulty_phoenix("lose") as server:
        done = Ctl(tmp_path, {}).run(
            "bench", "fanout", "--url", f"ws://127.0.0.1:{server.port}", "--token", "x", "--members", "2", *QUICK
        )
    assert done.returncode == 1
    assert '"lost": 1' in done.stdout
    assert "did not keep its promises: 1 lost" in done.stderr


def test_an_interrupt_ends_the_load(daemon: DaemonProcess, ctl: Ctl) -> None:
    process = ctl.start("bench", "echo", "--connections", "2", "--seconds", "60")
    try:
        _wait_for_connections(daemon, 2)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
        _wait_for_connections(daemon, 0)
    finally:
        process.kill()
        process.communicate()


def _wait_for_connections(daemon: DaemonProcess, wanted: int) -> None:
    deadline = time.monotonic() + 20
    while _counters(daemon)["polyglot_connections"] != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)
