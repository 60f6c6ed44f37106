"""The newest events that any tail of a pattern wants, read from the log once for all of them.

One for a gateway, run by it as a service. The log wakes it when events are there that somebody wants; while nobody
tails it sleeps. What it read is kept up to a bound; a tail that is further behind reads the log by itself, a piece at
a time, and nobody waits for it. It knows positions, not tails.
"""

import logging
from bisect import bisect_right
from collections.abc import Sequence

import trio
from msgspec import Struct

from polyglotd.log.interface import EventLog, FoundEvents, LogCorrupt, LogFollower, Wanted
from polyglotd.model import Event

logger = logging.getLogger(__name__)

KEPT_BYTES_MAX = 4 << 20
ENTRY_BYTES = 600  # what an entry takes beside its data
PAGE_EVENTS_MAX = 64  # that a tail takes at once
PAGE_BYTES_MAX = 256 << 10  # but at least one event
QUIET_S = 5.0  # how often it looks how far the log is where nothing wanted comes


class Entry(Struct, frozen=True):
    """An event, and the position behind it."""

    end: int
    event: Event


class TailFeed:
    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._follower: LogFollower | None = None  # of the first tail's making
        self._tails = 0
        self._begun = trio.Event()
        self._news = trio.Event()
        self._entries: list[Entry] = []
        self._ends: list[int] = []
        self._bytes = 0
        self._newest_erasure = ""
        self.kept_from = 0  # every wanted event behind this position, up to `position`, is here
        self.position = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self._begun.wait()
            assert self._follower is not None
            found: FoundEvents | None = None
            try:
                with trio.move_on_after(QUIET_S):
                    found = await self._follower.next_found()
            except LogCorrupt as error:
                logger.error("tails can't show what is in a damaged log: %s", error)
                found = FoundEvents([], [], self._follower.pass_on(), lost=True)
            if found is None:
                found = FoundEvents([], [], self._follower.pass_on())
            self._keep(found)

    def want(self, wanted: Wanted) -> int:
        """The position from which on all events of these channels come here."""
        self._follower = self._follower or self._log.follower()
        begin = self._follower.want(wanted)
        if not self._tails:
            self._forget(begin)
        self._tails += 1
        self._begun.set()
        return begin

    def drop(self, wanted: Wanted) -> None:
        assert self._follower is not None
        self._follower.drop(wanted)
        self._tails -= 1
        if not self._tails:
            self._begun = trio.Event()
            self._forget(self.position)

    def after(self, position: int, wanted: Wanted) -> tuple[list[Entry], int]:
        """The wanted events behind `position`, which is not before `kept_from`: a page of them; and up to which
        position there are no others."""
        if self._erased():
            return [], position
        page: list[Entry] = []
        size = 0
        for index in range(bisect_right(self._ends, position), len(self._entries)):
            entry = self._entries[index]
            if wanted.includes(entry.event.app_id, entry.event.channel):
                size += len(entry.event.data)
                if len(page) >= PAGE_EVENTS_MAX or (page and size > PAGE_BYTES_MAX):
                    return page, page[-1].end
                page.append(entry)
        return page, max(position, self.position)

    async def read_back(self, position: int, wanted: Wanted) -> tuple[list[Entry], int]:
        """The same out of the log. Raises `TailMoved`, `LogCorrupt`."""
        found = await self._log.find(wanted, position)
        return _entries(found.events, found.ends), found.end

    async def moved_beyond(self, position: int) -> None:
        """Return when there may be more behind this position."""
        while self.position <= position:
            await self._news.wait()

    def _erased(self) -> bool:
        """Whether something was asked to be erased since the last time. Then what is kept here is forgotten, and who
        was behind reads the log, which gives tombstones."""
        states = self._log.erasures()
        newest = states[-1].erasure.erasure_id if states else ""
        if newest == self._newest_erasure:
            return False
        self._newest_erasure = newest
        self._forget(self.position)
        return True

    def _keep(self, found: FoundEvents) -> None:
        entries = _entries(found.events, found.ends)
        self._entries += entries
        self._ends += found.ends
        self._bytes += sum(ENTRY_BYTES + len(entry.event.data) for entry in entries)
        self.position = max(self.position, found.end)
        if found.lost:
            self._forget(self.position)
        elif self._bytes > 2 * KEPT_BYTES_MAX:  # the older half at once, so that each entry is moved once
            self._cut()
        self._news.set()
        self._news = trio.Event()

    def _cut(self) -> None:
        count = 0
        while self._bytes > KEPT_BYTES_MAX:
            self._bytes -= ENTRY_BYTES + len(self._entries[count].event.data)
            count += 1
        self.kept_from = self._ends[count - 1]
        del self._entries[:count], self._ends[:count]

    def _forget(self, position: int) -> None:
        self._entries.clear()
        self._ends.clear()
        self._bytes = 0
        self.kept_from = self.position = max(self.position, position)


def _entries(events: Sequence[Event], ends: Sequence[int]) -> list[Entry]:
    return [Entry(end, event) for event, end in zip(events, ends, strict=True)]
