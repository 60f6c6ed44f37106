"""What the log knows of each channel: its head, which of its events the store may lack, which ids it saw lately.

Owned by `segments`, filled by `replay` at the start. Pure: positions come in, no file is touched.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from polyglotd.log.erasures import Erasures
from polyglotd.log.interface import AppendedRun, ChannelHead
from polyglotd.log.record import channel_key
from polyglotd.log.runs import Runs, Spans
from polyglotd.model import Event

RECENT_IDS_MAX = 10_000  # publishers' own ids a channel (contract, section 2)
CHUNK_BYTES = 1 << 20  # how much log the store must pass before a channel's index gives memory back


class ChannelState:
    """A channel that has a head of its own. `tail`: where its newest events stand, without a gap up to `seq`: at
    least those that the store lacks. `ids`: where events with a publisher's own id stand."""

    __slots__ = ("app_id", "channel", "chunk", "epoch", "ids", "key", "seq", "tail", "ts_us")

    def __init__(self, app_id: str, channel: str, epoch: str, seq: int, ts_us: int) -> None:
        self.app_id = app_id
        self.channel = channel
        self.epoch = epoch
        self.key = channel_key(app_id, channel, epoch)
        self.seq = seq
        self.ts_us = ts_us  # of its last event, or when its epoch began, if not before
        self.tail: Runs | None = None
        self.ids: Spans | None = None
        self.chunk = -1  # the chunk of the log in which it was last noted

    def begin_epoch(self, epoch: str, key: bytes) -> None:
        self.epoch = epoch
        self.key = key
        self.seq = 0
        self.tail = None
        self.ids = None

    def trim(self, floor: int) -> None:
        """Forget what ends below `floor`: the store has those events. A run that begins below it may be left."""
        tail = self.tail
        if tail is not None:
            if tail.end <= floor:
                self.tail = None
            else:
                tail.trim(floor)


_Snapshot = tuple[str, bytes, int, Runs | None, Spans | None]  # epoch, key, seq, tail, ids


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
        self.erasures = Erasures()
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

    def follow(self, run: AppendedRun) -> None:
        """Move the channel's head over events that are in the log. Raises ValueError where they are not the next."""
        if not (0 < run.first_seq <= run.last_seq and run.start < run.end):
            raise ValueError(f"this is no run: {run}")
        state = self.get(run.app_id, run.channel)
        if state is None or run.epoch != state.epoch:
            if run.first_seq != 1:
                raise ValueError(f"{run.app_id} {run.channel}: seq {run.first_seq} begins epoch {run.epoch}")
            if state is None:
                state = self.put(run.app_id, run.channel, run.epoch, 0, 0)
            else:
                state.begin_epoch(run.epoch, channel_key(run.app_id, run.channel, run.epoch))
        elif run.first_seq != state.seq + 1:
            raise ValueError(f"{run.app_id} {run.channel}: seq {run.first_seq} after {state.seq}")
        elif state.tail is not None and run.start < state.tail.end:
            raise ValueError(f"{run.app_id} {run.channel}: {run.start} lies before the end of what came before")
        state.seq = run.last_seq
        state.ts_us = run.last_ts_us
        self.note(state, run.first_seq, run.start, run.end)
        if run.ids_given:
            self.note_id(state, run.start, run.end)

    # --- what the store may lack, and which ids were seen ---

    def note(self, state: ChannelState, first_seq: int, start: int, end: int) -> None:
        """The events that moved the state's head, from `first_seq` on, stand between these positions."""
        tail = state.tail
        if end <= self._floor:  # the store has read them already
            state.tail = None
            return
        if tail is None or first_seq == 1:
            state.tail = Runs(first_seq, start, end)
        else:
            tail.add(first_seq, start, end)
        chunk = (end - 1) // CHUNK_BYTES
        if state.chunk != chunk:
            self._note_chunk(state, chunk)

    def note_id(self, state: ChannelState, start: int, end: int) -> None:
        """An event with a publisher's own id, or several, stand between these positions."""
        if state.ids is None:
            state.ids = Spans()
            self._with_ids.add(state)
        state.ids.add(start, end)
        state.ids.keep_newest(RECENT_IDS_MAX)

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
        """The store has every event below `floor`. Gives memory back chunk by chunk; `with_tail` looks again."""
        self._floor = max(self._floor, floor)
        while self._chunks and (self._chunks[0][0] + 1) * CHUNK_BYTES <= floor:
            for state in self._chunks.popleft()[1]:
                state.trim(floor)

    def begin_tails(self, floor: int) -> None:
        """The store is further behind than was thought: what it lacks is learned again from `floor` on."""
        for state in self.states():
            state.tail = None
        self._floor = floor

    def with_tail(self, app_id: str, channel: str) -> ChannelState | None:
        """The channel, where the store may lack events of it. Its first run may begin below the floor."""
        state = self.get(app_id, channel)
        if state is None:
            return None
        state.trim(self._floor)
        return None if state.tail is None else state

    @property
    def floor(self) -> int:
        """The store has every event below this position."""
        return self._floor

    def trim_ids(self, floor: int) -> None:
        """No id below this position is within the dedupe window any more."""
        for state in list(self._with_ids):
            if state.ids is None or not state.ids.trim(floor):
                state.ids = None
                self._with_ids.discard(state)
