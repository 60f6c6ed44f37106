"""A reader beside the log's owner: files are all that the two share."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from contracts.log_events import event, events
from log_directory import SETTINGS, add, crashed, overwrite, record_offsets, segments, until
from log_writers import OpenSegments

from polyglotd.log import segment_reader
from polyglotd.log.cursors import read_cursors
from polyglotd.log.interface import LogCorrupt, LogFault, LogSettings, ReadRecord
from polyglotd.log.segment_reader import SegmentReader, open_segments_reader, wait_for_log
from polyglotd.model import new_epoch


async def read(reader: SegmentReader, count: int) -> list[ReadRecord]:
    found: list[ReadRecord] = []
    with trio.fail_after(5):
        while len(found) < count:
            found += (await reader.next_batch(count - len(found))).records
    return found


async def read_all(reader: SegmentReader, found: list[ReadRecord]) -> None:
    while True:
        found += (await reader.next_batch(100)).records


async def test_it_finds_what_the_owner_appends_across_segments(open_segments: OpenSegments, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log, open_segments_reader(path, "store", 0) as reader:
        for seq in range(1, 41):
            log.append([event(seq)])
            if seq % 7 == 0:
                await trio.sleep(0.03)
        assert await read(reader, 40) == events(1, 40)
        with trio.move_on_after(0.1) as scope:
            await reader.next_batch(1)
        assert scope.cancelled_caught
        log.append([event(41)])
        assert await read(reader, 1) == [event(41)]
        assert reader.end == log.end


async def test_a_reader_in_a_process_of_its_own_reads_and_commits(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    program = """
import sys, trio
from pathlib import Path
from polyglotd.log.segment_reader import open_segments_reader, wait_for_log

async def main(directory):
    await wait_for_log(directory)
    async with open_segments_reader(directory, "store", 0) as reader:
        count = 0
        while count < 40:
            batch = await reader.next_batch(7)
            count += len(batch.records)
            await reader.commit(batch.end)
        print(count, batch.records[-1].seq)

trio.run(main, Path(sys.argv[1]))
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE)  # noqa: ASYNC220
    try:
        await trio.sleep(0.2)  # it waits for a log to be there
        async with open_segments(tmp_path / "log", SETTINGS) as log:
            for seq in range(1, 41):
                log.append([event(seq)])
                await trio.sleep(0.001)
            await until(lambda: log.stats().readers.get("store") == log.end)
        assert process.communicate(timeout=5)[0].split() == [b"40", b"40"]
    finally:
        process.kill()
        process.wait()


async def test_its_commits_are_in_a_file_that_outlives_it(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        log.append(events(1, 5))
        async with open_segments_reader(tmp_path / "log", "store", 0) as reader:
            batch = await reader.next_batch(3)
            await reader.commit(batch.end)
        assert read_cursors(tmp_path / "log", log.id) == {"store": batch.end}
        async with open_segments_reader(tmp_path / "log", "store", batch.end) as reader:
            assert await read(reader, 2) == events(4, 5)


async def test_it_sees_nothing_that_is_not_acknowledged(open_segments: OpenSegments, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with (
        open_segments(path, LogSettings(sync="always")) as log,
        open_segments_reader(path, "store", 0) as reader,
    ):
        end = log.append([event(1)])
        with trio.move_on_after(0.1) as scope:
            await reader.next_batch(1)
        assert scope.cancelled_caught
        await log.synced(end)
        assert await read(reader, 1) == [event(1)]


async def test_it_follows_its_owner_over_a_crash_and_a_loss(open_segments: OpenSegments, tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        log.append(events(1, 5))
        copy = crashed(path)
    async with open_segments_reader(copy, "store", 0) as reader:
        assert await read(reader, 5) == events(1, 5)
        await reader.commit(reader.end)
        add(segments(copy)[-1], b"torn")
        async with open_segments(copy, SETTINGS) as log:  # repaired under the reader
            log.append(events(6, 8))
            assert await read(reader, 3) == events(6, 8)
            await reader.commit(reader.end)
            end = log.end
        # Half of what the reader has read is lost; the log goes on past it.
        with segments(copy)[-1].open("r+b") as file:
            file.truncate(record_offsets(segments(copy)[-1])[-2])
        async with open_segments(copy, SETTINGS) as log:
            epoch = log.head("app", "room:lobby").epoch
            log.append([event(1, epoch=epoch)])
            assert await read(reader, 1) == [event(1, epoch=epoch)]
            assert log.end > end


async def test_a_reader_that_is_ahead_of_the_log_is_refused_and_the_owner_learns_of_it(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        log.append(events(1, 5))
        end = log.end
        with pytest.raises(LogFault, match="older copy"):
            async with open_segments_reader(path, "store", end + 1_000):
                pass
        before = log.head("app", "room:lobby")
    async with open_segments(path, SETTINGS) as log:
        assert log.head("app", "room:lobby").epoch != before.epoch
        async with open_segments_reader(path, "store", end + 1_000) as reader:
            epoch = new_epoch()
            log.append([event(1, epoch=epoch)])
            assert await read(reader, 1) == [event(1, epoch=epoch)]


async def test_damage_is_reported_with_its_place_after_some_patience(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        for seq in range(1, 31):
            log.append([event(seq)])
        second = segments(path)[1]
        place = record_offsets(second)[3]
        overwrite(second, place + 20, b"\xff\xff")
        async with open_segments_reader(path, "store", 0) as reader:
            found: list[ReadRecord] = []
            with pytest.raises(LogCorrupt) as fault:
                await read_all(reader, found)
        assert (fault.value.segment, fault.value.offset) == (second.name, place)
        assert found == events(1, len(found))
        assert len(found) > 10  # what is before the damage comes


async def test_records_that_were_removed_unread_are_missed_loudly(
    open_segments: OpenSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        for seq in range(1, 31):
            log.append([event(seq)])
        segments(path)[0].unlink()
        second = int(segments(path)[0].stem)
        async with open_segments_reader(path, "store", 0) as reader:
            batch = await reader.next_batch(1)
        assert batch.records[0].seq > 1  # type: ignore[union-attr]
    assert f"begins at position {second}" in caplog.text


async def test_a_log_that_is_replaced_under_it_ends_the_reader(
    open_segments: OpenSegments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_reader, "REPLACED_POLLS", 2)
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log:
        log.append([event(1)])
    async with open_segments_reader(path, "store", 0) as reader:
        assert await read(reader, 1) == [event(1)]
        path.rename(tmp_path / "old")
        async with open_segments(path, SETTINGS):
            with pytest.raises(LogFault, match="replaced"), trio.fail_after(5):
                await reader.next_batch(1)


async def test_waiting_for_a_log_ends_when_there_is_one(open_segments: OpenSegments, tmp_path: Path) -> None:
    found: list[str] = []

    async def wait() -> None:
        found.append(await wait_for_log(tmp_path / "log"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.06)
        assert found == []
        async with open_segments(tmp_path / "log", SETTINGS) as log:
            await until(lambda: bool(found))
        assert found == [log.id]
