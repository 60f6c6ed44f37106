"""What every event log promises (polyglotd/log/interface.py), run on each make of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from log_writers import WRITERS

from polyglotd.log.interface import (
    STORE_READER,
    AppForgotten,
    ChannelHead,
    EpochBegun,
    EventLog,
    LogReader,
    LogSettings,
    Meter,
    ReadRecord,
    RecentId,
    TailMoved,
    Wanted,
)
from polyglotd.model import Event, Unavailable

NOW_US = 1_795_508_200_000_000

OpenLog = Callable[..., AbstractAsyncContextManager[EventLog]]


@pytest.fixture(params=[f"{writer}-{sync}" for writer in WRITERS for sync in ("os", "interval", "always")])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Opens the same log each time: what one opening wrote, the next one finds."""
    writer, sync = request.param.split("-")

    def open_it(**settings: object) -> AbstractAsyncContextManager[EventLog]:
        values = {"sync": sync, "sync_interval_ms": 5, "segment_bytes": 2_000} | settings
        return WRITERS[writer](tmp_path / "log", LogSettings(**values), clock=lambda: NOW_US)  # type: ignore[arg-type]

    return open_it


@pytest.fixture
async def log(open_log: OpenLog) -> AsyncIterator[EventLog]:
    async with open_log() as log:
        yield log


async def append(log: EventLog, *records: object) -> int:
    """Append, and wait until it is as durable as it will be."""
    end = log.append(records)  # type: ignore[arg-type]
    await log.synced(end)
    return end


async def read(reader: LogReader, count: int, limit: int = 7) -> list[ReadRecord]:
    """The next `count` records."""
    found: list[ReadRecord] = []
    with trio.fail_after(5):
        while len(found) < count:
            batch = await reader.next_batch(min(limit, count - len(found)))
            assert 1 <= len(batch.records) <= limit
            found += batch.records
    return found


# --- heads ---


async def test_a_channel_without_events_stands_at_seq_0_of_the_logs_own_epoch(log: EventLog) -> None:
    head = log.head("app", "room:lobby")
    assert head.seq == 0
    assert head.epoch
    assert log.head("other", "room:x") == head


async def test_appended_events_move_their_channels_head_alone(log: EventLog) -> None:
    own = log.head("app", "room:b")
    await append(log, event(1), event(2), event(1, "room:c"))
    assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 2)
    assert log.head("app", "room:c") == ChannelHead(EPOCH, 1)
    assert log.head("app", "room:b") == own
    assert log.head("other", "room:lobby") == own


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(event(2), id="the same seq again"),
        pytest.param(event(4), id="a gap"),
        pytest.param(event(1), id="seq 1 of the same epoch"),
        pytest.param(event(3, epoch="another"), id="a new epoch that does not begin at 1"),
        pytest.param(event(2, "room:new"), id="a new channel that does not begin at 1"),
    ],
)
async def test_a_batch_with_a_seq_out_of_turn_is_refused_whole(log: EventLog, wrong: object) -> None:
    await append(log, event(1), event(2))
    end = log.end
    with pytest.raises(ValueError):
        log.append([event(1, "room:c"), event(3) if wrong != event(4) else event(1, "room:d"), wrong])  # type: ignore[list-item]
    assert log.end == end
    assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 2)
    assert log.head("app", "room:c").seq == 0
    await append(log, event(3), event(1, "room:c"))


async def test_a_refused_batch_that_began_an_epoch_leaves_the_old_one(log: EventLog) -> None:
    await append(log, *events(1, 5))
    with pytest.raises(ValueError):
        log.append([event(6), event(1, epoch="second"), event(2, epoch="second"), event(9, epoch="second")])
    assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 5)
    assert [e.seq for e in await log.tail("app", "room:lobby", 0, 99)] == [1, 2, 3, 4, 5]
    await append(log, event(6))


async def test_an_event_with_seq_1_of_another_epoch_begins_it(log: EventLog) -> None:
    await append(log, *events(1, 3), event(1, epoch="second"))
    assert log.head("app", "room:lobby") == ChannelHead("second", 1)
    assert await log.tail("app", "room:lobby", 0, 99) == [event(1, epoch="second")]


async def test_begin_epoch_puts_a_channel_at_seq_0_of_it(log: EventLog) -> None:
    await append(log, *events(1, 3))
    log.begin_epoch("app", "room:lobby", "second")
    log.begin_epoch("app", "room:never", "third")
    assert log.head("app", "room:lobby") == ChannelHead("second", 0)
    assert log.head("app", "room:never") == ChannelHead("third", 0)
    assert await log.tail("app", "room:lobby", 0, 99) == []
    await append(log, event(1, epoch="second"))


