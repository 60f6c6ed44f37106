"""The open topics: which channels have a place in the plane, and how they come and go.

Joins, publishes and reads of memory kinds `acquire` a topic and use it without awaiting in between; then its commands
stand before any `CloseTopic`. Concurrent callers share one opening. The dispatch hands in what the plane says.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import trio

from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.past import Past
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.log.interface import EventLog
from polyglotd.model import (
    Policy,
    QuotaExceeded,
    Refusal,
    Unavailable,
    UnknownChannelKind,
    kind_of,
    new_epoch,
)
from polyglotd.plane.interface import (
    CloseTopic,
    Joined,
    Left,
    OpenTopic,
    Published,
    TopicClosed,
    TopicIdle,
)

ACQUIRE_DEADLINE_S = 9.0  # an opening, and perhaps a closing before it
HEARD_WITHIN_S = 1.0
HEARD_LOOK_S = 0.005
BEGIN_TRIES_MAX = 3  # where policy or head move while the window is read


@dataclass(slots=True, eq=False)
class Topic:
    """A channel's place in the plane. `members` counts `Joined` less `Left`, as far as they were heard of."""

    topic: int
    app_id: str
    channel: str
    policy: Policy
    epoch: str
    seq: int
    members: int = 0
    closing: trio.Event | None = None


@dataclass(slots=True, eq=False)
class _Opening:
    done: trio.Event = field(default_factory=trio.Event)
    refusal: Refusal | None = None


