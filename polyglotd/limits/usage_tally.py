"""What an app uses of its metered quotas: what the store has counted, and what was admitted since.

Held by the gateway, one per app. The store is right as far as it has read the log; of later events we know between
which positions they stand. Pure: time and positions are arguments.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from polyglotd.model import Limits

EVENTS, BYTES = "events-per-month", "stored-bytes"
THRESHOLDS = (80, 100)  # percent
NEAR = 0.95  # of a quota
RECORD_BYTES_MIN = 40  # of an event in the log, beside its data
PARTS_MAX = 256  # of what the store has not read; beyond, neighbours are put together


@dataclass(slots=True)
class _Part:
    """Admitted at one time. `start`, `end`: where in the log; None: the meter that will tell of it is not written."""

    month: str
    start: int | None
    end: int | None
    events: int
    bytes: int  # of logged kinds: what will be stored


@dataclass(slots=True)
class UsageTally:
    """`month`: the one that counts. `known`: the store was asked once."""

    limits: Limits
    month: str
    known: bool = False
    events: int = 0
    bytes: int = 0
    _reached: set[tuple[str, int]] = field(default_factory=set)
    _base_events: int = 0
    _base_bytes: int = 0
    _parts: deque[_Part] = field(default_factory=deque)

    @property
    def is_limited(self) -> bool:
        return self.limits.events_per_month is not None or self.limits.stored_bytes is not None

    @property
    def events_used_up(self) -> bool:
        limit = self.limits.events_per_month
        return limit is not None and self.known and self.events >= limit

    @property
    def bytes_used_up(self) -> bool:
        limit = self.limits.stored_bytes
        return limit is not None and self.known and self.bytes >= limit

    @property
    def is_near(self) -> bool:
        """Whether some more events may reach a quota: then the store is asked more often."""
        limits = self.limits
        return any(
            limit is not None and used >= limit * NEAR
            for limit, used in ((limits.events_per_month, self.events), (limits.stored_bytes, self.bytes))
        )

    def admitted(self, end: int, events: int, size: int) -> None:
        """Events of a logged kind, which stand before `end` in the log: next to each other, as far as we know."""
        start = end - size - events * RECORD_BYTES_MIN
        self._add(_Part(self.month, start, end, events, size))

    def admitted_in_memory(self, events: int) -> None:
        """Events of a memory kind, that the next meter will tell of."""
        last = self._parts[-1] if self._parts else None
        if last is not None and last.end is None and last.month == self.month:
            last.events += events
            self.events += events
            return
        self._add(_Part(self.month, None, None, events, 0))

    def meters_written(self, end: int) -> None:
        """The meter of all that was admitted in memory stands before `end`."""
        for part in self._parts:
            if part.end is None:
                part.start, part.end = end - 1, end

    def begin_month(self, month: str) -> None:
        """Nothing was used yet; the store says more, if it knows more."""
        self.month = month
        self._reached.clear()
        self._base_events = 0
        self._sum()

    def stored(
        self, position: int, month: str, events: int, size: int, reached: Collection[tuple[str, int]] = ()
    ) -> None:
        """What the store has counted up to a position of the log. Of a part that it has read half it says half, and
        the other half is known when it has read on: rather some too many are admitted than one too few."""
        self.stored_until(position)
        if month != self.month:
            return
        self.known = True
        self._base_events, self._base_bytes = events, size
        self._reached.update(reached)
        self._sum(position)

    def stored_until(self, position: int) -> None:
        """The store has read so far."""
        while self._parts and self._parts[0].end is not None and self._parts[0].end <= position:
            self._parts.popleft()

    def newly_reached(self) -> list[tuple[str, int, int, int]]:
        """Quota, percent, limit and use of each threshold that was come to and is not said yet. Said is said."""
        found = []
        for quota, limit, used in (
            (EVENTS, self.limits.events_per_month, self.events),
            (BYTES, self.limits.stored_bytes, self.bytes),
        ):
            if not limit or not self.known:  # of nothing there are no percents
                continue
            for percent in THRESHOLDS:
                if used * 100 >= limit * percent and (quota, percent) not in self._reached:
                    self._reached.add((quota, percent))
                    found.append((quota, percent, limit, used))
        return found

    def not_said(self, quota: str, percent: int) -> None:
        """It could not be, after all."""
        self._reached.discard((quota, percent))

    def _add(self, part: _Part) -> None:
        self._parts.append(part)
        self.events += part.events
        self.bytes += part.bytes
        if len(self._parts) > PARTS_MAX:
            self._put_together()

    def _put_together(self) -> None:
        parts: deque[_Part] = deque()
        for place, part in enumerate(self._parts):
            last = parts[-1] if place % 2 else None
            if last is None or last.month != part.month or last.end is None or part.end is None:
                parts.append(part)
                continue
            last.end = part.end
            last.events += part.events
            last.bytes += part.bytes
        self._parts = parts

    def _sum(self, position: int = 0) -> None:
        """Anew: the store's part, and the parts that begin behind it."""
        later = [part for part in self._parts if part.start is None or part.start >= position]
        self.events = self._base_events + sum(part.events for part in later if part.month == self.month)
        self.bytes = self._base_bytes + sum(part.bytes for part in later)