async def test_a_forgotten_app_begins_new_epochs_and_others_do_not(log: EventLog) -> None:
    await append(log, *events(1, 3), event(1, app_id="other"))
    untouched = log.head("other", "room:never")
    log.forget_app("app")
    lobby, never = log.head("app", "room:lobby"), log.head("app", "room:never")
    assert lobby.seq == never.seq == 0
    assert lobby.epoch not in (EPOCH, untouched.epoch)
    assert log.head("other", "room:lobby") == ChannelHead(EPOCH, 1)
    assert log.head("other", "room:never") == untouched


# --- over restarts ---


async def test_a_restart_keeps_heads_epochs_and_id(open_log: OpenLog) -> None:
    async with open_log() as log:
        own = log.head("app", "room:never")
        for seq in range(1, 60):  # several segments
            await append(log, event(seq), event(seq, "room:b"))
        log.begin_epoch("app", "room:b", "second")
        await append(log, event(1, app_id="gone"))
        log.forget_app("gone")
        gone = log.head("gone", "room:lobby")
        before = (log.id, log.end)
    async with open_log() as log:
        assert (log.id, log.end) == before
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 59)
        assert log.head("app", "room:b") == ChannelHead("second", 0)
        assert log.head("app", "room:never") == own
        assert log.head("gone", "room:lobby") == gone
        assert [e.seq for e in await log.tail("app", "room:lobby", 0, 99)] == list(range(1, 60))
        await append(log, event(60), event(1, "room:b", epoch="second"))


async def test_a_reader_that_begins_where_it_stood_reads_each_record_once(open_log: OpenLog) -> None:
    written = [record for seq in range(1, 40) for record in (event(seq), Meter("app", seq, 1, 2, 3, 4))]
    async with open_log() as log:
        await append(log, *written[:50])
        reader = log.reader("webhooks", 0)
        found = await read(reader, 30)
        batch = await reader.next_batch(1)
        found += batch.records
        await reader.commit(batch.end)
        await append(log, *written[50:])
    async with open_log() as log:
        found += await read(log.reader("webhooks", batch.end), len(written) - 31)
    assert found == written


# --- readers ---


async def test_a_reader_finds_every_record_in_log_order(log: EventLog) -> None:
    await append(log, event(1), Meter("app", 5, 1, 2, 3, 4), event(1, "room:b"))
    log.begin_epoch("app", "room:b", "second")
    log.forget_app("app")
    epoch = log.head("app", "room:b").epoch
    await log.synced(log.end)
    assert await read(log.reader("r", 0), 5) == [
        event(1),
        Meter("app", 5, 1, 2, 3, 4),
        event(1, "room:b"),
        EpochBegun("app", "room:b", "second"),
        AppForgotten("app", epoch),
    ]