class Topics:
    def __init__(
        self, port: PlanePort, directory: Directory, rates: AppRates, past: Past, log: EventLog, active: ActiveApps
    ) -> None:
        self._port = port
        self._directory = directory
        self._rates = rates
        self._past = past
        self._log = log
        self._active = active
        self._by_id: dict[int, Topic] = {}
        self._by_channel: dict[tuple[str, str], Topic] = {}
        self._openings: dict[tuple[str, str], _Opening] = {}
        self._counts: Counter[str] = Counter()  # open and opening, by app
        self._next_topic = 1
        self.on_begun: Callable[[Topic], None] = lambda _: None  # its commands follow the topic's opening at once

    def __len__(self) -> int:
        return len(self._by_id)

    def count(self, app_id: str) -> int:
        return self._counts[app_id]

    def by_id(self, topic: int) -> Topic | None:
        return self._by_id.get(topic)

    def find(self, app_id: str, channel: str) -> Topic | None:
        """An open topic that is not about to close."""
        topic = self._by_channel.get((app_id, channel))
        return topic if topic is not None and topic.closing is None else None

    def is_known(self, app_id: str, channel: str) -> bool:
        """Whether it is open, or about to be."""
        return (app_id, channel) in self._by_channel or (app_id, channel) in self._openings

    def of_app(self, app_id: str) -> Iterator[Topic]:
        return iter([topic for topic in self._by_id.values() if topic.app_id == app_id])

    async def acquire(self, entry: Entry, channel: str) -> Topic:
        """The channel's topic, opened if need be; its name was checked. Good until the caller's next await.

        Raises `UnknownChannelKind`, `QuotaExceeded` (channels), `Unavailable`.
        """
        key = (entry.app.app_id, channel)
        if entry.policy(kind_of(channel)) is None:
            raise unknown_kind(channel)
        with trio.move_on_after(ACQUIRE_DEADLINE_S):
            while True:
                if (topic := self._by_channel.get(key)) is not None:
                    if topic.closing is None:
                        return topic
                    await topic.closing.wait()
                elif (opening := self._openings.get(key)) is not None:
                    await opening.done.wait()
                    if opening.refusal is not None:
                        raise copy.copy(opening.refusal)
                else:
                    return await self._open(entry, channel)
        raise Unavailable("the channel could not be opened in time")

    def on_idle(self, record: TopicIdle) -> None:
        topic = self._by_id.get(record.topic)
        if topic is not None and topic.closing is None:  # whether it has become busy again, the plane knows best
            topic.closing = trio.Event()
            self._port.send(CloseTopic(topic.topic))

    def on_closed(self, record: TopicClosed) -> Topic | None:
        """The topic that is gone, if it is."""
        topic = self._by_id.get(record.topic)
        if topic is None or topic.closing is None:
            return None
        closing, topic.closing = topic.closing, None
        closing.set()
        if not record.closed:
            return None
        del self._by_id[topic.topic]
        del self._by_channel[topic.app_id, topic.channel]
        self._uncount(topic.app_id)
        return topic

    def on_joined(self, record: Joined) -> Topic | None:
        topic = self._by_id.get(record.topic)
        if topic is not None:
            topic.members += 1
            topic.seq = max(topic.seq, record.seq)
        return topic

    def on_left(self, record: Left) -> None:
        """Of a member whose `Joined` was heard: one whose past was still being fetched has none."""
        if (topic := self._by_id.get(record.topic)) is not None:
            topic.members -= 1

    def on_published(self, record: Published) -> Topic | None:
        topic = self._by_id.get(record.topic)
        if topic is not None:
            topic.seq = record.last_seq
        return topic

    async def heard(self, topic: Topic, seq: int) -> None:
        """Return when it was heard that the topic's events were published up to this seq, so that the log knows where
        they are. The plane says it within some 50 ms; who has waited for a second goes on without."""
        epoch = topic.epoch
        with trio.move_on_after(HEARD_WITHIN_S):
            while topic.seq < seq and topic.epoch == epoch:
                await trio.sleep(HEARD_LOOK_S)

    async def _open(self, entry: Entry, channel: str) -> Topic:
        app_id = entry.app.app_id
        if self._counts[app_id] >= entry.app.limits.channels:
            raise QuotaExceeded(f"the app has its {entry.app.limits.channels} channels open", quota="channels")
        opening = self._openings[app_id, channel] = _Opening()
        self._count(app_id)
        topic: Topic | None = None
        try:
            await self._rates.configured(app_id, entry.app.limits)
            topic = await self._begin(entry, channel)
            return topic
        except Refusal as refusal:
            opening.refusal = refusal  # for those who wait for this opening; who comes later tries anew
            raise
        finally:
            # Where this task was cancelled neither topic nor refusal is there, and one of those who wait takes over.
            del self._openings[app_id, channel]
            opening.done.set()
            if topic is None:
                self._uncount(app_id)

    async def _begin(self, entry: Entry, channel: str) -> Topic:
        app_id, kind = entry.app.app_id, kind_of(channel)
        for _ in range(BEGIN_TRIES_MAX):
            current = self._directory.cached(app_id) or entry
            policy = current.policy(kind)
            if policy is None:
                raise unknown_kind(channel)
            if policy.durability == "memory":
                return self._begun(self._memory_command(app_id, channel, policy), 0)
            head = self._past.head(app_id, channel)
            window = await self._past.window(app_id, channel, head, policy)
            current = self._directory.cached(app_id) or entry
            if current.policy(kind) == policy and self._past.head(app_id, channel) == head:
                command = OpenTopic(self._next_topic, app_id, channel, policy, head.epoch, head.seq, window)
                return self._begun(command, head.seq)
        raise Unavailable("the channel changes while it is opened")

    def _memory_command(self, app_id: str, channel: str, policy: Policy) -> OpenTopic:
        if self._log.head(app_id, channel).seq > 0:
            # It was logged once. Should it be again, that past must not seem to go on: events were lost in between.
            self._log.begin_epoch(app_id, channel, new_epoch())
        return OpenTopic(self._next_topic, app_id, channel, policy, new_epoch(), 0, [])

    def _begun(self, command: OpenTopic, seq: int) -> Topic:
        self._next_topic += 1
        topic = Topic(command.topic, command.app_id, command.channel, command.policy, command.epoch, seq)
        self._by_id[topic.topic] = topic
        self._by_channel[topic.app_id, topic.channel] = topic
        self._port.send(command)
        self.on_begun(topic)
        return topic

    def _count(self, app_id: str) -> None:
        self._counts[app_id] += 1
        self._active.hold(app_id)

    def _uncount(self, app_id: str) -> None:
        self._counts[app_id] -= 1
        if not self._counts[app_id]:
            del self._counts[app_id]
        self._active.let_go(app_id)


def unknown_kind(channel: str) -> UnknownChannelKind:
    return UnknownChannelKind(f"no kind of channel is called {kind_of(channel)!r}")
