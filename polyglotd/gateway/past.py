"""Events of logged kinds from the log and the store: for windows, resumes and history.

Used by `topics`, `resume` and `history`. Bounded: so many reads at once, so many that wait, each with a deadline.
Knows nothing of memory kinds, whose past is in the plane alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from polyglotd.log.interface import ChannelHead, EventLog, TailMoved
from polyglotd.model import Event, Policy, Unavailable
from polyglotd.store.history import read_history
from polyglotd.store.interface import EventPage, EventStore, HistoryQuery

READS_MAX = 8  # at once: each takes a thread and a page of up to 1 MiB
WAITING_MAX = 2_000  # a wave of joins after a restart; beyond it they are told to come back
DEADLINE_S = 8.0  # below the clients' own 10 s for an answer
WINDOW_BYTES_MAX = 1 << 20

T = TypeVar("T")


class Past:
    def __init__(self, log: EventLog, store: EventStore) -> None:
        self._log = log
        self._store = store
        self._limiter = trio.CapacityLimiter(READS_MAX)

    def head(self, app_id: str, channel: str) -> ChannelHead:
        return self._log.head(app_id, channel)

    async def page(self, query: HistoryQuery) -> EventPage:
        """Matching events in seq order, without a seam between store and log. Raises `Unavailable`."""
        page = await self._bounded(partial(read_history, self._store, self._log, query))
        # What was asked to be erased while it was read: from here to the plane nobody else has a turn.
        return EventPage([self._log.shown(event) for event in page.events], more=page.more)

    async def find(self, app_id: str, channel: str, event_id: str, limit: int) -> list[Event]:
        """The channel's events with this id: what the log alone has of its current epoch, and the store's of any.
        Raises `Unavailable`."""
        return await self._bounded(partial(self._find, app_id, channel, event_id, limit))

    async def _find(self, app_id: str, channel: str, event_id: str, limit: int) -> list[Event]:
        found: list[Event] = []
        first = self._log.tail_first(app_id, channel)
        before = self._log.head(app_id, channel).seq + 1
        while before > first and len(found) < limit:
            try:
                events = await self._log.tail(app_id, channel, first - 1, before)
            except TailMoved:
                break  # the store has them
            if not events:
                break
            found += [event for event in reversed(events) if event.id == event_id]
            before = events[0].seq
        return (found + list(await self._store.find(app_id, channel, event_id, limit)))[:limit]

    async def window(self, app_id: str, channel: str, head: ChannelHead, policy: Policy) -> list[Event]:
        """The newest events up to the head, without a gap, for a topic that begins."""
        if head.seq == 0 or policy.history_events == 0:
            return []
        query = HistoryQuery(
            app_id=app_id,
            channel=channel,
            epoch=head.epoch,
            limit=policy.history_events,
            bytes_max=WINDOW_BYTES_MAX,
        )
        events: Sequence[Event]
        try:
            events = (await self.page(query)).events
        except Unavailable:
            # A lost store stops no channel: what the log holds alone will do, and the rest is asked for when needed.
            events = await self._bounded(partial(self._newest_of_log, app_id, channel, head.seq + 1))
        return contiguous_suffix(events, head.seq)

    async def _newest_of_log(self, app_id: str, channel: str, before: int) -> Sequence[Event]:
        try:
            return [self._log.shown(event) for event in await self._log.tail(app_id, channel, 0, before)]
        except TailMoved:
            return []

    async def _bounded(self, read: Callable[[], Awaitable[T]]) -> T:
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            raise Unavailable("too many reads of history wait")
        with trio.move_on_after(DEADLINE_S):
            async with self._limiter:
                return await read()
        raise Unavailable("history could not be read in time")


def contiguous_suffix(events: Sequence[Event], last_seq: int) -> list[Event]:
    """The newest events that end at `last_seq` without a gap; where retention or a lost store left one, what is after
    it."""
    kept: list[Event] = []
    for event in reversed(events):
        if event.seq != last_seq - len(kept):
            break
        kept.append(event)
    kept.reverse()
    return kept