async def test_a_waiting_reader_is_woken_by_an_append(log: EventLog) -> None:
    reader = log.reader("r", log.end)
    found: list[ReadRecord] = []

    async def wait_for_one() -> None:
        found.extend(await read(reader, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_one)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        await append(log, event(1))
    assert found == [event(1)]


async def test_a_cancelled_read_consumed_nothing(log: EventLog) -> None:
    reader = log.reader("r", log.end)
    with trio.move_on_after(0.01):
        await reader.next_batch(10)
    await append(log, event(1))
    assert await read(reader, 1) == [event(1)]


async def test_a_record_larger_than_what_is_read_at_once_comes_whole(log: EventLog) -> None:
    large = event(2, data=b'"' + b"x" * 3_000_000 + b'"')
    await append(log, event(1), large, event(3))
    assert await read(log.reader("r", 0), 3) == [event(1), large, event(3)]
    assert await log.tail("app", "room:lobby", 1, 3) == [large]


async def test_readers_have_a_cursor_each(log: EventLog) -> None:
    await append(log, *events(1, 10))
    first, second = log.reader("first", 0), log.reader("second", 0)
    assert await read(first, 10) == events(1, 10)
    assert await read(second, 10) == events(1, 10)
    stats = log.stats()
    assert stats.readers == {"first": 0, "second": 0}


# --- the tail: what the store may not have yet ---


async def test_the_tail_is_what_the_store_reader_has_not_committed(log: EventLog) -> None:
    await append(log, *events(1, 30), event(1, "room:b"))
    reader = log.reader(STORE_READER, 0)
    assert log.tail_first("app", "room:lobby") == 1
    batch = await reader.next_batch(12)
    assert log.tail_first("app", "room:lobby") == 1
    await reader.commit(batch.end)
    assert log.tail_first("app", "room:lobby") == len(batch.records) + 1
    assert [e.seq for e in await log.tail("app", "room:lobby", 0, 31)] == list(range(len(batch.records) + 1, 31))
    assert log.tail_first("app", "room:b") == 1
    assert log.tail_first("app", "room:never") == 1


async def test_the_tail_is_empty_when_the_store_has_all(log: EventLog) -> None:
    end = await append(log, *events(1, 30))
    await log.reader(STORE_READER, 0).commit(end)
    assert log.tail_first("app", "room:lobby") == 31
    assert await log.tail("app", "room:lobby", 0, 99) == []
    await append(log, event(31))
    assert await log.tail("app", "room:lobby", 0, 99) == [event(31)]


@pytest.mark.parametrize(
    ("after", "before", "limit", "newest", "seqs"),
    [
        pytest.param(0, 21, 1000, True, range(1, 21), id="all"),
        pytest.param(5, 10, 1000, True, range(6, 10), id="between"),
        pytest.param(0, 21, 3, True, range(18, 21), id="the newest"),
        pytest.param(0, 21, 3, False, range(1, 4), id="the oldest"),
        pytest.param(20, 30, 1000, True, [], id="beyond the head"),
        pytest.param(10, 5, 1000, True, [], id="nothing between"),
        pytest.param(0, 1, 1000, True, [], id="before the first"),
    ],
)
async def test_the_tail_is_bounded(
    log: EventLog, after: int, before: int, limit: int, newest: bool, seqs: list[int]
) -> None:
    for seq in range(1, 21):
        await append(log, event(seq), event(seq, "room:b"))
    found = await log.tail("app", "room:lobby", after, before, limit=limit, newest=newest)
    assert found == [event(seq) for seq in seqs]


# --- ids of publishers ---


async def test_recent_ids_are_the_publishers_own_of_this_epoch_in_order(open_log: OpenLog) -> None:
    async with open_log() as log:
        await append(log, event(1, id="mine-1", ts_us=NOW_US), event(1, epoch="second", id="mine-2", ts_us=NOW_US))
        await append(log, event(2, epoch="second", ts_us=NOW_US))
        await append(log, event(3, epoch="second", id="mine-3", user_id=None, ts_us=NOW_US))
        await append(log, event(1, "room:b", id="mine-4", ts_us=NOW_US))
    expected = [RecentId("mine-2", "user1", 1, NOW_US), RecentId("mine-3", None, 3, NOW_US)]
    async with open_log() as log:
        assert log.recent_ids("app", "room:lobby") == expected
        assert log.recent_ids("app", "room:b") == [RecentId("mine-4", "user1", 1, NOW_US)]
        assert log.recent_ids("app", "room:never") == []
        assert log.recent_ids("other", "room:lobby") == []


async def test_recent_ids_older_than_five_minutes_are_forgotten(log: EventLog) -> None:
    old = NOW_US - 300_000_001
    await append(log, event(1, id="old", ts_us=old), event(2, id="young", ts_us=NOW_US - 299_000_000))
    assert [recent.id for recent in log.recent_ids("app", "room:lobby")] == ["young"]


async def test_recent_ids_are_the_newest_ten_thousand(log: EventLog) -> None:
    for first in range(1, 20_501, 500):
        await append(log, *[event(s, id=f"mine-{s}", ts_us=NOW_US) for s in range(first, first + 500)])
    recent = log.recent_ids("app", "room:lobby")
    assert len(recent) == 10_000
    assert [recent[0].id, recent[-1].id] == ["mine-10501", "mine-20500"]


# --- bounds ---


async def test_at_bytes_max_events_are_refused_until_readers_let_go(open_log: OpenLog) -> None:
    async with open_log(bytes_max=5_000) as log:
        reader = log.reader(STORE_READER, 0)
        seq = 0
        refusal = None
        while refusal is None:
            try:
                await append(log, event(seq + 1))
                seq += 1
            except Unavailable as error:
                refusal = error
        assert refusal.retry_after_ms > 0
        assert 0 < log.stats().unread_bytes <= 5_000
        assert log.head("app", "room:lobby").seq == seq
        await append(log, Meter("app", 1, 1, 1, 1, 1))  # meters are few, and bounded by themselves
        with pytest.raises(Unavailable):
            log.append([event(seq + 1)])
        await reader.commit((await reader.next_batch(20)).end)
        await append(log, event(seq + 1))


async def test_an_empty_batch_changes_nothing(log: EventLog) -> None:
    end = log.end
    assert log.append([]) == end == log.end


# --- forgetting ---


async def test_forgotten_idle_channels_begin_a_new_epoch(open_log: OpenLog) -> None:
    async with open_log() as log:
        end = await append(log, event(1, ts_us=1), event(1, "room:b", ts_us=100), event(1, "post:c", ts_us=1))
        await log.reader(STORE_READER, 0).commit(end)
        own = log.head("app", "room:never").epoch

        def idle(app_id: str, channel: str, ts_us: int) -> bool:
            return app_id == "app" and channel.startswith("room:") and ts_us < 50

        assert await log.forget_idle(idle) == 1
        head = log.head("app", "room:lobby")
        assert head.seq == 0
        assert head.epoch not in (own, EPOCH)
        assert log.head("app", "room:b") == ChannelHead(EPOCH, 1)
        assert log.head("app", "post:c") == ChannelHead(EPOCH, 1)
        assert await log.forget_idle(idle) == 0
        assert log.head("app", "room:lobby") == head
    async with open_log() as log:
        assert log.head("app", "room:lobby").epoch != EPOCH


async def test_a_channel_whose_epoch_has_just_begun_is_not_idle(open_log: OpenLog) -> None:
    async with open_log() as log:
        end = await append(log, event(1, ts_us=1))
        await log.reader(STORE_READER, 0).commit(end)
        log.begin_epoch("app", "room:lobby", "second")
        log.begin_epoch("app", "room:never", "third")
        assert await log.forget_idle(lambda *last: last[2] < NOW_US) == 0
    async with open_log() as log:
        assert await log.forget_idle(lambda *last: last[2] < NOW_US) == 0
        assert log.head("app", "room:never") == ChannelHead("third", 0)


async def test_a_channel_that_the_store_has_not_read_is_not_forgotten(log: EventLog) -> None:
    await append(log, event(1))
    assert await log.forget_idle(lambda *_: True) == 0
    assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 1)


