"""What an app or a channel did in a range of time, step by step: rows of the rollups put together.

Called by the HTTP edge. Decides which level answers, fills steps in which nothing happened, and says how far the
counting has come. Counts nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.time_steps import DAYS, HOURS, MINUTES, YEAR_MAX, Step, bucket_at, starts_of
from polyglotd.log.interface import EventLog
from polyglotd.model import Invalid, Unavailable, format_ts
from polyglotd.store.analytics import HOUR, MINUTE, SECOND, RollupRow, Rollups
from polyglotd.store.rollup_rows import summed

POINTS_MAX = 5_000
POINTS_CHOSEN_MAX = 1_500  # where the step is ours to choose
STEPS_DEFAULT = 60
READS_MAX = 4  # at once; each holds some thousand rows
WAITING_MAX = 100
DEADLINE_S = 8.0
AT_ONCE_MAX = 200  # rows that are put together in some ms; more must not be in everybody's way
CARRIED_S = 60  # an app that only holds connections is metered so often
_TIME_MAX_S = int(datetime(YEAR_MAX, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsRequest:
    """None: ours to choose."""

    channel: str | None = None
    from_us: int | None = None
    to_us: int | None = None  # not in the range any more
    step: Step | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsPage:
    """`from_s` to `to_s` is the range that was asked for, widened to whole steps. `counted_until_us`: what was logged
    before is in the counts; None: nothing was counted yet."""

    from_s: int
    to_s: int
    step: Step
    counted_until_us: int | None
    total: RollupRow
    series: Sequence[RollupRow]


class AnalyticsReport:
    def __init__(self, rollups: Rollups, log: EventLog, wall: WallClock) -> None:
        self._rollups = rollups
        self._log = log
        self._wall = wall
        self._limiter = trio.CapacityLimiter(READS_MAX)

    async def of(self, app_id: str, request: AnalyticsRequest) -> AnalyticsPage:
        """Raises `Invalid`, `Unavailable`."""
        now_s = self._wall() // 1_000_000
        step, starts = self._steps(request, now_s)
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            raise Unavailable("too many reads of analytics wait")
        with trio.move_on_after(DEADLINE_S):
            async with self._limiter:
                counted_until_us = await self._counted_until_us()
                rows = await self._rows(app_id, request.channel, step.level, starts)
                if len(rows) <= AT_ONCE_MAX:
                    total, series = _put_together(rows, starts, step.level, now_s)
                else:
                    total, series = await trio.to_thread.run_sync(_put_together, rows, starts, step.level, now_s)
                return AnalyticsPage(
                    from_s=starts[0],
                    to_s=starts[-1],
                    step=step,
                    counted_until_us=counted_until_us,
                    total=total,
                    series=series,
                )
        raise Unavailable("analytics could not be read in time")

    async def _rows(self, app_id: str, channel: str | None, level: int, starts: Sequence[int]) -> Sequence[RollupRow]:
        if channel is not None:
            return await self._rollups.channel_rows(app_id, channel, level, starts[0], starts[-1])
        before_s = CARRIED_S if level == SECOND else 0
        return await self._rollups.app_rows(app_id, level, starts[0] - before_s, starts[-1])

    async def _counted_until_us(self) -> int | None:
        now_us, end = self._wall(), self._log.end
        progress = await self._rollups.progress(self._log.id)
        return now_us if progress.position >= end else progress.newest_us or None

    def _steps(self, request: AnalyticsRequest, now_s: int) -> tuple[Step, list[int]]:
        for name, at_us in (("from", request.from_us), ("to", request.to_us)):
            if at_us is not None and not 0 <= at_us // 1_000_000 < _TIME_MAX_S:
                raise Invalid(f"{name} is a time from 1970 to {YEAR_MAX - 1}", field=name)
        to_s = now_s + 1 if request.to_us is None else -(-request.to_us // 1_000_000)
        from_s = None if request.from_us is None else request.from_us // 1_000_000
        if from_s is not None and from_s >= to_s:
            raise Invalid("to is not later than from", field="from" if request.to_us is None else "to")
        step = request.step or (MINUTES if from_s is None else self._chosen(now_s, from_s, to_s))
        kept_from_s = now_s - self._rollups.settings.keep_s(step.level)
        if from_s is None:
            end_s = step.floor(to_s - 1)  # of the last step, which is whole then
            back_s = (STEPS_DEFAULT - 1) * step.about_s if step.about_s > MINUTE else HOUR - step.about_s
            from_s = max(end_s - back_s, min(kept_from_s, end_s), 0)
        elif from_s < kept_from_s:
            raise Invalid(
                f"steps of {step.name} are kept from {format_ts(max(0, kept_from_s) * 1_000_000)} on: ask for larger"
                " ones, or from then",
                field="from",
            )
        return step, starts_of(step, from_s, to_s, POINTS_MAX)

    def _chosen(self, now_s: int, from_s: int, to_s: int) -> Step:
        """The finest that is kept for so long and gives a picture, not a wall of numbers."""
        for step in (MINUTES, HOURS):
            kept = from_s >= now_s - self._rollups.settings.keep_s(step.level)
            if kept and to_s - from_s <= POINTS_CHOSEN_MAX * step.seconds:
                return step
        return DAYS


def _put_together(
    rows: Sequence[RollupRow], starts: Sequence[int], level: int, now_s: int
) -> tuple[RollupRow, Sequence[RollupRow]]:
    """The total, and a row for each step."""
    if level == SECOND:
        rows = _with_connections(rows, [start for start in starts[:-1] if start <= now_s])
    by_step: list[list[RollupRow]] = [[] for _ in starts[1:]]
    for row in rows:
        if row.ts >= starts[0]:
            by_step[bucket_at(starts, row.ts)].append(row)
    series = [summed(start, found) for start, found in zip(starts, by_step, strict=False)]
    return summed(starts[0], [row for found in by_step for row in found]), series


def _with_connections(rows: Sequence[RollupRow], starts: Sequence[int]) -> Sequence[RollupRow]:
    """An app's meters say how many connections there are when that changes, when something happens, and once a
    minute. In steps between those as many are open as the last one said."""
    carried: list[RollupRow] = []
    known: RollupRow | None = None
    coming = iter([*rows, None])
    row = next(coming)
    for start in starts:
        while row is not None and row.ts <= start:
            known = known if row.events and not row.connections_peak else row
            row = next(coming)
        if known is not None and known.ts < start <= known.ts + CARRIED_S and known.connections_peak:
            carried.append(RollupRow(start, connections_peak=known.connections_peak))
    return sorted([*rows, *carried], key=lambda each: each.ts)
