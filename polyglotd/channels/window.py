"""The newest events of one channel, bounded by count, age and bytes.

Held by the plane, one a topic: history, resume and join replies are read from it. Kinds that are `logged` have older
events elsewhere (log, store); this window only says how far back those can reach. Knows no clock: `expire` is told
the time. Does not encode: the caller says how many bytes an event's envelope has.
"""

from typing import NamedTuple

from polyglotd.model import Event

WINDOW_BYTES_MAX = 1 << 20  # of encoded envelopes, a channel: what the contract lets a channel keep in memory


class Page(NamedTuple):
    """Events in seq order. `more`: others lie beyond them in the direction that was asked for."""

    events: list[Event]
    more: bool


class Window:
    """Holds the events first..last without a gap; empty means first == last + 1.

    An event that alone is larger than the bytes bound is not held, so nothing older is either.
    """

    def __init__(
        self, history_events: int, history_s: int, *, last: int = 0, bytes_max: int = WINDOW_BYTES_MAX
    ) -> None:
        """`last`: the channel's seq, of which nothing is held yet."""
        self._history_events = history_events
        self._history_us = history_s * 1_000_000
        self._bytes_max = bytes_max
        self._held: dict[int, tuple[Event, int]] = {}
        self._bytes = 0
        self._floor = 1  # below it every event is known to have outlived history_s
        self.first = last + 1
        self.last = last

    def __len__(self) -> int:
        return self.last + 1 - self.first

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def append(self, event: Event, size: int) -> None:
        """Take the channel's next event; `size`: bytes of its envelope. Raises ValueError for any other seq."""
        if event.seq != self.last + 1:
            raise ValueError(f"seq {event.seq} does not follow {self.last}")
        self.last = event.seq
        self._held[event.seq] = (event, size)
        self._bytes += size
        self._fit()

    def held(self, first: int, last: int) -> list[Event]:
        """Those of the events first..last that are held, in seq order."""
        seqs = range(max(first, self.first), min(last, self.last) + 1)
        return [self._held[seq][0] for seq in seqs]

    def replace(self, event: Event, size: int) -> None:
        """Put an event in the place of the one with its seq, which is held. The bounds are as strict as before."""
        self._bytes += size - self._held[event.seq][1]
        self._held[event.seq] = (event, size)
        self._fit()

    def expire(self, now_us: int) -> None:
        """Let go of what is older than history_s. Call it before reading."""
        oldest_us = now_us - self._history_us
        while self._held and self._held[self.first][0].ts_us < oldest_us:
            self._evict()
            self._floor = self.first

    def next_expiry_us(self) -> int | None:
        """The first time at which `expire` would find something; None while nothing is held."""
        if not self._held:
            return None
        return self._held[self.first][0].ts_us + self._history_us + 1

    def rebound(self, history_events: int, history_s: int) -> None:
        """New bounds, after a change of the kind's policy. What went before does not come back."""
        if history_s * 1_000_000 > self._history_us:
            self._floor = 1  # what was too old may be young enough now, where something else still has it
        self._history_events = history_events
        self._history_us = history_s * 1_000_000
        self._fit()

    def clear(self, last: int = 0) -> None:
        """Begin again at `last`, in a new epoch."""
        self._held.clear()
        self._bytes = 0
        self._floor = 1
        self.first = last + 1
        self.last = last

    def oldest(self, *, kept_elsewhere: bool) -> int:
        """The oldest seq that history still allows; last + 1 where it allows none.

        `kept_elsewhere`: the kind is `logged`, so events that the byte bound pushed out can still be had. Only as far
        as this window knows: events below `first` may turn out too old when the log or the store is asked.
        """
        if not kept_elsewhere:
            return self.first
        return max(self._floor, self.last - self._history_events + 1)

    def covers(self, after: int) -> bool:
        """Whether every event after `after` is held (true as well where there is none)."""
        return self.first <= max(after, 0) + 1

    def page(
        self, *, after: int | None, before: int | None, limit: int, bytes_max: int, oldest: int | None = None
    ) -> Page:
        """With `after` the oldest that follow it, else the newest; `before` bounds both. At least one event comes
        whatever its size, where limit allows one.

        `oldest` (of the method of this name) tells `more` what lies below the window; without it nothing does. With
        `after`, ask `covers` first: where it is false and older events are kept elsewhere, the page begins there.
        """
        end = self.last + 1 if before is None else min(max(before, self.first), self.last + 1)
        if after is None:
            start = self._reach_back(end, limit, bytes_max)
            top = self.last + 1 if before is None else min(before, self.last + 1)  # may lie below the window
            more = min(start, top) > max(1, self.first if oldest is None else oldest)
            return Page([self._held[seq][0] for seq in range(start, end)], more)
        start = max(after + 1, self.first)
        stop = self._reach_on(start, end, limit, bytes_max)
        return Page([self._held[seq][0] for seq in range(start, stop)], stop < end)

    def newest(self, count: int, bytes_max: int) -> list[Event]:
        """At most the newest `count`, in seq order."""
        return self.page(after=None, before=None, limit=count, bytes_max=bytes_max).events

    def _reach_back(self, end: int, limit: int, bytes_max: int) -> int:
        start, size = end, 0
        while start > self.first and end - start < limit:
            size += self._held[start - 1][1]
            if size > bytes_max and start < end:
                break
            start -= 1
        return start

    def _reach_on(self, start: int, end: int, limit: int, bytes_max: int) -> int:
        stop, size = start, 0
        while stop < end and stop - start < limit:
            size += self._held[stop][1]
            if size > bytes_max and stop > start:
                break
            stop += 1
        return stop

    def _fit(self) -> None:
        while self._held and (len(self._held) > self._history_events or self._bytes > self._bytes_max):
            self._evict()

    def _evict(self) -> None:
        self._bytes -= self._held.pop(self.first)[1]
        self.first += 1
