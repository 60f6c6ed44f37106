"""One channel's history out of store and log, without a seam while the store is behind.

Called by the gateway for history, windows and resumes. The store has every event below `log.tail_first`, the log has
every one from there on. So a page is the store's part strictly below that seq and the log's part from it: nothing
twice, nothing missing. The store goes on writing meanwhile, which only moves the seam up: what was read stays true.
"""

from collections.abc import Sequence

import msgspec

from polyglotd.log.interface import EventLog, TailMoved
from polyglotd.model import Event, Unavailable, envelope_bytes
from polyglotd.store.interface import EventPage, EventStore, HistoryQuery

TAIL_PAGE = 500  # events looked at in one read of the log
MOVES_MAX = 20  # so many times the store took what was about to be read: it runs faster than we do


async def read_history(store: EventStore, log: EventLog, query: HistoryQuery) -> EventPage:
    """The page that the query asks for. Raises `Unavailable` where the store is lost and the log is not enough."""
    if query.limit < 1:
        return EventPage([], more=False)
    head = log.head(query.app_id, query.channel)
    if query.epoch != head.epoch:  # the past of a past epoch is in the store alone
        found = await store.history(query)
        shown = [log.shown(event) for event in found.events]
        return EventPage([event for event in shown if query.type in (None, event.type)], more=found.more)
    if query.after is None:
        return await _newest(store, log, query, before=head.seq + 1 if query.before is None else query.before)
    return await _oldest(store, log, query, query.after)


async def _newest(store: EventStore, log: EventLog, query: HistoryQuery, before: int) -> EventPage:
    """Newest first: the log's part, then, with what room is left, the store's below it."""
    page = _Page(query, log)
    moves = 0
    while moves < MOVES_MAX:
        first = log.tail_first(query.app_id, query.channel)
        if before <= first:  # the rest is the store's
            rest = await store.history(page.rest(before=before))
            return page.result_newest(rest)
        try:
            events = await log.tail(query.app_id, query.channel, first - 1, before, limit=TAIL_PAGE)
        except TailMoved:
            moves += 1
            continue
        for event in reversed(events):
            if not page.add(event):
                return page.result_newest(None)
        # Where the store took some before they were read, `first` has risen, and the next round asks it for them.
        before = events[0].seq if events else min(before, first)
    raise _seam_moves()


async def _oldest(store: EventStore, log: EventLog, query: HistoryQuery, after: int) -> EventPage:
    """Oldest first: the store's part, then the log's; `after` rises with what has been read."""
    page = _Page(query, log)
    before = query.before
    moves = 0
    while moves < MOVES_MAX:
        first = log.tail_first(query.app_id, query.channel)
        if after + 1 < first and (before is None or after + 1 < before):
            seam = first if before is None else min(first, before)
            part = await store.history(page.rest(after=after, before=seam))
            for event in part.events:
                if not page.add(event):
                    return EventPage(page.events, more=True)
            if part.more:
                return EventPage(page.events, more=True)
            after = seam - 1
            continue  # the seam may have moved: look again before the log is read
        end = log.head(query.app_id, query.channel).seq + 1
        if before is not None:
            end = min(end, before)
        if after + 1 >= end:
            return EventPage(page.events, more=False)
        try:
            events = await log.tail(query.app_id, query.channel, after, end, limit=TAIL_PAGE, newest=False)
        except TailMoved:
            moves += 1
            continue
        for event in events:
            if not page.add(event):
                return EventPage(page.events, more=True)
        after = events[-1].seq if events else end - 1
    raise _seam_moves()


class _Page:
    """Gathers matching events up to the query's bounds, as they may be shown."""

    def __init__(self, query: HistoryQuery, log: EventLog) -> None:
        self._query = query
        self._log = log
        self._bytes = 0
        self.events: list[Event] = []

    def add(self, event: Event) -> bool:
        """Take the event if it matches; false, without it, where the page is full."""
        query = self._query
        event = self._log.shown(event)  # log or store may not have erased it yet
        if query.type is not None and event.type != query.type:
            return True
        if query.from_us is not None and event.ts_us < query.from_us:
            return True
        if query.to_us is not None and event.ts_us >= query.to_us:
            return True
        size = envelope_bytes(event)
        if len(self.events) >= query.limit or (self.events and self._bytes + size > query.bytes_max):
            return False
        self._bytes += size
        self.events.append(event)
        return True

    def rest(self, *, before: int, after: int | None = None) -> HistoryQuery:
        """What is still to be asked of the store. A full page asks for one event: whether there is more."""
        return msgspec.structs.replace(
            self._query,
            after=after,
            before=before,
            limit=max(1, self._query.limit - len(self.events)),
            bytes_max=max(1, self._query.bytes_max - self._bytes),
        )

    def result_newest(self, rest: EventPage | None) -> EventPage:
        """The page in seq order, where events were added newest first and `rest` is what the store has below."""
        more = rest is None or rest.more
        for event in reversed(rest.events if rest is not None else ()):
            if not self.add(event):
                more = True
                break
        return EventPage(_in_seq_order(self.events), more=more)


def _in_seq_order(newest_first: Sequence[Event]) -> list[Event]:
    return list(reversed(newest_first))


def _seam_moves() -> Unavailable:
    return Unavailable("history moves faster than it can be read; try again", retry_after_ms=200)
