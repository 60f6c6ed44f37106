"""What the log knows of each channel: its head, which of its events the store may lack, which ids it saw lately.

Owned by `segments`, filled by `replay` at the start. Pure: positions come in, no file is touched.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator

from polyglotd.log.interface import ChannelHead
from polyglotd.log.record import channel_key
from polyglotd.model import Event

RECENT_IDS_MAX = 10_000  # publishers' own ids a channel (contract, section 2)
CHUNK_BYTES = 1 << 20  # how much log the store must pass before a channel's index gives memory back


class ChannelState:
    """A channel that has a head of its own. `tail` holds the positions of its newest events, one each without a gap
    up to `seq`: at least those that the store lacks. `ids`: positions of events with a publisher's own id."""

    __slots__ = ("app_id", "channel", "chunk", "epoch", "ids", "key", "seq", "tail", "ts_us")

    def __init__(self, app_id: str, channel: str, epoch: str, seq: int, ts_us: int) -> None:
        self.app_id = app_id
        self.channel = channel
        self.epoch = epoch
        self.key = channel_key(app_id, channel, epoch)
        self.seq = seq
        self.ts_us = ts_us  # of its last event, or when its epoch began, if not before
        self.tail: array[int] | None = None
        self.ids: array[int] | None = None
        self.chunk = -1  # the chunk of the log in which it was last noted

    def begin_epoch(self, epoch: str, key: bytes) -> None:
        self.epoch = epoch
        self.key = key
        self.seq = 0
        self.tail = None
        self.ids = None

    def trim(self, floor: int) -> None:
        """Forget positions below `floor`: the store has those events."""
        tail = self.tail
        if tail is not None and tail[0] < floor:
            known = bisect_left(tail, floor)
            if known == len(tail):
                self.tail = None
            else:
                del tail[:known]

    def tail_first(self) -> int:
        return self.seq + 1 - (len(self.tail) if self.tail is not None else 0)


_Snapshot = tuple[str, bytes, int, "array[int] | None", "array[int] | None"]  # epoch, key, seq, tail, ids


class Steps:
    """The heads that a batch has moved so far, to be moved back where it is not written.

    An event within its epoch is undone by counting back; the first of an epoch, by what was there before.
    """

    __slots__ = ("_before", "states")

    def __init__(self) -> None:
        self.states: list[ChannelState] = []  # of each event, in order
        self._before: dict[int, _Snapshot | None] = {}  # by index in `states`; None: there was no such channel

    def first_of_epoch(self, before: _Snapshot | None) -> None:
        self._before[len(self.states)] = before

    def undo(self, table: "ChannelTable") -> None:
        for index in range(len(self.states) - 1, -1, -1):
            state = self.states[index]
            if index not in self._before:
                state.seq -= 1
                continue
            before = self._before[index]
            if before is None:
                table.drop(state)
            else:
                state.epoch, state.key, state.seq, state.tail, state.ids = before


