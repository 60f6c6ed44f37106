"""What the store may not have yet of a channel, and which ids it saw lately: from the table's runs and the segments.

Owned by `segments`. Tails are read in worker threads, some at once; where one begins, and recent ids, on trio's, for
some µs to ms.
"""

from collections.abc import Sequence
from functools import partial

import trio

from polyglotd.log.channel_table import RECENT_IDS_MAX, ChannelState, ChannelTable
from polyglotd.log.interface import RecentId
from polyglotd.log.places import first_event, read_events, read_recent_ids
from polyglotd.log.runs import Part
from polyglotd.log.steady import Rewrites
from polyglotd.log.writer import Writer
from polyglotd.model import Event

READS_MAX = 4  # tails read at once, each in a thread


class Tails:
    """The methods of `EventLog` of these names promise what is promised there."""

    def __init__(self, table: ChannelTable, writer: Writer, rewrites: Rewrites) -> None:
        self._table = table
        self._writer = writer
        self._steady = rewrites.steady
        self._reads = trio.CapacityLimiter(READS_MAX)

    def recent_ids(self, app_id: str, channel: str, since_us: int) -> Sequence[RecentId]:
        state = self._table.get(app_id, channel)
        if state is None or state.ids is None:
            return []
        segments = self._writer.segments
        first = segments[0].first  # segments go when their ids are old, not the other way
        spans = [(max(start, first), end) for start, end in state.ids.newest_first() if end > first]
        read = partial(read_recent_ids, segments, state.key, spans, since_us=since_us, limit=RECENT_IDS_MAX)
        return self._steady(read)

    def first(self, app_id: str, channel: str) -> int:
        state = self._state(app_id, channel)
        if state is None:
            return self._table.head(app_id, channel).seq + 1
        assert state.tail is not None
        return state.tail.first_seq

    async def read(
        self, app_id: str, channel: str, after: int, before: int, *, limit: int, newest: bool
    ) -> Sequence[Event]:
        state = self._state(app_id, channel)
        visible = self._writer.acknowledged  # with `always`: what is not durable yet, nobody sees
        parts: Sequence[Part] = ()
        if state is not None:
            assert state.tail is not None
            first, last = max(after + 1, state.tail.first_seq), min(before - 1, state.seq)
            if not newest:
                last = min(last, first + limit - 1)
            elif state.tail.end <= visible:
                first = max(first, last - limit + 1)
            if first <= last:
                parts = state.tail.parts(first, last, state.seq)
        if state is None or not parts:
            await trio.lowlevel.checkpoint()
            return []
        segments = list(self._writer.segments)
        read = partial(read_events, segments, state.key, parts, visible=visible, limit=limit, newest=newest)
        return await trio.to_thread.run_sync(self._steady, read, limiter=self._reads)

    def _state(self, app_id: str, channel: str) -> ChannelState | None:
        """The channel, where the store may lack events of it; its tail begins with the first of them."""
        state = self._table.with_tail(app_id, channel)
        if state is None or state.tail is None:
            return None
        floor = self._table.floor
        if state.tail.first_start < floor:  # the store is in the middle of a run: look where
            segments, stop = self._writer.segments, state.tail.end
            found = self._steady(partial(first_event, segments, state.key, floor, stop))
            if found is None:
                state.tail = None
                return None
            state.tail.begin_at(*found)
        return state
