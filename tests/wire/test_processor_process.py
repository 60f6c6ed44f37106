"""The processor in the daemon's process and in a child of it: both do the work, and say how they are."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess, daemon_process
from event_store_file import stored_events

PUBLISH = "/apps/chat-app/channels/room:processor/publish"
KEY = {"X-API-Key": "valid_key_chat-app"}
WITHIN_S = 20.0


@pytest.fixture
def with_child() -> Iterator[DaemonProcess]:
    env = {"POLYGLOTD_PROCESSOR__PROCESS": "own", "POLYGLOTD_DRAIN__SECONDS": "0"}
    with daemon_process(env=env) as daemon:
        yield daemon


def publish(daemon: DaemonProcess, text: str) -> None:
    answer = httpx.post(daemon.url + PUBLISH, headers=KEY, json={"type": "m", "data": text})
    assert answer.status_code == 200, answer.text


def health(daemon: DaemonProcess) -> dict[str, Any]:
    transport = httpx.HTTPTransport(uds=str(daemon.data / "admin.sock"))
    with httpx.Client(transport=transport) as client:
        answer: dict[str, Any] = client.get("http://polyglot.local/health").json()
    return answer


def metrics(daemon: DaemonProcess) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(daemon.data / "admin.sock"))) as client:
        return client.get("http://polyglot.local/metrics").text


def wait_for(daemon: DaemonProcess, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while not found(said := health(daemon)):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


def is_done(said: dict[str, Any]) -> bool:
    stages = said["processor"]["stages"]
    return "store" in stages and all(stage["lag_bytes"] == 0 for stage in stages.values())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("process", ["own", "shared"])
def test_events_reach_the_store_and_health_and_metrics_say_so(process: str) -> None:
    with daemon_process(env={"POLYGLOTD_PROCESSOR__PROCESS": process}) as daemon:
        publish(daemon, "one")
        wait_for(daemon, lambda _: len(stored_events(daemon.data)) == 1)
        said = wait_for(daemon, is_done)
        assert said["status"] == "ok"
        assert said["processor"]["process"] == process
        assert (said["processor"]["pid"] == daemon.pid) == (process == "shared")
        assert said["checks"]["processor"] == said["checks"]["processor: store"] == "ok"
        shown = metrics(daemon)
        assert "polyglot_processor_up 1.0" in shown
        assert 'polyglot_stage_lag_bytes{stage="store"} 0.0' in shown
        publish(daemon, "two")
        assert daemon.stop() == 0  # the drain waits for the store
        assert len(stored_events(daemon.data)) == 2


def test_a_child_that_is_killed_is_started_again_and_goes_on(with_child: DaemonProcess) -> None:
    publish(with_child, "one")
    child = wait_for(with_child, is_done)["processor"]["pid"]
    os.kill(child, signal.SIGKILL)
    publish(with_child, "two")  # nobody's publish waits for it
    said = wait_for(with_child, lambda said: said["processor"]["restarts"] == 1 and is_done(said))
    assert said["processor"]["pid"] != child
    wait_for(with_child, lambda _: len(stored_events(with_child.data)) == 2)
    assert "ended by signal 9" in with_child.stderr
    assert "polyglot_processor_restarts_total 1.0" in metrics(with_child)


def test_a_child_that_hangs_is_seen_in_health(with_child: DaemonProcess) -> None:
    child = wait_for(with_child, is_done)["processor"]["pid"]
    os.kill(child, signal.SIGSTOP)
    publish(with_child, "one")
    said = wait_for(with_child, lambda said: said["status"] == "degraded")
    assert said["checks"]["processor"].startswith("no word from the processor for 1")
    assert "polyglot_processor_up 0.0" in metrics(with_child)
    os.kill(child, signal.SIGCONT)
    wait_for(with_child, lambda said: said["status"] == "ok" and is_done(said))
    assert len(stored_events(with_child.data)) == 1


def test_a_child_is_gone_with_a_daemon_that_was_killed_and_the_next_one_goes_on(with_child: DaemonProcess) -> None:
    child = wait_for(with_child, is_done)["processor"]["pid"]
    publish(with_child, "one")
    with_child.restart()
    assert not alive(child)
    wait_for(with_child, lambda _: len(stored_events(with_child.data)) == 1)
    assert health(with_child)["processor"]["restarts"] == 0


def test_the_child_holds_the_processors_role_and_its_log_comes_through(with_child: DaemonProcess) -> None:
    child = wait_for(with_child, is_done)["processor"]["pid"]
    wait_for(with_child, lambda _: f"the processor runs in process {child}" in with_child.stderr)
    for number in (signal.SIGTERM, signal.SIGINT):  # a terminal sends them to the whole group: the daemon drains
        os.kill(child, number)
    publish(with_child, "one")
    wait_for(with_child, lambda _: len(stored_events(with_child.data)) == 1)
    assert health(with_child)["processor"]["pid"] == child
    other = DaemonProcess(with_child.data, "--role", "processor", dev=False)
    with pytest.raises(AssertionError, match="in use by another processor"):
        other.start()
