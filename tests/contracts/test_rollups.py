"""What every make of the rollups promises (polyglotd/store/analytics.py), run on each make of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from contracts.rollup_records import APPS, BEGUN_S, CHANNELS, Sums, event, records, sums_of
from contracts.stores import Make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, Meter, ReadRecord
from polyglotd.model.latency import Latency
from polyglotd.processor.rollups import RollupSink, deltas_of
from polyglotd.store.analytics import DAY, HOUR, LEVELS, MINUTE, SECOND, Progress, RollupRow, Rollups, RollupSettings
from polyglotd.store.interface import SetAside

LOG = "log_1"
EVERYTHING = dict.fromkeys(LEVELS, 0)
ALL_TIME = (0, 1 << 40)
SETTINGS = RollupSettings(channels_max=20)
BEGUN_US = BEGUN_S * 1_000_000

OpenRollups = Callable[[], AbstractAsyncContextManager[Rollups]]


@pytest.fixture
def open_rollups(make: Make) -> OpenRollups:
    """Opens the same rollups each time."""
    return lambda: make.open_rollups(SETTINGS)


@pytest.fixture
async def rollups(open_rollups: OpenRollups) -> AsyncIterator[Rollups]:
    async with open_rollups() as rollups:
        yield rollups


async def add(rollups: Rollups, log: Sequence[ReadRecord], end: int) -> None:
    await rollups.add(LOG, deltas_of(log, EVERYTHING), end)


def of(row: RollupRow) -> Sums:
    return Sums(
        events=row.events,
        bytes=row.bytes,
        deliveries=row.deliveries,
        connections_peak=row.connections_peak,
        latency_sum_us=row.latency.sum_us,
        latency=row.latency.buckets,
        publishers=row.publishers,
        unique_users=row.unique_users,
    )


async def check_all(rollups: Rollups, log: Sequence[ReadRecord]) -> None:
    """Every row has what counting by hand has, and no event is missing."""
    for app_id in APPS:
        for channel in (None, *CHANNELS):
            for level in LEVELS:
                if channel is None:
                    rows = await rollups.app_rows(app_id, level, *ALL_TIME)
                else:
                    rows = await rollups.channel_rows(app_id, channel, level, *ALL_TIME)
                assert [row.ts for row in rows] == sorted({row.ts for row in rows})
                for row in rows:
                    assert of(row) == sums_of(log, app_id, channel, row.ts, row.ts + level)
                assert sum(row.events for row in rows) == sums_of(log, app_id, channel, *ALL_TIME).events


@given(st.lists(st.tuples(st.lists(records, max_size=12), st.booleans()), max_size=8))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_records_come_in_batches_and_again_each_counts_once(
    make: Make, batches: list[tuple[list[ReadRecord], bool]]
) -> None:
    async def run() -> None:
        log: list[ReadRecord] = []
        make.fresh()
        async with make.open_rollups(SETTINGS) as rollups:
            for end, (batch, again) in enumerate(batches, 1):
                for _ in range(1 + again):
                    await add(rollups, batch, end)
                log += batch
            await check_all(rollups, log)

    trio.run(run)


async def test_rows_and_progress_are_there_after_a_restart(open_rollups: OpenRollups) -> None:
    async with open_rollups() as rollups:
        assert await rollups.progress(LOG) == Progress(0, 0)
        await add(rollups, [event(BEGUN_US), event(BEGUN_US + 5)], 700)
    async with open_rollups() as rollups:
        assert await rollups.progress(LOG) == Progress(700, BEGUN_US + 5)
        (row,) = await rollups.app_rows("app", MINUTE, *ALL_TIME)
        assert (row.ts, row.events, row.bytes, row.publishers) == (BEGUN_S, 2, 4, 1)


async def test_a_late_event_counts_where_it_belongs_and_does_not_turn_progress_back(rollups: Rollups) -> None:
    await add(rollups, [event(BEGUN_US + HOUR * 1_000_000)], 1)
    await add(rollups, [event(BEGUN_US, user_id="bob")], 2)
    assert [row.events for row in await rollups.app_rows("app", MINUTE, *ALL_TIME)] == [1, 1]
    (day,) = await rollups.app_rows("app", DAY, *ALL_TIME)
    assert (day.events, day.unique_users) == (2, 2)
    assert (await rollups.progress(LOG)).newest_us == BEGUN_US + HOUR * 1_000_000


async def test_logs_have_a_cursor_each(rollups: Rollups) -> None:
    await add(rollups, [event(BEGUN_US)], 500)
    await rollups.add("log_2", deltas_of([event(BEGUN_US)], EVERYTHING), 100)
    assert [(await rollups.progress(log)).position for log in (LOG, "log_2")] == [500, 100]
    assert [row.events for row in await rollups.app_rows("app", DAY, *ALL_TIME)] == [2]


async def test_late_events_of_channels_are_added_to_rows_of_long_ago_beside_those_of_new_buckets(
    open_rollups: OpenRollups,
) -> None:
    later = BEGUN_US + 3 * HOUR * 1_000_000
    log: list[ReadRecord] = [event(BEGUN_US, channel=channel) for channel in CHANNELS[:2]]
    async with open_rollups() as rollups:
        await add(rollups, log, 1)
    late: list[ReadRecord] = [
        event(later, user_id="bob"),
        event(BEGUN_US, user_id="bob"),  # a bucket and a row of before
        event(BEGUN_US, app_id="twin"),  # nothing of this app yet
        event(BEGUN_US - 60_000_000),  # a bucket that had nothing
        event(later, channel="room:new"),
        event(BEGUN_US + 1_000_000, channel="room:new"),  # buckets that are there, a channel that is new
        Meter("app", later, 1, 1, 1, 1),
    ]
    async with open_rollups() as rollups:  # by who remembers nothing
        await rollups.add("log_2", deltas_of(late, EVERYTHING), 1)
        await add(rollups, late, 2)
        log += late * 2
        await check_all(rollups, log)
        for level in LEVELS:
            rows = await rollups.channel_rows("app", "room:new", level, *ALL_TIME)
            assert [of(row) for row in rows] == [
                sums_of(log, "app", "room:new", row.ts, row.ts + level) for row in rows
            ]
            assert sum(row.events for row in rows) == 4


async def test_after_a_write_that_failed_half_way_the_same_counts_once(rollups: Rollups) -> None:
    log: list[ReadRecord] = [event(BEGUN_US, channel=channel, user_id=channel) for channel in CHANNELS[:2]]
    await add(rollups, log, 1)
    deltas = deltas_of(log, EVERYTHING)
    bad = deltas_of(log, EVERYTHING)
    bad.channels["app", CHANNELS[1], DAY, BEGUN_S // DAY * DAY].events = 1 << 63  # which no table takes
    with pytest.raises(Exception, match=r".+"):
        await rollups.add(LOG, bad, 2)
    assert (await rollups.progress(LOG)).position == 1
    await check_all(rollups, log)
    for _ in range(2):
        await rollups.add(LOG, deltas, 2)
    await check_all(rollups, log * 2)


async def test_what_was_pruned_half_way_is_counted_anew(rollups: Rollups) -> None:
    await add(rollups, [event(BEGUN_US), event(BEGUN_US, channel="room:b")], 1)
    await rollups.prune({SECOND: 1 << 40, MINUTE: 1 << 40, HOUR: 0, DAY: 0})
    await add(rollups, [event(BEGUN_US)], 2)
    for level, events in ((SECOND, 1), (MINUTE, 1), (HOUR, 2), (DAY, 2)):
        assert [row.events for row in await rollups.channel_rows("app", "room:a", level, *ALL_TIME)] == [events]


async def test_users_are_exact_up_to_some_hundred_in_however_many_batches(rollups: Rollups) -> None:
    for end, first in enumerate(range(0, 350, 50), 1):
        log = [event(BEGUN_US, user_id=f"user-{number}") for number in range(first, min(first + 70, 350))]
        await add(rollups, log, end)
    for rows in (
        await rollups.app_rows("app", HOUR, *ALL_TIME),
        await rollups.channel_rows("app", "room:a", SECOND, *ALL_TIME),
    ):
        assert [row.unique_users for row in rows] == [350]


async def test_a_range_has_the_buckets_that_begin_in_it(rollups: Rollups) -> None:
    await add(rollups, [event(BEGUN_US + second * 1_000_000) for second in range(5)], 1)
    rows = await rollups.app_rows("app", SECOND, BEGUN_S + 1, BEGUN_S + 3)
    assert [row.ts for row in rows] == [BEGUN_S + 1, BEGUN_S + 2]
    rows = await rollups.channel_rows("app", "room:a", SECOND, BEGUN_S + 1, BEGUN_S + 3)
    assert [row.ts for row in rows] == [BEGUN_S + 1, BEGUN_S + 2]


async def test_many_users_are_counted_to_some_percent_and_the_same_user_once(rollups: Rollups) -> None:
    for part in range(4):
        log = [event(BEGUN_US, user_id=f"user-{number}") for number in range(part * 5_000, part * 5_000 + 10_000)]
        await add(rollups, log, part + 1)
    (row,) = await rollups.channel_rows("app", "room:a", DAY, *ALL_TIME)
    assert row.events == 40_000
    assert abs(row.unique_users - 25_000) < 25_000 * 0.05  # three standard errors
    assert row.publishers == row.unique_users


async def test_of_channels_beyond_the_bound_of_their_bucket_only_the_app_knows(rollups: Rollups) -> None:
    channels = [f"room:{number:02}" for number in range(30)]
    await add(rollups, [event(BEGUN_US, channel=channel) for channel in channels], 1)
    await add(rollups, [event(BEGUN_US, channel=channel) for channel in channels], 2)  # those that are in stay in
    await add(rollups, [event(BEGUN_US, app_id="twin", channel=channel) for channel in channels[:5]], 3)
    found = {
        level: [len(await rollups.channel_rows("app", channel, level, *ALL_TIME)) for channel in channels]
        for level in LEVELS
    }
    assert {level: sum(has) for level, has in found.items()} == {SECOND: 2, MINUTE: 20, HOUR: 20, DAY: 20}
    kept = [channel for channel, has in zip(channels, found[MINUTE], strict=True) if has]
    for channel in kept:
        assert [row.events for row in await rollups.channel_rows("app", channel, MINUTE, *ALL_TIME)] == [2]
    assert [row.events for row in await rollups.app_rows("app", MINUTE, *ALL_TIME)] == [60]
    assert [row.events for row in await rollups.channel_rows("twin", "room:04", MINUTE, *ALL_TIME)] == [1]
    await add(rollups, [event(BEGUN_US + MINUTE * 1_000_000, channel="room:29")], 4)  # the next minute has room
    assert len(await rollups.channel_rows("app", "room:29", MINUTE, *ALL_TIME)) == 1


async def test_pruning_deletes_what_is_too_old_by_level(rollups: Rollups) -> None:
    log = [event(BEGUN_US + minute * 60_000_000, app) for minute in range(10) for app in APPS]
    await add(rollups, log, 1)
    bound = BEGUN_S + 5 * MINUTE
    deleted = await rollups.prune({SECOND: 1 << 40, MINUTE: bound, HOUR: 0, DAY: 0})
    assert deleted > 0
    for app_id in APPS:
        assert await rollups.app_rows(app_id, SECOND, *ALL_TIME) == []
        assert await rollups.channel_rows(app_id, "room:a", SECOND, *ALL_TIME) == []
        assert (await rollups.app_rows(app_id, MINUTE, *ALL_TIME))[0].ts == bound
        assert (await rollups.channel_rows(app_id, "room:a", MINUTE, *ALL_TIME))[0].ts == bound
        assert [row.events for row in await rollups.app_rows(app_id, DAY, *ALL_TIME)] == [10]
    assert await rollups.prune({SECOND: 1 << 40, MINUTE: bound, HOUR: 0, DAY: 0}) == 0
    await rollups.prune(dict.fromkeys(LEVELS, 1 << 40))
    await add(rollups, [event(BEGUN_US)], 2)  # a channel without a row left is a new one
    assert [row.events for row in await rollups.channel_rows("app", "room:a", DAY, *ALL_TIME)] == [1]


async def test_a_forgotten_app_is_gone_at_once_and_may_come_again(rollups: Rollups) -> None:
    both = [event(BEGUN_US, app) for app in APPS] + [Meter(app, BEGUN_US, 5, 9, 3, 2) for app in APPS]
    await add(rollups, both, 1)
    await add(rollups, [event(BEGUN_US), AppForgotten("app", "e"), event(BEGUN_US, user_id="new")], 2)
    for level in LEVELS:
        assert [row.events for row in await rollups.app_rows("app", level, *ALL_TIME)] == [1]
        assert [row.events for row in await rollups.channel_rows("app", "room:a", level, *ALL_TIME)] == [1]
        assert [row.events for row in await rollups.app_rows("twin", level, *ALL_TIME)] == [6]
    assert list(await rollups.forgotten_apps()) == ["app"]
    await rollups.prune(dict.fromkeys(LEVELS, 0))  # which also removes what nobody can see any more
    assert [row.events for row in await rollups.app_rows("app", DAY, *ALL_TIME)] == [1]
    await rollups.erased("app")
    assert list(await rollups.forgotten_apps()) == []


async def test_what_was_set_aside_is_counted(rollups: Rollups) -> None:
    await rollups.add(LOG, deltas_of([], EVERYTHING), 10, [SetAside(Meter("app", 1, 2, 3, 4, 5), "out of range")])
    assert (await rollups.stats()).set_aside == 1
    assert (await rollups.progress(LOG)).position == 10


async def test_latencies_add_up(rollups: Rollups) -> None:
    for end, latency in enumerate([Latency(10, {3: 1}), Latency(), Latency(500, {3: 2, 40: 7})], 1):
        await add(rollups, [Meter("app", BEGUN_US, 0, 0, 1, end, latency)], end)
    (row,) = await rollups.app_rows("app", MINUTE, *ALL_TIME)
    assert (row.latency, row.deliveries, row.connections_peak) == (Latency(510, {3: 3, 40: 7}), 3, 3)


async def test_the_sink_leaves_out_what_is_not_kept_by_its_clock(rollups: Rollups) -> None:
    sink = RollupSink(rollups, clock=lambda: BEGUN_US)
    await sink.append(LOG, [event(BEGUN_US - (SETTINGS.second_keep_s + 1) * 1_000_000), event(BEGUN_US)], 77)
    assert await sink.cursor(LOG) == 77
    assert len(await rollups.app_rows("app", SECOND, *ALL_TIME)) == 1
    assert len(await rollups.app_rows("app", MINUTE, *ALL_TIME)) == 2
