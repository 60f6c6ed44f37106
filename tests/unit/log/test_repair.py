"""What an opening does with a log that was not closed: kept, cut, refused, and what follows from a loss."""

import logging
import os
import re
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from log_directory import SETTINGS, add, crashed, overwrite, record_offsets, segments
from log_writers import OpenSegments

from polyglotd.log import opening
from polyglotd.log.interface import STORE_READER, ChannelHead, LogCorrupt, LogFault, LogInUse, LogSettings, Sync
from polyglotd.log.record import channel_key, encode_event_record
from polyglotd.log.segments import SegmentLog
from polyglotd.model import Event

WHOLE = encode_event_record(event(31), channel_key("app", "room:lobby", EPOCH))


async def written(open_segments: OpenSegments, directory: Path, sync: Sync = "os") -> Path:
    """A log of several segments with 30 events, as a crash leaves it."""
    async with open_segments(directory / "log", LogSettings(segment_bytes=1_000, sync=sync)) as log:
        for seq in range(1, 31):
            await log.synced(log.append([event(seq)]))
        assert len(segments(directory / "log")) > 2
        return crashed(directory / "log")


async def all_events(log: SegmentLog) -> list[Event]:
    """What a reader finds from the beginning, up to one more event that is appended to end it."""
    end = event(1, "room:end", epoch=f"end{log.end}")
    log.append([end])
    await log.synced(log.end)
    reader = log.reader("test", 0)
    found: list[Event] = []
    with trio.fail_after(5):
        while not found or found[-1] != end:
            batch = await reader.next_batch(1_000)
            found += [record for record in batch.records if isinstance(record, Event)]
    return [event for event in found if event.channel != "room:end"]


async def test_after_a_crash_every_acknowledged_event_is_there(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    async with open_segments(copy, SETTINGS) as log:
        assert log.repairs == ()
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)
        assert await all_events(log) == events(1, 30)
        log.append([event(31)])


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 20, len(WHOLE) - 1])
async def test_a_torn_record_that_nobody_was_told_of_is_cut_and_reported(
    open_segments: OpenSegments, tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    copy = await written(open_segments, tmp_path)
    last = segments(copy)[-1]
    size = last.stat().st_size
    add(last, WHOLE[:kept])
    async with open_segments(copy, SETTINGS) as log:
        (repair,) = log.repairs
        assert (repair.segment, repair.offset, repair.bytes_cut) == (last.name, size, kept)
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)
        log.append([event(31)])
        assert await all_events(log) == events(1, 31)
    warning = next(r for r in caplog.records if "repaired" in r.message)
    assert warning.levelno == logging.WARNING
    assert warning.__dict__["segment"] == last.name
    assert warning.__dict__["offset"] == size
    assert warning.__dict__["bytes_cut"] == kept


async def test_whole_records_that_nobody_was_told_of_are_kept(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    add(segments(copy)[-1], WHOLE + WHOLE[:10])
    async with open_segments(copy, SETTINGS) as log:
        assert [repair.bytes_cut for repair in log.repairs] == [10]
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 31)


async def test_zeros_behind_the_last_record_are_cut(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    add(segments(copy)[-1], bytes(5_000))
    async with open_segments(copy, SETTINGS) as log:
        assert [repair.bytes_cut for repair in log.repairs] == [5_000]
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)


