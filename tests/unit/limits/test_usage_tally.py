"""What an app used, as the store has counted and as was admitted since: nothing twice, nothing forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.limits.month import month_ends_us, month_of
from polyglotd.limits.usage_tally import BYTES, EVENTS, PARTS_MAX, UsageTally
from polyglotd.model import Limits

NOVEMBER, DECEMBER = "2026-11", "2026-12"


def tally(**limits: int) -> UsageTally:
    made = UsageTally(Limits(**limits), NOVEMBER)  # type: ignore[arg-type]
    made.stored(0, NOVEMBER, 0, 0)
    return made


def test_a_quota_is_used_up_when_the_last_event_fits_and_no_earlier() -> None:
    used = tally(events_per_month=5)
    used.admitted(1_000, 4, 100)
    assert not used.events_used_up
    used.admitted(2_000, 1, 100)
    assert used.events_used_up


def test_events_of_memory_kinds_count_and_are_not_stored() -> None:
    used = tally(events_per_month=5, stored_bytes=10)
    used.admitted_in_memory(3)
    used.admitted_in_memory(2)
    assert (used.events, used.bytes, used.events_used_up, used.bytes_used_up) == (5, 0, True, False)
    used.meters_written(900)
    used.stored(900, NOVEMBER, 5, 0)
    assert used.events == 5


def test_what_the_store_has_read_is_not_counted_twice() -> None:
    used = tally(events_per_month=100)
    used.admitted(1_000, 10, 50)
    used.admitted(9_000, 20, 60)
    used.stored(1_000, NOVEMBER, 10, 50)
    assert (used.events, used.bytes) == (30, 110)
    used.stored(9_000, NOVEMBER, 30, 110)
    assert (used.events, used.bytes) == (30, 110)
    used.stored(9_000, NOVEMBER, 30, 20)  # retention
    assert (used.events, used.bytes) == (30, 20)


def test_of_a_part_that_the_store_has_read_half_nothing_is_refused_too_early() -> None:
    used = tally(events_per_month=20)
    used.admitted(10_000, 10, 5_000)  # from 4,600 at the earliest
    used.stored(7_000, NOVEMBER, 6, 3_000)
    assert used.events == 6


def test_nothing_is_used_up_before_the_store_was_asked_and_nothing_without_a_limit() -> None:
    unknown = UsageTally(Limits(events_per_month=1), NOVEMBER)
    unknown.admitted(100, 5, 5)
    assert not unknown.events_used_up
    free = tally()
    free.admitted(100, 1_000_000, 1 << 40)
    assert (free.is_limited, free.events_used_up, free.bytes_used_up) == (False, False, False)


def test_a_new_month_begins_with_nothing_and_keeps_what_is_stored() -> None:
    used = tally(events_per_month=5, stored_bytes=1_000)
    used.admitted(1_000, 5, 100)
    used.begin_month(DECEMBER)
    assert (used.events, used.events_used_up) == (0, False)
    used.stored(500, NOVEMBER, 5, 0)  # an answer that was under way
    assert used.events == 0
    used.admitted(2_000, 1, 10)
    used.stored(1_000, DECEMBER, 0, 100)
    assert (used.events, used.bytes) == (1, 110)


def test_a_raised_limit_makes_room_at_once() -> None:
    used = tally(events_per_month=5)
    used.admitted(1_000, 5, 100)
    used.limits = Limits(events_per_month=6)
    assert not used.events_used_up


def test_each_threshold_is_said_once_a_month() -> None:
    used = tally(events_per_month=10, stored_bytes=100)
    used.admitted(1_000, 7, 10)
    assert used.newly_reached() == []
    used.admitted(2_000, 1, 10)
    assert used.newly_reached() == [(EVENTS, 80, 10, 8)]
    used.admitted(3_000, 5, 80)
    assert used.newly_reached() == [(EVENTS, 100, 10, 13), (BYTES, 80, 100, 100), (BYTES, 100, 100, 100)]
    assert used.newly_reached() == []
    used.not_said(EVENTS, 100)
    assert used.newly_reached() == [(EVENTS, 100, 10, 13)]
    used.begin_month(DECEMBER)
    used.stored(3_000, DECEMBER, 8, 0, {(EVENTS, 80)})  # said before a restart
    assert used.newly_reached() == []


def test_a_store_that_is_away_for_long_costs_a_bounded_memory() -> None:
    used = tally(events_per_month=1_000_000)
    for place in range(1, 20_001):
        used.admitted(place * 1_000, 1, 10)
    assert len(used._parts) <= PARTS_MAX + 1
    assert (used.events, used.bytes) == (20_000, 200_000)
    used.stored(20_000_000, NOVEMBER, 20_000, 200_000)
    assert (used.events, used.bytes, len(used._parts)) == (20_000, 200_000, 0)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), max_size=40))
def test_the_count_is_right_whenever_the_store_stands_between_two_parts(steps: list[tuple[int, int]]) -> None:
    used = tally()
    parts: list[tuple[int, int]] = []  # position after it, events
    position = admitted = end = 0
    for events, reads in steps:
        position += events * 150
        admitted += events
        parts.append((position, events))
        used.admitted(position, events, events * 100)
        if reads:
            place = min(len(parts), reads)
            end = max(end, parts[-place][0])
            stored = sum(count for at, count in parts if at <= end)
            used.stored(end, NOVEMBER, stored, stored * 100)
        assert (used.events, used.bytes) == (admitted, admitted * 100)


@pytest.mark.parametrize(
    ("ts", "month", "ends"),
    [
        (1_795_508_130_000_000, "2026-11", 1_796_083_200_000_000),
        (1_796_083_199_999_999, "2026-11", 1_796_083_200_000_000),
        (1_796_083_200_000_000, "2026-12", 1_798_761_600_000_000),
    ],
)
def test_months_are_those_of_utc(ts: int, month: str, ends: int) -> None:
    assert (month_of(ts), month_ends_us(ts)) == (month, ends)
