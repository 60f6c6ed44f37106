"""Steps of time: their names, their borders in UTC, and ranges cut into them."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.gateway.time_steps import MONTHS, Step, bucket_at, parse_step, starts_of
from polyglotd.model import Invalid
from polyglotd.store.analytics import DAY, HOUR, MINUTE, SECOND

STEPS = ["1s", "5s", "1m", "15m", "1h", "6h", "1d", "1w", "month"]
moments = st.integers(0, 4_000_000_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "name", "seconds", "level"),
    [
        ("second", "1s", 1, SECOND), ("1", "1s", 1, SECOND), ("5s", "5s", 5, SECOND), ("90", "90s", 90, SECOND),
        ("minute", "1m", 60, MINUTE), ("60", "1m", 60, MINUTE), ("15m", "15m", 900, MINUTE),
        ("hour", "1h", HOUR, HOUR), ("6h", "6h", 6 * HOUR, HOUR), ("90m", "90m", 5400, MINUTE),
        ("day", "1d", DAY, DAY), ("24h", "1d", DAY, DAY), ("86400", "1d", DAY, DAY),
        ("week", "1w", 7 * DAY, DAY), ("7d", "1w", 7 * DAY, DAY), ("month", "month", 0, DAY),
    ],
)  # fmt: skip
def test_a_step_has_a_name_and_a_level_that_answers_it(text: str, name: str, seconds: int, level: int) -> None:
    step = parse_step(text)
    assert (step.name, step.seconds, step.level) == (name, seconds, level)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1m", "7s", "7m", "25h", "2d", "1y", "Month", "1 h", "1.5h", "9" * 9]
)
def test_what_does_not_fit_into_a_day_is_no_step(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_step(text)
    assert refused.value.field == "step"


def test_days_weeks_and_months_begin_in_utc() -> None:
    noon = at("2026-11-25T12:34:56")  # a Wednesday
    floors = {text: parse_step(text).floor(noon) for text in ("1d", "1w", "month")}
    assert floors == {"1d": at("2026-11-25"), "1w": at("2026-11-23"), "month": at("2026-11-01")}


def test_months_have_their_own_lengths() -> None:
    starts = starts_of(MONTHS, at("2024-01-31T23:59:59"), at("2024-04-01"), 10)
    assert starts == [at("2024-01-01"), at("2024-02-01"), at("2024-03-01"), at("2024-04-01")]
    assert starts_of(MONTHS, at("2026-12-05"), at("2027-01-01T00:00:01"), 10)[-1] == at("2027-02-01")


@given(st.sampled_from(STEPS), moments, st.integers(1, 500))
def test_a_range_is_cut_without_a_gap_into_whole_steps(text: str, from_s: int, steps: int) -> None:
    step = parse_step(text)
    to_s = from_s + steps * step.about_s
    starts = starts_of(step, from_s, to_s, 1_000)
    assert starts[0] <= from_s < starts[1]
    assert starts[-2] < to_s <= starts[-1]
    for start, end in pairwise(starts):
        assert step.floor(start) == start
        assert step.floor(end - 1) == start
        assert bucket_at(starts, start) == bucket_at(starts, end - 1) == starts.index(start)


def test_too_many_steps_are_refused_before_they_are_made() -> None:
    assert len(starts_of(Step("1s", 1), 0, 5_000, 5_000)) == 5_001
    with pytest.raises(Invalid) as refused:
        starts_of(Step("1s", 1), 0, 1 << 60, 5_000)
    assert refused.value.field == "step"
