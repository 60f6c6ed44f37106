"""Which segments go and when, what the checkpoint replaces, what an operator is told."""

import os
from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from log_directory import SETTINGS, crashed, segments, until
from log_writers import OpenSegments

from polyglotd.log import runs, upkeep
from polyglotd.log.cursors import cursors_directory, write_cursor
from polyglotd.log.interface import STORE_READER, ChannelHead, LogSettings, TailMoved
from polyglotd.log.segments import SegmentLog

NOW_US = 1_795_508_200_000_000


@pytest.fixture(autouse=True)
def quick_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TICK_S", 0.01)


class Clock:
    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


async def until_segments(directory: Path, count: int) -> None:
    await until(lambda: len(segments(directory)) == count)


async def stays(directory: Path, count: int) -> None:
    """A few rounds of upkeep change nothing."""
    await trio.sleep(0.05)
    assert len(segments(directory)) == count


def fill(log: SegmentLog, first: int = 1, last: int = 60, **fields: object) -> None:
    for seq in range(first, last + 1):
        log.append([event(seq, **fields)])  # type: ignore[arg-type]


async def test_segments_go_behind_the_slowest_reader(open_segments: OpenSegments, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        fill(log)
        full = len(segments(path))
        assert full >= 5
        slow, fast = log.reader("slow", 0), log.reader(STORE_READER, 0)
        await fast.commit(log.end)
        await stays(path, full)
        third = int(segments(path)[2].stem)
        await slow.commit(third + 10)
        await until_segments(path, full - 2)
        await slow.commit(log.end)
        await until_segments(path, 1)
        assert log.stats().segments == 1
        log.append([event(61)])
    async with open_segments(path, SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 61)


async def test_without_any_reader_nothing_goes(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        fill(log)
        await stays(tmp_path / "log", len(segments(tmp_path / "log")))
        assert log.stats().unread_bytes == log.end


async def test_after_a_crash_channels_are_known_whose_segments_are_gone(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        log.append([event(1, "room:old")])
        log.begin_epoch("app", "room:begun", "second")
        log.append([event(1, app_id="gone")])
        log.forget_app("gone")
        gone = log.head("gone", "room:lobby")
        fill(log)
        await log.reader(STORE_READER, 0).commit(log.end)
        await until_segments(path, 1)
        copy = crashed(path)
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:old") == ChannelHead(EPOCH, 1)
        assert log.head("app", "room:begun") == ChannelHead("second", 0)
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 60)
        assert log.head("gone", "room:lobby") == gone
        log.append([event(2, "room:old"), event(61)])


async def test_readers_of_another_process_are_known_by_their_files(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        write_cursor(path, STORE_READER, log.id, 0)
        fill(log)
        full = len(segments(path))
        with trio.fail_after(10):  # the files are looked at now and then
            while log.stats().readers != {STORE_READER: 0}:
                await trio.sleep(0.01)
        await stays(path, full)
        write_cursor(path, STORE_READER, log.id, log.end)
        await until_segments(path, 1)
        assert log.tail_first("app", "room:lobby") == 61
        assert log.stats().unread_bytes == 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"log":"log_another","position":99999999}'])
async def test_a_cursor_file_that_cant_be_read_holds_everything(
    open_segments: OpenSegments, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        (cursors_directory(path) / "other").write_bytes(content)
        fill(log)
        await log.reader(STORE_READER, 0).commit(log.end)
        await stays(path, len(segments(path)))
        (cursors_directory(path) / "other").unlink()  # the operator says that this reader is gone for good
        await until_segments(path, 1)


async def test_segments_with_recent_ids_of_publishers_stay_for_the_dedupe_window(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    clock = Clock()
    async with open_segments(path, SETTINGS, clock=clock) as log:
        log.append([event(1, "room:a", id="mine", ts_us=NOW_US)])
        fill(log)
        full = len(segments(path))
        await log.reader(STORE_READER, 0).commit(log.end)
        await stays(path, full)
        copy = crashed(path)
        for segment in segments(copy):
            os.utime(segment, (NOW_US / 1e6, NOW_US / 1e6))
        clock.now_us += 301 * 1_000_000
        await until_segments(path, 1)
        assert log.recent_ids("app", "room:a") == []
    async with open_segments(copy, SETTINGS, clock=lambda: NOW_US + 1) as log:
        assert [recent.id for recent in log.recent_ids("app", "room:a")] == ["mine"]


async def test_ids_beyond_the_window_give_their_memory_back(
    open_segments: OpenSegments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "JOINED_BYTES", 1)
    clock = Clock()
    async with open_segments(tmp_path / "log", SETTINGS, clock=clock) as log:
        fill(log, id="mine", ts_us=NOW_US)
        await until(lambda: bool(log._upkeep._moments))  # a mark of time
        clock.now_us += 301 * 1_000_000
        fill(log, 61, 70, id="mine", ts_us=clock.now_us)
        await until(lambda: len(log._table.get("app", "room:lobby").ids.newest_first()) == 10)  # type: ignore[union-attr]
        assert [recent.seq for recent in log.recent_ids("app", "room:lobby")] == list(range(61, 71))


async def test_a_start_after_a_clean_end_looks_at_one_segment_only(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        fill(log)
        await log.reader(STORE_READER, 0).commit(log.end)
    for segment in segments(tmp_path / "log"):  # the dedupe window is over
        os.utime(segment, (1, 1))
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        assert log.records_replayed < 12


async def test_the_operator_is_told_at_half_and_once(
    open_segments: OpenSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_segments(tmp_path / "log", LogSettings(bytes_max=10_000)) as log:
        reader = log.reader("webhooks", 0)
        fill(log, 1, 40)
        await trio.sleep(0.05)
        assert "bytes_max" not in caplog.text
        fill(log, 41, 70)
        await until(lambda: "bytes_max" in caplog.text)
        await trio.sleep(0.05)
        (warning,) = [record for record in caplog.records if "bytes_max" in record.message]
        assert "webhooks" in warning.message
        await reader.commit(log.end)
        await until(lambda: not log._upkeep._alerted)
        fill(log, 71, 140)  # half again, after it was well below
        await until(lambda: len([record for record in caplog.records if "bytes_max" in record.message]) == 2)


async def test_a_tail_whose_segment_went_while_it_was_read_says_so(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        fill(log)
        segments(path)[0].unlink()
        with pytest.raises(TailMoved):
            await log.tail("app", "room:lobby", 0, 5)


async def test_a_reader_goes_on_reading_a_segment_that_is_removed_under_it(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        fill(log)
        reader = log.reader(STORE_READER, 0)
        first = await reader.next_batch(3)
        await reader.commit(log.end)  # it lets go more than it has read: its own business
        await until_segments(path, 1)
        second = await reader.next_batch(3)
        assert [*first.records, *second.records] == events(1, 6)
