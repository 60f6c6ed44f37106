"""One open channel: its place, its recent past, its members, and the fan-out to them.

Written by `publishing`, `committer` and `admission`, each in one step between two awaits. The fan-out never awaits:
it puts a shared frame into every member's outbox, and says whose was full.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter_ns

import msgspec
import trio

from polyglotd.channels.dedupe import Dedupe
from polyglotd.channels.snapshot import Snapshot
from polyglotd.channels.window import Window
from polyglotd.model import Event, EventIds, Limits, Policy, Refusal, encode_event, envelope_bytes, now_us, tombstone
from polyglotd.plane.asgi.member import Member, Stage
from polyglotd.plane.asgi.wire import EventFrames, MessageFrames
from polyglotd.plane.interface import Accepted, OpenTopic

EVENT_BYTES = 512  # what an event's envelope counts for beside its data

Answer = Callable[[Accepted | Refusal], None]
"""Told once what became of a publish."""


class Publication(msgspec.Struct, eq=False):
    """An event that was let in and waits for its seq. (A Struct: made faster than a dataclass, once an event.)"""

    topic: "Topic"
    type: str
    data: bytes
    id: str | None  # the publisher's own
    user_id: str | None
    member: Member | None  # who published it, where a member did
    answer: Answer
    repeats: list[Answer] = []  # the same id again meanwhile
    taken_ns: int = msgspec.field(default_factory=perf_counter_ns)

    @property
    def size(self) -> int:
        """What it counts for in bounds."""
        return len(self.data) + EVENT_BYTES

    def wait(self, *, for_log: bool) -> None:
        """It has to wait for its turn; what comes for the topic meanwhile waits behind it, in the same lane."""
        self.topic.waiting += 1
        self.topic.goes_by_log = for_log
        if self.id is not None:
            self.topic.dedupe.hold(self.user_id, self.id, self)

    def accept(self, event: Event) -> None:
        """Its turn has come, and members have it."""
        self.topic.waiting -= 1
        if self.id is not None:
            self.topic.dedupe.settle(self.user_id, self.id, event.seq, event.ts_us)
        self.answer(Accepted(event.id, event.seq, event.ts_us, False))
        for answer in self.repeats:
            answer(Accepted(event.id, event.seq, event.ts_us, True))

    def refuse(self, refusal: Refusal) -> None:
        """Its turn has come, and it can't be had."""
        self.topic.waiting -= 1
        if self.id is not None:
            self.topic.dedupe.release(self.user_id, self.id)
        for answer in (self.answer, *self.repeats):
            answer(refusal)

    def stamped(self, ids: EventIds, seq: int, ts_us: int) -> Event:
        return Event(
            id=ids.new(ts_us) if self.id is None else self.id,
            app_id=self.topic.app_id,
            channel=self.topic.channel,
            epoch=self.topic.epoch,
            seq=seq,
            type=self.type,
            data=self.data,
            user_id=self.user_id,
            ts_us=ts_us,
        )


@dataclass(slots=True)
class FanOut:
    """What came of putting one thing to all members."""

    deliveries: int = 0
    overflowed: list[Member] = field(default_factory=list)


NOBODY = FanOut()  # shared: read only