# --- following channels ---

ROOMS = Wanted("app", "room:", True)


async def follow(log: EventLog, count: int) -> list[Event]:
    found: list[Event] = []
    with trio.fail_after(5):
        while len(found) < count:
            found += (await log.follower().next_found()).events
    return found


async def test_a_follower_finds_what_it_wants_and_nothing_else(log: EventLog) -> None:
    await append(log, event(1))
    begin = log.follower().want(ROOMS)
    assert begin == log.end
    batch = [event(2), event(1, "post:x"), event(1, app_id="app2"), Meter("app", 1, 1, 1, 1, 1), event(1, "room:b")]
    await append(log, *batch)
    assert await follow(log, 2) == [event(2), event(1, "room:b")]
    log.follower().want(Wanted("app", "post:x", False))
    log.follower().want(Wanted("app2", "", True))
    await append(log, event(1, "post:xy"), event(2, "post:x"), event(2, app_id="app2"), event(3))
    assert await follow(log, 3) == [event(2, "post:x"), event(2, app_id="app2"), event(3)]


async def test_what_was_dropped_is_found_no_more_unless_another_wants_it_too(log: EventLog) -> None:
    follower = log.follower()
    follower.want(ROOMS)
    follower.want(ROOMS)
    follower.drop(ROOMS)
    await append(log, event(1))
    assert await follow(log, 1) == [event(1)]
    follower.drop(ROOMS)
    await append(log, event(2))
    follower.want(ROOMS)
    await append(log, event(3))
    assert (await follow(log, 1))[-1] == event(3)


async def test_a_search_goes_from_any_record_to_the_end_over_segments(log: EventLog) -> None:
    ends = [await append(log, event(seq), event(seq, "post:x")) for seq in range(1, 61)]
    assert len(list(ends)) == 60
    found: list[Event] = []
    position = ends[9]
    while position < log.end:
        part = await log.find(ROOMS, position)
        assert part.end > position
        found += part.events
        position = part.end
    assert found == events(11, 60)
    assert (await log.find(ROOMS, log.end)).end == log.end


async def test_a_search_says_that_the_log_does_not_reach_back_so_far(log: EventLog) -> None:
    reader = log.reader(STORE_READER, 0)
    for seq in range(1, 61):
        await append(log, event(seq))
    await read(reader, 60)
    await reader.commit(log.end)
    with trio.fail_after(5):
        while log.begin == 0:
            await trio.sleep(0.05)
    with pytest.raises(TailMoved):
        await log.find(ROOMS, 0)
    assert (await log.find(ROOMS, log.begin)).events


async def test_a_follower_that_waits_is_cancelled_without_a_loss(log: EventLog) -> None:
    log.follower().want(ROOMS)
    await append(log, event(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.follower().next_found()
    assert await follow(log, 1) == [event(1)]
    assert log.follower().pass_on() == log.end
