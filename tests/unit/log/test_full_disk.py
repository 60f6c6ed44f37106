"""A disk that is full, or lies: what is refused, what is left behind, and what comes back by itself."""

import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from log_directory import break_disk, crashed, segments, until
from log_writers import WRITERS, OpenSegments

from polyglotd.log.interface import ChannelHead, LogSettings
from polyglotd.log.native_log import NativeSegmentLog
from polyglotd.log.segments import SegmentLog
from polyglotd.model import Unavailable


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files can't grow beyond `size`: the kernel writes what fits, then refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 1, 50, 500])
async def test_a_batch_that_does_not_fit_is_refused_whole_and_fits_later(
    open_segments: OpenSegments, tmp_path: Path, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append(events(1, 10))
        (segment,) = segments(tmp_path / "log")
        size, end = segment.stat().st_size, log.end
        with file_size_limit(size + room):
            for _ in range(2):
                with pytest.raises(Unavailable) as refusal:
                    log.append(events(11, 20))
        assert refusal.value.retry_after_ms > 0
        assert segment.stat().st_size == size
        assert log.end == end
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 10)
        assert log.tail_first("app", "room:lobby") == 1
        log.append(events(11, 20))
        found = await log.reader("r", 0).next_batch(100)
        assert found.records == events(1, 20)
    messages = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 2  # said once, not with every refusal
    assert "can't be written" in messages[0]
    assert "again" in messages[1]


async def test_a_segment_that_cant_be_begun_refuses_the_batch(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings(segment_bytes=1_000)) as log:
        log.append(events(1, 9))
        before = segments(tmp_path / "log")
        with file_size_limit(10), pytest.raises(Unavailable):
            log.append(events(10, 12))
        assert segments(tmp_path / "log") == before
        log.append(events(10, 12))
        assert len(segments(tmp_path / "log")) == len(before) + 1
        assert (await log.reader("r", 0).next_batch(100)).records == events(1, 9)


async def test_epochs_and_forgotten_apps_are_refused_too_and_nothing_changes(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append(events(1, 3))
        with file_size_limit(1):
            with pytest.raises(Unavailable):
                log.begin_epoch("app", "room:lobby", "second")
            with pytest.raises(Unavailable):
                log.forget_app("app")
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 3)


async def test_what_cant_be_cut_off_is_cut_before_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_segments = WRITERS["python"]  # the one in C++ has a test in C++
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append(events(1, 3))
        (segment,) = segments(tmp_path / "log")
        size = segment.stat().st_size

        def refuse(fd: int, length: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch, file_size_limit(size + 20):
            patch.setattr(os, "ftruncate", refuse)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    log.append([event(4)])
        assert segment.stat().st_size == size + 20
        copy = crashed(tmp_path / "log")
        log.append([event(4)])
        assert (await log.reader("r", 0).next_batch(100)).records == events(1, 4)
    async with open_segments(copy, LogSettings()) as log:  # and where it was never cut, the next start does it
        assert [repair.bytes_cut for repair in log.repairs] == [20]
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 3)


async def test_a_checkpoint_that_cant_be_written_stops_nothing(
    open_segments: OpenSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(segment_bytes=1_000)) as log:
        log.append(events(1, 9))
        log.append(events(10, 12))  # a full segment wants a checkpoint
        with file_size_limit(0):
            await until(lambda: "upkeep of the event log failed" in caplog.text)
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 12)


# --- fsync ---


