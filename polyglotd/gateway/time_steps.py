"""Steps of time in UTC: a second to a month, and the buckets that they cut a range into. Pure.

A step is a divisor of a day, a day, a week (from Monday) or a calendar month; a range is widened to whole ones.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from polyglotd.model import Invalid
from polyglotd.store.analytics import DAY, HOUR, MINUTE, SECOND

_NAMES = {"second": 1, "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY}
_UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "": 1}
_TEXT = re.compile(r"([0-9]{1,8})([smhdw]?)")
_MONDAY = 4 * DAY  # the first after 1970 began
YEAR_MAX = 9998


@dataclass(frozen=True, slots=True)
class Step:
    """`seconds` 0: a calendar month."""

    name: str
    seconds: int

    @property
    def level(self) -> int:
        """Of the rollups: the coarsest whose buckets fit into a step."""
        if not self.seconds:
            return DAY
        return next(level for level in (DAY, HOUR, MINUTE, SECOND) if self.seconds % level == 0)

    @property
    def about_s(self) -> int:
        return self.seconds or 28 * DAY

    def floor(self, at_s: int) -> int:
        """When the step began that this second is in."""
        if not self.seconds:
            return _month_start(at_s, 0)
        offset = _MONDAY if self.seconds == 7 * DAY else 0
        return at_s - (at_s - offset) % self.seconds

    def after(self, start_s: int) -> int:
        """When the step that began there ends."""
        return start_s + self.seconds if self.seconds else _month_start(start_s, 1)


MINUTES = Step("1m", MINUTE)
HOURS = Step("1h", HOUR)
DAYS = Step("1d", DAY)
MONTHS = Step("month", 0)


def parse_step(text: str) -> Step:
    """`second`, `minute`, `hour`, `day`, `week`, `month`; or a number with `s`, `m`, `h`, `d`, `w` or nothing, which
    are seconds. Raises `Invalid`."""
    if text == "month":
        return MONTHS
    seconds = _NAMES.get(text, 0)
    if found := _TEXT.fullmatch(text):
        seconds = int(found[1]) * _UNITS[found[2]]
    if seconds in (DAY, 7 * DAY) or (0 < seconds < DAY and DAY % seconds == 0):
        return Step(_name(seconds), seconds)
    raise Invalid(
        "step is second, minute, hour, day, week, month, or as 15m: a part of a day that fits into it without rest,"
        " a day or a week",
        field="step",
    )


def _name(seconds: int) -> str:
    unit = next(unit for unit in "wdhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def starts_of(step: Step, from_s: int, to_s: int, points_max: int) -> list[int]:
    """When each step begins that has a second of the range in it, and at last when the last of them ends. Raises
    `Invalid` where there are more than `points_max`."""
    starts = [step.floor(from_s)]
    while starts[-1] < to_s:
        if len(starts) > points_max:
            raise Invalid(f"that is more than {points_max} steps: ask for larger ones, or for less", field="step")
        starts.append(step.after(starts[-1]))
    return starts


def bucket_at(starts: Sequence[int], at_s: int) -> int:
    """Which of the steps this second is in."""
    return bisect_right(starts, at_s) - 1


def _month_start(at_s: int, months_later: int) -> int:
    first = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    for _ in range(months_later):
        first = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp())
