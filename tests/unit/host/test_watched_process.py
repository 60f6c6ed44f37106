"""A child that is started again when it ends, and that is gone when its parent is: with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from polyglotd.host import watched_process
from polyglotd.host.watched_process import WatchedProcess

CHILD = """
import os, sys, pathlib, trio
from polyglotd.host.watched_process import ParentWords
words = ParentWords()
directory = pathlib.Path(words.first_line.decode())
(directory / f"{os.getpid()}.started").touch()
async def main():
    (directory / "request").write_bytes(await words.next_line())
trio.run(main)
"""
PARENT = """
import sys, trio
from polyglotd.host.watched_process import WatchedProcess
async def main():
    await WatchedProcess("a child", [sys.executable, "-c", sys.argv[1]], sys.argv[2].encode()).run()
trio.run(main)
"""
STUCK = CHILD.replace("await words.next_line()", "exec('while True: pass')")


def child(directory: Path, code: str = CHILD) -> WatchedProcess:
    return WatchedProcess("a child", [sys.executable, "-c", code], str(directory).encode())


def started(directory: Path) -> set[int]:
    return {int(path.stem) for path in directory.glob("*.started")}


async def wait_started(directory: Path, count: int) -> set[int]:
    with trio.fail_after(20):
        while len(pids := started(directory)) < count:
            await trio.sleep(0.01)
    return pids


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_process, "BACK_OFF_S", 0.01)


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    watched = child(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(watched.run)
        (first,) = await wait_started(tmp_path, 1)
        assert (watched.pid, watched.problem) == (first, None)
        os.kill(first, signal.SIGKILL)
        both = await wait_started(tmp_path, 2)
        assert {watched.pid} == both - {first}
        assert watched.starts_total == 2
        nursery.cancel_scope.cancel()
    assert not any(alive(pid) for pid in both)


async def test_one_that_ends_at_once_is_started_ever_more_rarely_and_says_why(tmp_path: Path) -> None:
    watched = child(tmp_path, "raise SystemExit(3)")
    async with trio.open_nursery() as nursery:
        await nursery.start(watched.run)
        with trio.move_on_after(1.5):
            await trio.sleep_forever()
        assert watched.problem == "ended with code 3; it is started again"
        assert 2 <= watched.starts_total <= 8  # 0.01 + 0.02 + 0.04 + … s
        nursery.cancel_scope.cancel()


async def test_a_command_that_is_not_there_is_a_problem_and_no_end(tmp_path: Path) -> None:
    watched = WatchedProcess("a child", [str(tmp_path / "nothing")], b"")
    async with trio.open_nursery() as nursery:
        await nursery.start(watched.run)
        with trio.fail_after(10):
            while watched.problem is None:
                await trio.sleep(0.01)
        assert "can't be started" in watched.problem
        nursery.cancel_scope.cancel()


async def test_asked_to_finish_it_does_what_was_asked_and_ends_for_good(tmp_path: Path) -> None:
    watched = child(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(watched.run)
        (pid,) = await wait_started(tmp_path, 1)
        with trio.fail_after(20):
            await watched.finish(b"up to 42")
        assert (tmp_path / "request").read_bytes() == b"up to 42"
        assert not alive(pid)
    assert watched.starts_total == 1


@pytest.mark.parametrize("code", [CHILD, STUCK], ids=["that waits", "that is stuck in a loop"])
def test_a_child_is_gone_soon_after_its_parent_was_killed(tmp_path: Path, code: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, code, str(tmp_path)])
    deadline = time.monotonic() + 20
    try:
        while not (pids := started(tmp_path)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.wait()
    (pid,) = pids
    while alive(pid):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)


async def test_a_stuck_child_ends_when_its_parent_stops_watching(tmp_path: Path) -> None:
    watched = child(tmp_path, STUCK)
    async with trio.open_nursery() as nursery:
        await nursery.start(watched.run)
        (pid,) = await wait_started(tmp_path, 1)
        with trio.move_on_after(0.1):
            await watched.finish(b"never read")
        nursery.cancel_scope.cancel()
    assert not alive(pid)