class Fsyncs:
    """Counts them, and lets them fail: no disk of ours loses writes when asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls = 0
        self._fail = False
        self._cure: Callable[[], None] = lambda: None
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)

    def _fdatasync(self, fd: int) -> None:
        self._calls += 1
        if self._fail:
            raise OSError(5, "Input/output error")
        self._real(fd)

    def count(self, log: SegmentLog) -> int:
        return log.counters().syncs if isinstance(log, NativeSegmentLog) else self._calls

    def break_disk(self, log: SegmentLog, directory: Path) -> None:
        self._fail = True
        if isinstance(log, NativeSegmentLog):
            self._cure = break_disk(directory, "/dev/null")

    def cure_disk(self) -> None:
        self._fail = False
        self._cure()


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fsyncs]:
    fsyncs = Fsyncs(monkeypatch)
    yield fsyncs
    fsyncs.cure_disk()


async def append_and_wait(log: SegmentLog, seq: int, done: list[int]) -> None:
    await log.synced(log.append([event(1, f"room:{seq}")]))
    done.append(seq)


async def test_one_fsync_serves_everybody_who_came_meanwhile(
    open_segments: OpenSegments, tmp_path: Path, fsyncs: Fsyncs
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(sync="always")) as log:
        before = fsyncs.count(log)
        done: list[int] = []
        async with trio.open_nursery() as nursery:
            for seq in range(1, 101):
                nursery.start_soon(append_and_wait, log, seq, done)
                if seq == 1:
                    await trio.testing.wait_all_tasks_blocked()
        assert sorted(done) == list(range(1, 101))
        assert fsyncs.count(log) - before <= 4


async def test_readers_see_what_is_durable_and_no_more(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings(sync="always")) as log:
        reader = log.reader("r", 0)
        end = log.append([event(1)])
        assert reader.end < end
        assert await log.tail("app", "room:lobby", 0, 9) == []
        await log.synced(end)
        assert reader.end == end
        assert await log.tail("app", "room:lobby", 0, 9) == [event(1)]


@pytest.mark.parametrize("sync", ["os", "interval"])
async def test_without_always_nobody_waits_for_an_fsync(
    open_segments: OpenSegments, tmp_path: Path, sync: str, fsyncs: Fsyncs
) -> None:
    settings = LogSettings(sync=sync, sync_interval_ms=10_000)  # type: ignore[arg-type]
    async with open_segments(tmp_path / "log", settings) as log:
        await log.synced(log.append([event(1)]))
        assert fsyncs.count(log) == 0


async def test_an_interval_syncs_by_itself_and_only_what_is_new(
    open_segments: OpenSegments, tmp_path: Path, fsyncs: Fsyncs
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(sync="interval", sync_interval_ms=1)) as log:
        log.append([event(1)])
        await until(lambda: fsyncs.count(log) > 0)
        await trio.sleep(0.02)
        assert fsyncs.count(log) == 1


async def test_a_failed_fsync_ends_the_log_for_good_and_loudly(
    open_segments: OpenSegments, tmp_path: Path, fsyncs: Fsyncs, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(sync="always")) as log:
        await log.synced(log.append([event(1)]))
        fsyncs.break_disk(log, tmp_path / "log")
        refusals = []

        async def refused(seq: int) -> None:
            try:
                await log.synced(log.append([event(1, f"room:{seq}")]))
            except Unavailable as error:
                refusals.append(error)

        async with trio.open_nursery() as nursery:
            for seq in range(2, 7):
                nursery.start_soon(refused, seq)
        assert len(refusals) == 5
        calls = fsyncs.count(log)
        fsyncs.cure_disk()  # it is well again, but nobody knows what it lost
        with pytest.raises(Unavailable):
            log.append([event(7)])
        with pytest.raises(Unavailable):
            await log.synced(0)
        with pytest.raises(Unavailable):
            log.begin_epoch("app", "room:lobby", "second")
        assert fsyncs.count(log) == calls
        assert log.stats().failed is not None
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)
    async with open_segments(tmp_path / "log", LogSettings(sync="always")) as log:
        assert log.stats().failed is None
        assert log.head("app", "room:lobby").epoch != EPOCH  # what was acknowledged before may be lost as well


async def test_a_failed_fsync_is_noticed_with_interval_too(
    open_segments: OpenSegments, tmp_path: Path, fsyncs: Fsyncs
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(sync="interval", sync_interval_ms=1)) as log:
        fsyncs.break_disk(log, tmp_path / "log")
        log.append([event(1)])
        await until(lambda: log.stats().failed is not None)
        with pytest.raises(Unavailable):
            log.append([event(2)])
