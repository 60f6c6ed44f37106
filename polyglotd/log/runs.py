"""Where a channel's events stand in the log, without a position for each: what the channel table keeps of a channel.

A run says "from this seq on, from this position on"; a span says "between these positions". Who reads goes through
the records there and picks the channel's. Neighbours are joined, so a channel that is busy costs a few bytes for each
8 KiB of the log, and one that is not costs 16 bytes an event. Pure: positions come in, no file is touched.
"""

from array import array
from bisect import bisect_right

JOINED_BYTES = 8 << 10  # a run grows to this many bytes: some 40 records to go through, about 10 µs


class Part:
    """Events first..last of a channel: all of them stand at `start` or behind it, and before `stop`."""

    __slots__ = ("first", "last", "start", "stop")

    def __init__(self, first: int, last: int, start: int, stop: int) -> None:
        self.first = first
        self.last = last
        self.start = start
        self.stop = stop


class Runs:
    """A channel's newest events, without a gap up to the channel's head."""

    __slots__ = ("_flat", "end", "newest")

    def __init__(self, seq: int, start: int, end: int) -> None:
        self._flat = array("Q", (seq, start))  # the first seq of a run and where it begins, run after run
        self.newest = start  # where the newest run begins
        self.end = end  # no event stands behind it

    def add(self, seq: int, start: int, end: int) -> None:
        """The events that follow, from `seq` on, stand between `start` and `end`."""
        if start - self.newest >= JOINED_BYTES:
            self._flat.extend((seq, start))
            self.newest = start
        self.end = end

    @property
    def first_seq(self) -> int:
        return self._flat[0]

    @property
    def first_start(self) -> int:
        return self._flat[1]

    def trim(self, floor: int) -> None:
        """Drop the runs that end at `floor` or before. The first one that is left may begin before it. Some event
        stands behind the floor, as far as is known: `end` is."""
        if self._flat[1] < floor:
            passed = self._count(1, floor) - 1  # of the last that begins there, nobody knows yet
            del self._flat[: 2 * passed]

    def begin_at(self, seq: int, start: int) -> None:
        """The first event that is of interest is this one, of the first run or a later one."""
        del self._flat[: 2 * (self._count(0, seq) - 1)]
        self._flat[0] = seq
        self._flat[1] = start
        self.newest = max(self.newest, start)

    def parts(self, first: int, last: int, head: int) -> list[Part]:
        """Where the events first..last are, run by run, in order. `head`: the channel's seq."""
        flat = self._flat
        found = []
        for index in range(2 * max(0, self._count(0, first) - 1), len(flat), 2):
            if flat[index] > last:
                break
            newest = index + 2 == len(flat)
            run_last = head if newest else flat[index + 2] - 1
            stop = self.end if newest else flat[index + 3]
            found.append(Part(max(first, flat[index]), min(last, run_last), flat[index + 1], stop))
        return found

    def _count(self, column: int, value: int) -> int:
        """How many runs have at most this value in the column: 0 the first seq, 1 where it begins."""
        flat = self._flat
        return bisect_right(range(column, len(flat), 2), value, key=flat.__getitem__)


class Spans:
    """Stretches of the log in which events with a publisher's own id stand."""

    __slots__ = ("_flat",)

    def __init__(self) -> None:
        self._flat = array("Q")  # where a span begins and ends, span after span

    def add(self, start: int, end: int) -> None:
        flat = self._flat
        if flat and start - flat[-2] < JOINED_BYTES:
            flat[-1] = end
        else:
            flat.extend((start, end))

    def keep_newest(self, count: int) -> None:
        """Each holds an id or more, so more than `count` are never needed. Cuts rarely: half of them at once."""
        if len(self._flat) > 4 * count:
            del self._flat[: -2 * count]

    def trim(self, floor: int) -> bool:
        """Drop the spans that end at `floor` or before; whether some are left."""
        flat = self._flat
        passed = bisect_right(range(1, len(flat), 2), floor, key=flat.__getitem__)
        del flat[: 2 * passed]
        return bool(flat)

    def newest_first(self) -> list[tuple[int, int]]:
        flat = self._flat
        return [(flat[index], flat[index + 1]) for index in range(len(flat) - 2, -1, -2)]
