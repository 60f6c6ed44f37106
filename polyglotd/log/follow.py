"""Follow the events of some channels through the log: whoever appends says where events stand, here is who wanted
any.

Owned by `segments`, used by the gateway's tails. While nothing is wanted, an append asks one question of an empty
dict. Otherwise each run of events that is noted costs a comparison of names, and only the stretches of wanted ones
are read.
"""

from functools import partial

import trio

from polyglotd.log.erasures import Erasures
from polyglotd.log.interface import FoundEvents, LogCorrupt, TailMoved, Wanted
from polyglotd.log.search import find_events
from polyglotd.log.steady import Rewrites
from polyglotd.log.writer import Writer

JOINED_BYTES = 8 << 10  # stretches this near to each other are read as one
SPANS_MAX = 10_000  # that wait; beyond it they become one, with all that is between them


class Follower:
    """Satisfies `LogFollower`."""

    def __init__(self, writer: Writer, rewrites: Rewrites, erasures: Erasures) -> None:
        self._writer = writer
        self._steady = rewrites.steady
        self._shown = erasures.shown
        self._wanted: dict[str, dict[Wanted, int]] = {}  # by app, and how often
        self._spans: list[tuple[int, int]] = []  # that hold wanted events: noted, not yet read
        self._position = 0  # nothing wanted that stands before it waits any more
        self._news = trio.Event()
        self._thread = trio.CapacityLimiter(1)

    def want(self, wanted: Wanted) -> int:
        counts = self._wanted.setdefault(wanted.app_id, {})
        counts[wanted] = counts.get(wanted, 0) + 1
        return self._writer.end

    def drop(self, wanted: Wanted) -> None:
        counts = self._wanted[wanted.app_id]
        counts[wanted] -= 1
        if not counts[wanted]:
            del counts[wanted]
        if not counts:
            del self._wanted[wanted.app_id]
        if not self._wanted:
            self._spans.clear()

    async def next_found(self) -> FoundEvents:
        while True:
            until = self._readable()
            spans, rest = _split(self._spans, self._position, until)
            if not spans:
                self._spans = rest
                await self._news.wait()
                continue
            self._spans = rest
            wanted = [one for counts in self._wanted.values() for one in counts]
            try:
                read = partial(find_events, list(self._writer.segments), wanted, spans)
                found, left = await trio.to_thread.run_sync(self._steady, read, limiter=self._thread)
            except TailMoved:
                self._position = until
                return FoundEvents([], [], until, lost=True)
            except trio.Cancelled:  # before the thread began: it is not abandoned
                self._spans[:0] = spans
                raise
            except LogCorrupt:
                self._position = until
                raise
            self._spans[:0] = left
            self._position = found.end if left else until
            return FoundEvents([self._shown(event) for event in found.events], found.ends, self._position)

    def pass_on(self) -> int:
        if not self._spans:
            self._position = max(self._position, self._readable())
        return self._position

    # --- who appends ---

    def noted(self, app_id: str, channel: str, start: int, end: int) -> None:
        """Events of the channel stand between these positions."""
        counts = self._wanted.get(app_id)
        if counts is not None and any(wanted.includes(app_id, channel) for wanted in counts):
            self._spans.append((start, end))
            if len(self._spans) > SPANS_MAX:
                self._spans = [(min(start for start, _ in self._spans), max(end for _, end in self._spans))]

    def shown(self) -> None:
        """More may be read than before."""
        if self._spans:
            self._news.set()
            self._news = trio.Event()

    def _readable(self) -> int:
        return min(self._writer.known, self._writer.acknowledged)


def _split(
    spans: list[tuple[int, int]], position: int, until: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The stretches before `until`, in order and joined, and what is left of those beyond it."""
    ready: list[tuple[int, int]] = []
    rest: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if end > until:
            rest.append((max(start, until), end))
        start, end = max(start, position), min(end, until)
        if start >= end:
            continue
        if ready and start - ready[-1][1] < JOINED_BYTES:
            ready[-1] = (ready[-1][0], max(end, ready[-1][1]))
        else:
            ready.append((start, end))
    return ready, rest