class ChannelTable:
    def __init__(self, initial_epoch: str) -> None:
        self.initial_epoch = initial_epoch
        self.app_epochs: dict[str, str] = {}  # apps that were forgotten: where their new channels stand
        self.apps: dict[str, dict[str, ChannelState]] = {}
        self.count = 0
        self._floor = 0  # the store has every event below this position
        self._chunks: deque[tuple[int, list[ChannelState]]] = deque()  # who was noted in which chunk of the log
        self._with_ids: set[ChannelState] = set()

    # --- heads ---

    def get(self, app_id: str, channel: str) -> ChannelState | None:
        channels = self.apps.get(app_id)
        return None if channels is None else channels.get(channel)

    def put(self, app_id: str, channel: str, epoch: str, seq: int, ts_us: int) -> ChannelState:
        state = ChannelState(app_id, channel, epoch, seq, ts_us)
        self.apps.setdefault(app_id, {})[channel] = state
        self.count += 1
        return state

    def drop(self, state: ChannelState) -> None:
        channels = self.apps[state.app_id]
        del channels[state.channel]
        if not channels:
            del self.apps[state.app_id]
        self.count -= 1
        state.tail = state.ids = None

    def fresh_epoch(self, app_id: str) -> str:
        """Where a channel of the app stands that has no head of its own."""
        return self.app_epochs.get(app_id, self.initial_epoch)

    def head(self, app_id: str, channel: str) -> ChannelHead:
        state = self.get(app_id, channel)
        if state is None:
            return ChannelHead(self.fresh_epoch(app_id), 0)
        return ChannelHead(state.epoch, state.seq)

    def states(self) -> Iterator[ChannelState]:
        for channels in self.apps.values():
            yield from channels.values()

    def advance(self, event: Event, steps: Steps) -> ChannelState:
        """Move the channel's head to this event. Raises ValueError where it is not the next one."""
        channels = self.apps.get(event.app_id)
        state = None if channels is None else channels.get(event.channel)
        if state is None or event.epoch != state.epoch:
            state = self._first_of_epoch(event, state, steps)
        elif event.seq != state.seq + 1:
            raise ValueError(f"{event.app_id} {event.channel}: seq {event.seq} after {state.seq}")
        state.seq = event.seq
        state.ts_us = event.ts_us
        steps.states.append(state)
        return state

    def _first_of_epoch(self, event: Event, state: ChannelState | None, steps: Steps) -> ChannelState:
        if event.seq != 1:
            raise ValueError(f"{event.app_id} {event.channel}: seq {event.seq} begins epoch {event.epoch}")
        if state is None:
            steps.first_of_epoch(None)
            return self.put(event.app_id, event.channel, event.epoch, 0, 0)
        steps.first_of_epoch((state.epoch, state.key, state.seq, state.tail, state.ids))
        state.begin_epoch(event.epoch, channel_key(event.app_id, event.channel, event.epoch))
        return state

    def begin_epoch(self, app_id: str, channel: str, epoch: str, ts_us: int) -> None:
        state = self.get(app_id, channel)
        if state is None:
            self.put(app_id, channel, epoch, 0, ts_us)
        else:
            state.begin_epoch(epoch, channel_key(app_id, channel, epoch))
            state.ts_us = max(state.ts_us, ts_us)

    def forget_app(self, app_id: str, epoch: str) -> None:
        self.app_epochs[app_id] = epoch  # before the heads go: see `checkpoint`
        channels = self.apps.pop(app_id, {})
        self.count -= len(channels)
        for state in channels.values():
            state.tail = state.ids = None

    def renew(self, initial_epoch: str) -> None:
        """Every channel without a head stands in this epoch from now on; it was never used before."""
        self.initial_epoch = initial_epoch
        self.app_epochs.clear()

    def clear(self) -> None:
        self.apps.clear()
        self._chunks.clear()
        self._with_ids.clear()
        self.count = 0

    # --- what the store may lack, and which ids were seen ---

    def note(self, state: ChannelState, position: int, *, id_given: bool) -> None:
        """The event that moved the state's head stands at `position`."""
        if state.tail is None:
            state.tail = array("Q")
        state.tail.append(position)
        chunk = position // CHUNK_BYTES
        if state.chunk != chunk:
            self._note_chunk(state, chunk)
        if id_given:
            self.note_id(state, position)

    def note_id(self, state: ChannelState, position: int) -> None:
        if state.ids is None:
            state.ids = array("Q")
            self._with_ids.add(state)
        state.ids.append(position)
        if len(state.ids) > 2 * RECENT_IDS_MAX:
            del state.ids[:-RECENT_IDS_MAX]

    def replayed(self, states: Iterable[ChannelState], end: int) -> None:
        """Their tails were filled by a replay that ended at `end`."""
        for state in states:
            self._note_chunk(state, end // CHUNK_BYTES)

    def _note_chunk(self, state: ChannelState, chunk: int) -> None:
        state.chunk = chunk
        if not self._chunks or self._chunks[-1][0] != chunk:
            self._chunks.append((chunk, []))
        self._chunks[-1][1].append(state)

    def trim(self, floor: int) -> None:
        """The store has every event below `floor`. Gives memory back chunk by chunk; `tail_of` is exact."""
        self._floor = max(self._floor, floor)
        while self._chunks and (self._chunks[0][0] + 1) * CHUNK_BYTES <= floor:
            for state in self._chunks.popleft()[1]:
                state.trim(floor)

    def tail_first(self, app_id: str, channel: str) -> int:
        state = self.get(app_id, channel)
        if state is None:
            return 1
        state.trim(self._floor)
        return state.tail_first()

    def tail_positions(self, app_id: str, channel: str, after: int, before: int) -> "array[int]":
        """Positions of the channel's events with after < seq < before that the store may lack."""
        first = self.tail_first(app_id, channel)
        state = self.get(app_id, channel)
        if state is None or state.tail is None:
            return array("Q")
        start = max(0, after + 1 - first)
        return state.tail[start : max(start, before - first)]

    def trim_ids(self, floor: int) -> None:
        """No id below this position is within the dedupe window any more."""
        for state in list(self._with_ids):
            ids = state.ids
            if ids is not None and ids[0] < floor:
                old = bisect_left(ids, floor)
                if old == len(ids):
                    state.ids = None
                else:
                    del ids[:old]
            if state.ids is None:
                self._with_ids.discard(state)
