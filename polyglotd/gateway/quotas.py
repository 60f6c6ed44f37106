"""Metered quotas: what apps used of `events-per-month` and `stored-bytes`, and what follows where nothing is left.

Counted where events are admitted, as the plane tells of them, and corrected from the store every few seconds. Where a
quota is used up the plane is told (by `AppRates`) and refuses by itself, so some events that were on their way are
admitted beyond it. At some percents a record goes into the log, for webhooks.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.limits.month import month_ends_us, month_of
from polyglotd.limits.usage_tally import EVENTS, UsageTally
from polyglotd.log.interface import EventLog, QuotaReached
from polyglotd.model import Event, Limits, Unavailable
from polyglotd.plane.interface import Published
from polyglotd.store.interface import EventStore

logger = logging.getLogger(__name__)

CORRECT_S = 2.0
NEAR_S = 0.25  # where a quota is nearly, or wholly, used up
STORE_DEADLINE_S = 2.0


class Quotas:
    def __init__(self, log: EventLog, store: EventStore, wall: WallClock) -> None:
        self._log = log
        self._store = store
        self._wall = wall
        self._tallies: dict[str, UsageTally] = {}
        self._told: dict[str, tuple[bool, bool]] = {}
        self.changed: Callable[[str], None] = lambda _app_id: None
        """Called where an app's quotas begin or cease to be used up; `AppRates` tells the plane."""

    async def begin(self, app_id: str, limits: Limits) -> None:
        """Know an app before its first event, or its new limits; on return `used_up` holds. A store that is away
        keeps nobody from publishing: what was used is learnt later."""
        tally = self._tallies.get(app_id)
        if tally is None:
            tally = self._tallies[app_id] = UsageTally(limits, month_of(self._wall()))
        tally.limits = limits
        if tally.is_limited and not tally.known:
            try:
                await self._correct([app_id])
            except (Unavailable, trio.TooSlowError) as error:
                logger.warning("what app %s used of its quotas is not known yet: %s", app_id, error)
        self._judge(app_id, tally)

    def used_up(self, app_id: str) -> tuple[bool, bool]:
        """Whether there is room neither for events of any kind, nor for those of logged kinds."""
        tally = self._tallies.get(app_id)
        return (False, False) if tally is None else (tally.events_used_up, tally.bytes_used_up)

    def forget(self, app_id: str) -> None:
        """It is not active any more."""
        self._tallies.pop(app_id, None)
        self._told.pop(app_id, None)

    def use_of(self, app_id: str) -> tuple[int, int]:
        """Events and stored bytes, as far as they are counted here; the store may know of more."""
        tally = self._tallies.get(app_id)
        return (0, 0) if tally is None else (tally.events, tally.bytes)

    def retry_after_s(self, quota: str) -> int | None:
        """Until the month ends, where that helps."""
        if quota != EVENTS:
            return None
        now_us = self._wall()
        return max(1, -(-(month_ends_us(now_us) - now_us) // 1_000_000))

    def on_published(self, record: Published, app_id: str, *, logged: bool) -> None:
        events = record.last_seq - record.first_seq + 1
        tally = self._tallies.get(app_id)
        if tally is None or events <= 0:
            return
        if logged:
            tally.admitted(record.position, events, record.size)
        else:
            tally.admitted_in_memory(events)
        if tally.is_limited:
            self._judge(app_id, tally)

    def on_imported(self, app_id: str, end: int, events: Sequence[Event]) -> None:
        """They stand before `end` in the log. Each counts in the month of its own time: of other months than this one
        only the store keeps count."""
        tally = self._tallies.get(app_id)
        if tally is None:
            return
        of_this_month = sum(month_of(event.ts_us) == tally.month for event in events)
        tally.admitted(end, of_this_month, sum(len(event.data) for event in events))
        if tally.is_limited:
            self._judge(app_id, tally)

    def on_meters_written(self, end: int) -> None:
        """What was admitted of memory kinds is in the log before this position."""
        for tally in self._tallies.values():
            tally.meters_written(end)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Correct from the store, now and then, and at the turn of a month."""
        task_status.started()
        while True:
            is_near = any(tally.is_near for tally in self._tallies.values())
            now_us = self._wall()
            turn_s = (month_ends_us(now_us) - now_us) / 1_000_000
            await trio.sleep(min(NEAR_S if is_near else CORRECT_S, max(turn_s, 0.001)))
            limited = [app_id for app_id, tally in self._tallies.items() if tally.is_limited]
            # While the store is away, what is counted here goes on to count; the processor says that it is.
            with contextlib.suppress(Unavailable, trio.TooSlowError):
                await self._correct(limited)
            for app_id, tally in list(self._tallies.items()):
                self._judge(app_id, tally)

    async def _correct(self, app_ids: list[str]) -> None:
        """Raises `Unavailable`, `TooSlowError`. Also for no app: then parts that the store has read are let go."""
        month = month_of(self._wall())
        for tally in self._tallies.values():
            if tally.month != month:
                tally.begin_month(month)
        if not self._tallies:
            return
        with trio.fail_after(STORE_DEADLINE_S):
            usages = await self._store.usages(self._log.id, app_ids, month)
        for app_id, tally in self._tallies.items():
            usage = usages.by_app.get(app_id)
            if usage is None:
                tally.stored_until(usages.position)
            else:
                tally.stored(usages.position, month, usage.events, usage.stored_bytes, usage.reached)

    def _judge(self, app_id: str, tally: UsageTally) -> None:
        if not tally.is_limited and app_id not in self._told:
            return
        state = tally.events_used_up, tally.bytes_used_up
        if state != self._told.get(app_id, (False, False)):
            self._told[app_id] = state
            logger.info("app %s: events used up %s, stored bytes used up %s", app_id, *state)
            self.changed(app_id)
        for quota, percent, limit, used in tally.newly_reached():
            try:
                self._log.append([QuotaReached(app_id, quota, tally.month, percent, limit, used, self._wall())])
            except Unavailable:
                tally.not_said(quota, percent)  # the next look says it
