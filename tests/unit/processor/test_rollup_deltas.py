"""From records to deltas, against a plain count of them; and which records are refused."""

import pytest
from contracts.rollup_records import APPS, BEGUN_S, CHANNELS, Sums, event, records, sums_of
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, Meter, ReadRecord
from polyglotd.model import Event
from polyglotd.model.latency import Latency
from polyglotd.processor.rollups import TIME_MAX_US, deltas_of, kept_from
from polyglotd.store.analytics import DAY, HOUR, LEVELS, MINUTE, SECOND, Cell, RollupSettings
from polyglotd.store.interface import RecordRefused
from polyglotd.store.user_sketch import EXACT_MAX, both, count, with_users

EVERYTHING = dict.fromkeys(LEVELS, 0)


def of(cell: Cell) -> Sums:
    return Sums(
        events=cell.events,
        bytes=cell.bytes,
        deliveries=cell.deliveries,
        connections_peak=cell.connections_peak,
        latency_sum_us=cell.latency.sum_us,
        latency=cell.latency.buckets,
        publishers=cell.unique_users + cell.unnamed,
        unique_users=cell.unique_users,
    )


@given(st.lists(records, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_cell_has_what_counting_its_bucket_by_hand_has(log: list[ReadRecord]) -> None:
    deltas = deltas_of(log, EVERYTHING)
    for (app_id, level, ts), cell in deltas.apps.items():
        assert ts % level == 0
        assert of(cell) == sums_of(log, app_id, None, ts, ts + level)
    for (app_id, channel, level, ts), cell in deltas.channels.items():
        assert of(cell) == sums_of(log, app_id, channel, ts, ts + level)
    for level in LEVELS:  # and nothing is left out
        for app_id in APPS:
            found = sum(cell.events for key, cell in deltas.apps.items() if key[:2] == (app_id, level))
            assert found == sums_of(log, app_id, None, 0, 1 << 40).events
            for channel in CHANNELS:
                cells = [c for key, c in deltas.channels.items() if key[:3] == (app_id, channel, level)]
                assert sum(c.events for c in cells) == sums_of(log, app_id, channel, 0, 1 << 40).events
    assert deltas.forgotten == {record.app_id for record in log if isinstance(record, AppForgotten)}


def test_channels_of_a_bucket_are_in_the_order_in_which_they_came_to_it() -> None:
    came = [("room:a", 0), ("room:b", 61), ("room:a", 61), ("room:c", 1)]
    deltas = deltas_of([event((BEGUN_S + at) * 1_000_000, channel=channel) for channel, at in came], EVERYTHING)
    minutes = [(channel, ts - BEGUN_S) for _, channel, level, ts in deltas.channels if level == MINUTE]
    assert [channel for channel, ts in minutes if ts == 0] == ["room:a", "room:c"]
    assert [channel for channel, ts in minutes if ts == MINUTE] == ["room:b", "room:a"]


@pytest.mark.parametrize("many", [1, 7, 8, 24, 25, 384, 385, 3_000])
def test_users_are_counted_once_a_cell_however_many_they_are(many: int) -> None:
    users = [f"user-{number}" for number in range(many)]
    log = [event((BEGUN_S + at % 2) * 1_000_000, user_id=user) for user in users for at in range(3)]
    deltas = deltas_of(log, EVERYTHING)
    for level in LEVELS:
        app, channel = (
            deltas.apps["app", level, BEGUN_S // level * level],
            deltas.channels["app", "room:a", level, BEGUN_S // level * level],
        )
        for cell in (app, channel):
            assert abs(cell.unique_users - many) <= (0 if many <= EXACT_MAX else many * 0.05)
            assert count(cell.users) == cell.unique_users


def test_times_from_the_first_second_to_the_last_of_a_calendar_have_their_buckets() -> None:
    last = TIME_MAX_US - 1
    log = [event(at, app, channel) for app in APPS for channel in CHANNELS for at in (0, last)]
    deltas = deltas_of(log, EVERYTHING)
    seconds = last // 1_000_000
    assert {key[1:] for key in deltas.apps} == {(level, at - at % level) for level in LEVELS for at in (0, seconds)}
    assert {cell.events for cell in deltas.channels.values()} == {1}
    assert {cell.events for cell in deltas.apps.values()} == {len(CHANNELS)}


def test_what_is_older_than_a_level_is_kept_counts_in_the_others_alone() -> None:
    kept = RollupSettings(second_keep_s=HOUR, minute_keep_s=DAY, hour_keep_s=30 * DAY, day_keep_s=300 * DAY)
    now_us = BEGUN_S * 1_000_000
    for age_s, levels in (
        (10, {SECOND, MINUTE, HOUR, DAY}),
        (2 * HOUR, {MINUTE, HOUR, DAY}),
        (3 * DAY, {HOUR, DAY}),
        (60 * DAY, {DAY}),
        (400 * DAY, set()),
    ):
        deltas = deltas_of([event(now_us - age_s * 1_000_000)], kept_from(kept, now_us))
        assert {level for _, level, _ in deltas.apps} == levels
        assert {level for _, _, level, _ in deltas.channels} == levels


def test_users_stay_with_their_cell_where_others_are_left_out() -> None:
    now_us = BEGUN_S * 1_000_000
    old_us = now_us - 2 * HOUR * 1_000_000
    log = [event(old_us, user_id="ann"), event(old_us, channel="room:b", user_id="bob"), event(now_us, user_id="cy")]
    log += [event(now_us, channel="room:c", user_id=user) for user in ("dan", "eve")]
    deltas = deltas_of(log, kept_from(RollupSettings(second_keep_s=HOUR), now_us))
    found = {channel: cell.users for (_, channel, level, _), cell in deltas.channels.items() if level == SECOND}
    assert {channel: count(users) for channel, users in found.items()} == {"room:a": 1, "room:c": 2}
    for channel, users in (("room:a", ["cy"]), ("room:c", ["dan", "eve"])):
        assert both(found[channel], with_users(b"", users)[0])[1] == len(users)
    assert count(deltas.apps["app", SECOND, BEGUN_S].users) == 3


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Meter("app", 1, 2**60, 0, 0, 0), id="a count too large"),
        pytest.param(Meter("app", 1, 0, 0, 0, 0, Latency(1, {3: 2**60})), id="a bucket too full"),
        pytest.param(Meter("app", 1, -1, 0, 0, 0), id="a count below zero"),
        pytest.param(event(2**63), id="a time that no calendar has"),
        pytest.param(event(1, user_id="\ud800"), id="a user who is no UTF-8"),
    ],
)
def test_a_record_that_can_not_be_counted_is_refused_by_its_place(bad: Event | Meter) -> None:
    with pytest.raises(RecordRefused) as refused:
        deltas_of([event(BEGUN_S), bad, event(BEGUN_S)], EVERYTHING)
    assert refused.value.index == 1