class Topic:
    def __init__(self, opened: OpenTopic, limits: Limits) -> None:
        self.topic = opened.topic
        self.app_id = opened.app_id
        self.channel = opened.channel
        self.policy = opened.policy
        self.epoch = opened.epoch
        self.seq = opened.seq  # of the newest event that members may see
        self.members: dict[int, Member] = {}  # by sub
        self.waiting = 0  # publications whose turn has not come
        self.goes_by_log = False  # those
        self.dedupe: Dedupe[Publication] = Dedupe()
        self.window = Window(opened.policy.history_events, opened.policy.history_s, last=opened.seq)
        self.snapshot = Snapshot(limits.types_per_ticker)
        self.told_idle = False
        self._busy_at = trio.current_time()
        self._ts_us = 0
        if opened.window:
            self.window.clear(opened.window[0].seq - 1)
        for event in opened.window:
            self._remember(event, envelope_bytes(event))

    @property
    def is_logged(self) -> bool:
        # A topic whose policy has just changed goes on as before until what waits is through.
        return self.goes_by_log if self.waiting else self.kept_elsewhere

    @property
    def kept_elsewhere(self) -> bool:
        return self.policy.durability == "logged"

    def next_ts_us(self) -> int:
        """The wall clock, but never before the channel's newest event."""
        return max(now_us(), self._ts_us)

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.window.rebound(policy.history_events, policy.history_s)
        if not policy.snapshot:
            self.snapshot.clear()

    def begin_epoch(self, epoch: str) -> None:
        """Go on at seq 0; the members are the caller's matter."""
        self.epoch = epoch
        self.seq = 0
        self.window.clear()
        self.dedupe.clear()
        self.snapshot.clear()

    def erase(self, first: int, last: int, user_id: str | None, until_us: int) -> bool:
        """Put tombstones in the place of what is meant; whether there may have been any of it."""

        def is_meant(event: Event) -> bool:
            return user_id is None or (event.user_id == user_id and event.ts_us <= until_us)

        held = [event for event in self.window.held(first, last) if is_meant(event)]
        for event in held:
            stone = tombstone(event)
            # It may be larger than a small event was: older ones may have had to give way to those before it.
            if event.seq >= self.window.first:
                self.window.replace(stone, envelope_bytes(stone))
        for event in self.snapshot.events():
            if first <= event.seq <= last and is_meant(event):
                self.snapshot.remove(event.seq)
        return user_id is None or bool(held) or self.window.first > 1

    # --- fan-out

    def publish(self, event: Event, origin: Member | None) -> FanOut:
        """Make the event the channel's newest and put it to the members that are up to date."""
        self._remember(event, envelope_bytes(event))
        self.touch()
        if not self.members:
            return NOBODY
        if origin is not None and not origin.echo and origin.stage is not Stage.LIVE:
            origin.own.add(event.seq)
        live = (m for m in self.members.values() if m.stage is Stage.LIVE and (m is not origin or m.echo))
        frames = EventFrames(self.channel, self.epoch, event.seq, encode_event(event))
        return self._fan_out(live, frames, event.type)

    def signal(self, type_: str, payload: bytes, origin: Member | None) -> FanOut:
        """Put a signal to the members. It gives way like an event, of a type that no event has (it holds a space)."""
        joined = (m for m in self.members.values() if m.stage is not Stage.JOINING and (m is not origin or m.echo))
        return self._fan_out(joined, MessageFrames(self.channel, "signal", payload), "signal " + type_)

    def broadcast(self, event: str, payload: bytes, presence_only: bool) -> FanOut:
        """Put a message to the members. It never gives way: no later one would make its loss good."""
        joined = (m for m in self.members.values() if m.stage is not Stage.JOINING)
        addressed = (m for m in joined if m.sees_presence or not presence_only)
        return self._fan_out(addressed, MessageFrames(self.channel, event, payload), None)

    def _fan_out(self, members: Iterable[Member], frames: EventFrames | MessageFrames, type_: str | None) -> FanOut:
        result = FanOut()
        for member in members:
            connection = member.connection
            frame = frames.frame(connection.wire)
            if frame is None:
                continue
            result.deliveries += 1
            if type_ is None:
                taken = connection.put_control(frame)
            else:
                taken = connection.put_event(self.policy.overflow, self.topic, type_, frame)
            if not taken:
                result.overflowed.append(member)
        return result

    # --- idleness

    def touch(self) -> None:
        self._busy_at = trio.current_time()
        self.told_idle = False

    def is_idle(self, idle_s: float) -> bool:
        """Nobody is there, nothing waits and nothing came for a while; a memory kind has nothing left to lose."""
        if self.members or self.waiting or trio.current_time() - self._busy_at < idle_s:
            return False
        if self.kept_elsewhere:
            return True
        self.window.expire(now_us())
        self.dedupe.expire(now_us())
        return len(self.window) == 0 and len(self.dedupe) == 0

    def _remember(self, event: Event, size: int) -> None:
        self.seq = event.seq
        self._ts_us = max(self._ts_us, event.ts_us)
        self.window.append(event, size)
        if self.policy.snapshot:
            self.snapshot.put(event)
