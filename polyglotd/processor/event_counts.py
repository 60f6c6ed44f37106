"""How many events stand between two positions of a log: so far as somebody has read them, else by their usual size.

Kept by `feed`, asked by `pipeline` for how far a stage lags. Exact at the ends of reads, in between by share: the log
itself counts bytes only.
"""

from bisect import bisect_right

PLACES_MAX = 4096  # beyond, every second one goes: what is between the others is shared out


class EventCounts:
    def __init__(self) -> None:
        self._positions: list[int] = []
        self._before: list[int] = []  # events between the first of the positions and each
        self._bytes = 0  # of all that was read, for the usual size
        self._events = 0

    def read(self, start: int, end: int, events: int) -> None:
        """So many stand there. Reads behind the foremost one say nothing new."""
        positions = self._positions
        if positions and end <= positions[-1]:
            return
        if not positions or start < positions[-1]:  # it overlaps: begin anew rather than count twice
            self._positions, self._before = [start], [0]
        elif start > positions[-1]:
            self._add(start, self._usual(start - positions[-1]))
        self._bytes += end - start
        self._events += events
        self._add(end, events)

    def between(self, start: int, end: int) -> int:
        """About so many."""
        return max(0, round(self._at(end) - self._at(start)))

    def _add(self, position: int, events: float) -> None:
        self._positions.append(position)
        self._before.append(self._before[-1] + round(events))
        if len(self._positions) > PLACES_MAX:
            del self._positions[1:-1:2], self._before[1:-1:2]

    def _usual(self, size: int) -> float:
        return size * self._events / self._bytes if self._bytes else 0.0

    def _at(self, position: int) -> float:
        """Events before it, counted from the first known position; below 0 before that."""
        positions, before = self._positions, self._before
        if not positions:
            return 0.0
        if position <= positions[0]:
            return -self._usual(positions[0] - position)
        if position >= positions[-1]:
            return before[-1] + self._usual(position - positions[-1])
        after = bisect_right(positions, position)
        size = positions[after] - positions[after - 1]
        share = (position - positions[after - 1]) / size
        return before[after - 1] + share * (before[after] - before[after - 1])