async def test_a_segment_whose_creation_was_torn_is_removed(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    async with open_segments(copy, SETTINGS) as log:
        end = log.end
        torn = crashed(copy, "torn")
    (torn / f"{end:020d}.seg").write_bytes(b"\x2c\x00\x00")
    async with open_segments(torn, SETTINGS) as log:
        assert [repair.bytes_cut for repair in log.repairs] == [3]
        assert log.end == end
        log.append([event(31)])


# --- damage ---


async def test_a_hole_in_the_last_record_is_cut_and_its_seq_is_not_used_again(
    open_segments: OpenSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = await written(open_segments, tmp_path)
    last = segments(copy)[-1]
    hole = record_offsets(last)[-1]
    overwrite(last, hole + 60, bytes(8))
    end_before = int(last.stem) + last.stat().st_size
    async with open_segments(copy, SETTINGS) as log:
        assert [(repair.segment, repair.offset) for repair in log.repairs] == [(last.name, hole)]
        head = log.head("app", "room:lobby")
        assert head.seq == 0
        assert head.epoch != EPOCH  # event 30 was acknowledged: a new epoch says that it is lost
        assert log.end > end_before  # nor is a position used again that a reader may have seen
        assert await all_events(log) == events(1, 29)
        log.append([event(1, epoch=head.epoch)])
        again = crashed(copy, "again")
    assert "acknowledged events may be lost" in caplog.text
    caplog.clear()
    async with open_segments(again, SETTINGS) as log:  # the loss is known: it is not found a second time
        assert log.repairs == ()
        assert log.head("app", "room:lobby") == ChannelHead(head.epoch, 1)
        assert await all_events(log) == [*events(1, 29), event(1, epoch=head.epoch)]
    assert "lost" not in caplog.text


async def test_events_cut_off_at_a_records_border_are_noticed_too(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    copy = await written(open_segments, tmp_path)
    last = segments(copy)[-1]
    with last.open("r+b") as file:
        file.truncate(record_offsets(last)[-1])
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby").epoch != EPOCH
        assert await all_events(log) == events(1, 29)


@pytest.mark.parametrize("kept", [0, 10])
async def test_a_last_segment_that_is_gone_from_its_head_on_is_noticed_where_a_checkpoint_covers_it(
    open_segments: OpenSegments, tmp_path: Path, kept: int
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        log.append(events(1, 3))
        end = log.end
    (segment,) = segments(tmp_path / "log")
    with segment.open("r+b") as file:
        file.truncate(kept)
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        assert log.head("app", "room:lobby").seq == 0
        assert log.head("app", "room:lobby").epoch != EPOCH
        assert log.end > end
        copy = crashed(tmp_path / "log")
    segments(copy)[-1].write_bytes(b"")
    for _ in range(2):  # the same again, and what followed from it is a log like any other
        async with open_segments(copy, SETTINGS):
            pass


@pytest.mark.parametrize("which", [0, 1, -1], ids=["the first segment", "the second", "the last"])
@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x00", bytes(4)], ids=["huge", "1", "0"])
@pytest.mark.parametrize("at", [0, 4, 60], ids=["length", "checksum", "body"])
async def test_damage_before_the_tail_is_refused_with_its_place(
    open_segments: OpenSegments, tmp_path: Path, which: int, damage: bytes, at: int
) -> None:
    copy = await written(open_segments, tmp_path)
    segment = segments(copy)[which]
    place = record_offsets(segment)[1 if which != -1 else -2]
    overwrite(segment, place + at, damage)
    before = segment.read_bytes()
    with pytest.raises(LogCorrupt) as fault:
        async with open_segments(copy, SETTINGS):
            pass
    assert (fault.value.segment, fault.value.offset) == (segment.name, place)
    assert re.search(rf"{segment.name}, offset {place}\b", str(fault.value))
    assert segment.read_bytes() == before  # nothing was touched


async def test_the_documented_cure_opens_a_damaged_log_again(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    _, second, *later = segments(copy)
    overwrite(second, record_offsets(second)[2] + 30, b"damage")
    with pytest.raises(LogCorrupt) as fault:
        async with open_segments(copy, SETTINGS):
            pass
    os.truncate(copy / fault.value.segment, fault.value.offset)
    for segment in later:
        segment.unlink()
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby").epoch != EPOCH
        found = await all_events(log)
        assert found == events(1, len(found))
        assert len(found) > 9


async def test_an_empty_log_beside_a_store_that_knows_another_begins_anew(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        first = log.id, log.head("app", "room:lobby").epoch
    async with open_segments(tmp_path / "anew", SETTINGS) as log:
        assert log.id != first[0]
        assert log.head("app", "room:lobby").epoch != first[1]


async def test_a_missing_segment_in_the_middle_is_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    segments(copy)[1].unlink()
    with pytest.raises(LogCorrupt, match="ends at position"):
        async with open_segments(copy, SETTINGS):
            pass


async def test_missing_first_segments_are_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    segments(copy)[0].unlink()
    with pytest.raises(LogFault, match="missing"):
        async with open_segments(copy, SETTINGS):
            pass


async def test_a_missing_checkpoint_is_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    (copy / "checkpoint").unlink()
    with pytest.raises(LogFault, match="no checkpoint"):
        async with open_segments(copy, SETTINGS):
            pass


async def test_a_damaged_checkpoint_is_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    overwrite(copy / "checkpoint", 20, b"X")
    with pytest.raises(LogFault, match="checksum"):
        async with open_segments(copy, SETTINGS):
            pass


async def test_a_missing_mark_counts_as_a_loss(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    (copy / "mark").unlink()
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby").epoch != EPOCH
        assert await all_events(log) == events(1, 30)


async def test_another_logs_segment_is_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    copy = await written(open_segments, tmp_path)
    async with open_segments(tmp_path / "other", SETTINGS) as log:
        log.append([event(1)])
    (copy / segments(copy)[0].name).write_bytes(segments(tmp_path / "other")[0].read_bytes())
    with pytest.raises(LogFault, match="another log"):
        async with open_segments(copy, SETTINGS):
            pass


async def test_a_second_owner_is_refused(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS):
        with pytest.raises(LogInUse):
            async with open_segments(tmp_path / "log", SETTINGS):
                pass


@pytest.mark.parametrize("lost", ["mark", "segment and mark"])
async def test_a_log_whose_creation_was_cut_short_is_created_anew(
    open_segments: OpenSegments, tmp_path: Path, lost: str
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS):
        copy = crashed(tmp_path / "log")
    (copy / "mark").unlink()
    if lost != "mark":
        segments(copy)[0].unlink()
    async with open_segments(copy, SETTINGS) as log:
        log.append([event(1)])
        assert await all_events(log) == [event(1)]


# --- a loss of power: the page cache is gone, and another boot follows ---


@pytest.fixture
def another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' machine does not reboot: the next opening believes that it did."""
    boot = uuid4().bytes
    monkeypatch.setattr(opening, "boot_id", lambda: boot)


@pytest.mark.parametrize("sync", ["os", "interval"])
async def test_a_reboot_under_an_open_log_begins_new_epochs(
    open_segments: OpenSegments,
    tmp_path: Path,
    sync: Sync,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = await written(open_segments, tmp_path, sync)
    request.getfixturevalue("another_boot")
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby").epoch != EPOCH
        assert await all_events(log) == events(1, 30)
    assert f"with sync = {sync}" in caplog.text


async def test_a_reboot_under_an_open_log_that_synced_always_changes_nothing(
    open_segments: OpenSegments, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = await written(open_segments, tmp_path, "always")
    request.getfixturevalue("another_boot")
    async with open_segments(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)


async def test_a_reboot_after_a_clean_end_changes_nothing(
    open_segments: OpenSegments, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        log.append(events(1, 30))
    request.getfixturevalue("another_boot")
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)


async def test_holes_that_a_loss_of_power_left_in_what_was_not_synced_are_cut(
    open_segments: OpenSegments, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = await written(open_segments, tmp_path)
    second = segments(copy)[1]
    hole = record_offsets(second)[2]
    overwrite(second, hole, bytes(100))
    request.getfixturevalue("another_boot")
    async with open_segments(copy, SETTINGS) as log:
        assert {repair.segment for repair in log.repairs} >= {second.name}
        found = await all_events(log)
        assert found == events(1, len(found))
        assert log.head("app", "room:lobby").epoch != EPOCH


async def test_unacknowledged_holes_after_a_loss_of_power_are_cut_with_sync_always(
    open_segments: OpenSegments, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = await written(open_segments, tmp_path, "always")
    add(segments(copy)[-1], bytes(len(WHOLE)) + WHOLE)  # written, not yet synced, and the pages came out of order
    request.getfixturevalue("another_boot")
    async with open_segments(copy, SETTINGS) as log:
        assert [repair.bytes_cut for repair in log.repairs] == [2 * len(WHOLE)]
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)


# --- a log that is older than what was made of it ---


async def test_a_reader_that_is_ahead_of_the_log_makes_it_go_on_past_it(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        log.append(events(1, 10))
        old = crashed(tmp_path / "log")
        log.append(events(11, 20))
        stored = log.end  # the store has all of it, and then an old copy of the log is put back
    async with open_segments(old, SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 10)
        reader = log.reader(STORE_READER, stored)
        head = log.head("app", "room:lobby")
        assert head.seq == 0
        assert head.epoch != EPOCH
        log.append([event(1, epoch=head.epoch)])
        batch = await reader.next_batch(10)
        assert batch.records == [event(1, epoch=head.epoch)]
        assert batch.end > stored
        await reader.commit(batch.end)
    async with open_segments(old, SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(head.epoch, 1)


async def test_a_store_that_is_further_behind_than_its_cursors_copy_is_given_a_whole_tail(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        reader = log.reader(STORE_READER, 0)
        for seq in range(1, 31):
            log.append([event(seq)])
        await reader.commit(log.end)
        first = await log.reader("other", 0).next_batch(10)
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        assert log.tail_first("app", "room:lobby") == 31
        log.reader(STORE_READER, first.end)  # an older copy of the store was put back
        seq = len(first.records) + 1
        assert log.tail_first("app", "room:lobby") == seq
        assert await log.tail("app", "room:lobby", 0, 99) == events(seq, 30)
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 30)
