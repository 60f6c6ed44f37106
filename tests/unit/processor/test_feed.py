"""The feed: every reader sees the whole log in order at its own pace, and what is read by several is decoded once."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from contracts.log_events import event, events
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.log.interface import LogCorrupt, LogSettings, ReadRecord
from polyglotd.log.segment_reader import open_segments_reader
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import Event
from polyglotd.processor.event_counts import EventCounts
from polyglotd.processor.feed import Feed, FeedReader

SETTINGS = LogSettings(segment_bytes=2_000)


async def read(reader: FeedReader, count: int, *, limit: int = 1000) -> list[ReadRecord]:
    """So many records; no more may come with them."""
    records: list[ReadRecord] = []
    with trio.fail_after(10):
        while len(records) < count:
            batch = await reader.next_batch(min(limit, count - len(records)))
            assert batch.ends[-1] <= batch.end == reader.position
            records += batch.records
    return records


def readers(feed: Feed, log: SegmentLog, count: int) -> list[FeedReader]:
    return [feed.reader(log.reader(f"stage{number}", 0)) for number in range(count)]


async def test_readers_that_keep_up_see_everything_and_each_record_is_decoded_once(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        feed = Feed()
        found: list[Sequence[ReadRecord]] = [[], [], []]

        async def follow(number: int, reader: FeedReader, limit: int) -> None:
            found[number] = await read(reader, 300, limit=limit)

        async with trio.open_nursery() as nursery:
            for number, reader in enumerate(readers(feed, log, 3)):
                nursery.start_soon(follow, number, reader, (1000, 7, 40)[number])
            for first in range(1, 301, 10):
                log.append(events(first, first + 9))
                await trio.sleep(0.001)
        assert found == [events(1, 300)] * 3
        assert feed.decoded_total == 300
        assert feed.cached_bytes == 0, "what all have taken is kept"


async def test_a_reader_that_stands_still_holds_up_nobody_and_costs_a_bounded_memory(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        feed = Feed(cache_bytes_max=20_000)
        quick, slow = readers(feed, log, 2)
        for first in range(1, 1001, 50):
            log.append(events(first, first + 49))
            assert await read(quick, 50) == events(first, first + 49)
            assert feed.cached_bytes <= 20_000
        assert feed.decoded_total == 1000
        assert await read(slow, 1000) == events(1, 1000)  # by itself, but for the end of it
        assert 1000 < feed.decoded_total < 2000


async def test_whoever_read_for_all_may_be_cancelled_and_the_next_one_reads_on(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        feed = Feed()
        first, second = readers(feed, log, 2)
        async with trio.open_nursery() as nursery:
            leader = await nursery.start(_cancellable, first)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(_expect, second, events(1, 5))
            await trio.testing.wait_all_tasks_blocked(0.01)
            leader.cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            log.append(events(1, 5))
        assert await read(first, 5) == events(1, 5)


async def _cancellable(
    reader: FeedReader, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await reader.next_batch(10)


async def _expect(reader: FeedReader, records: Sequence[Event]) -> None:
    assert await read(reader, len(records)) == records


async def test_readers_at_other_places_meet_and_read_together_from_there(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        ends = [log.append([event(seq)]) for seq in range(1, 101)]
        feed = Feed()
        ahead = feed.reader(log.reader("ahead", ends[59]))
        behind = feed.reader(log.reader("behind", 0))
        assert await read(ahead, 40) == events(61, 100)
        assert await read(behind, 100) == events(1, 100)
        decoded = feed.decoded_total
        log.append(events(101, 150))
        assert await read(behind, 50) == await read(ahead, 50) == events(101, 150)
        assert feed.decoded_total == decoded + 50


async def test_idle_readers_are_at_the_logs_end_also_behind_a_segments_head(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, trio.open_nursery() as nursery:
        both = readers(Feed(), log, 2)
        for reader in both:
            nursery.start_soon(reader.next_batch, 10)
        with trio.fail_after(5):
            while any(reader.position < log.end for reader in both):
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def test_a_reader_that_has_taken_half_of_a_read_is_not_beyond_it(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        ends = [log.append([event(seq)]) for seq in range(1, 11)]
        (reader,) = readers(Feed(), log, 1)
        assert await read(reader, 4) == events(1, 4)
        assert reader.position == ends[3]
        assert reader.end == ends[9]


async def test_damage_is_raised_to_each_reader_that_comes_to_it(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        ends = [log.append([event(seq)]) for seq in range(1, 11)]
        (segment,) = (tmp_path / "log").glob("*.seg")
        content = bytearray(segment.read_bytes())
        content[ends[5] + 20] ^= 1
        segment.write_bytes(content)
        for reader in readers(Feed(), log, 2):
            assert await read(reader, 6) == events(1, 6)
            with pytest.raises(LogCorrupt):
                await reader.next_batch(10)


async def test_readers_beside_the_logs_owner_share_as_well(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with (
        open_segments(path, SETTINGS) as log,
        open_segments_reader(path, "one", 0) as one,
        open_segments_reader(path, "two", 0) as two,
    ):
        feed = Feed()
        both = [feed.reader(one), feed.reader(two)]
        log.append(events(1, 100))
        for reader in both:
            assert await read(reader, 100) == events(1, 100)
            await reader.commit(reader.position)
        assert feed.decoded_total == 100
        with trio.fail_after(5):
            while set(log.stats().readers.values()) != {log.end}:
                await trio.sleep(0.02)


# --- how many events a stage lags ---


def test_events_between_positions_that_were_read_are_counted() -> None:
    counts = EventCounts()
    counts.read(0, 1000, 10)
    counts.read(1000, 2000, 2)
    assert counts.between(0, 2000) == 12
    assert counts.between(1000, 2000) == 2
    assert counts.between(500, 1000) == 5  # by share
    counts.read(0, 1000, 10)  # a stage behind reads it too
    assert counts.between(0, 2000) == 12


def test_events_that_nobody_read_yet_are_guessed_from_the_others() -> None:
    counts = EventCounts()
    assert counts.between(0, 500) == 0
    counts.read(1000, 2000, 10)
    assert counts.between(2000, 2500) == 5
    assert counts.between(0, 1000) == 10
    counts.read(3000, 4000, 10)
    assert counts.between(1000, 4000) == 30


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 50)), min_size=1, max_size=30))
def test_the_parts_of_a_log_have_as_many_events_as_the_whole(reads: list[tuple[int, int]]) -> None:
    counts = EventCounts()
    position, places = 0, [0]
    for size, number in reads:
        counts.read(position, position + size, number)
        position += size
        places.append(position)
    assert [counts.between(a, b) for a, b in pairwise(places)] == [n for _, n in reads]
    assert counts.between(0, position) == sum(number for _, number in reads)


def test_counting_a_long_log_takes_a_bounded_memory() -> None:
    counts = EventCounts()
    for place in range(20_000):
        counts.read(place * 10, place * 10 + 10, 1)
    assert len(counts._positions) <= 4_097
    assert abs(counts.between(0, 100_000) - 10_000) <= 1
    assert counts.between(0, 200_000) == 20_000
