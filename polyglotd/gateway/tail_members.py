"""A tail's membership in the open topics of memory kinds that its pattern matches: their events are in no log.

Used by `pattern_tails`, one for each tail. A member is made when the tail begins and when a topic opens, so that no
event is missed; one that holds a topic open alone is let go after a while, and comes back, from the seq where it
left, when something is published there. Members are no subscriptions of the app: neither presence nor occupancy sees
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.topics import Topic, Topics
from polyglotd.log.interface import Wanted
from polyglotd.plane.interface import Admit, EndSubscription, Joined, Left, Published
from polyglotd.protocol.cursor import LogPlace, parse_cursor
from polyglotd.protocol.tail import encode_event_at, encode_notice_at

MEMBERS_MAX = 2_000  # of one tail; the plane looks through a connection's subs one by one


@dataclass(slots=True, eq=False)
class _Member:
    topic: Topic
    seq: int = -1  # at the last look, where nobody else was there
    let_go: bool = False


class _Where(msgspec.Struct):
    channel: str
    seq: int


class _Message(msgspec.Struct):
    """What the plane sends to a tail."""

    event: _Where | None = None
    cursor: str = ""


class TailMembers:
    def __init__(self, port: PlanePort, topics: Topics, wanted: Wanted, new_sub: Callable[[], int]) -> None:
        self._port = port
        self._topics = topics
        self._wanted = wanted
        self._new_sub = new_sub
        self._decode = msgspec.json.Decoder(_Message).decode
        self._conn: int | None = None
        self._members: dict[int, _Member] = {}  # by sub
        self._subs: dict[int, int] = {}  # by topic
        self._seen: dict[str, tuple[str, int]] = {}  # by channel: epoch and seq of the newest event that was sent
        self._beyond = False  # some could not become members: not said yet
        self._said_beyond = False

    def begin(self, conn: int) -> None:
        """The tail's connection is this one from now on; of another one before, all members are gone."""
        self._members.clear()
        self._subs.clear()
        self._conn = conn
        for topic in self._topics.of_app(self._wanted.app_id):
            if topic.closing is None:
                self.on_begun(topic)

    def end(self) -> None:
        self._conn = None
        self._members.clear()
        self._subs.clear()

    # --- what happens in the plane ---

    def on_begun(self, topic: Topic) -> None:
        """A topic is open."""
        if self._is_wanted(topic):
            self._admit(topic, None)

    def on_published(self, record: Published, topic: Topic) -> None:
        """Events of a topic that is no topic of a logged kind."""
        if record.topic not in self._subs and self._is_wanted(topic):
            seen = self._seen.get(topic.channel)
            if seen is None or seen[0] != topic.epoch:
                seen = self._seen[topic.channel] = (topic.epoch, record.first_seq - 1)
            self._admit(topic, seen)

    def on_left(self, record: Left) -> bool:
        """Whether it was one of these. One that ended by itself (a new epoch) becomes a member again."""
        member = self._members.pop(record.sub, None)
        if member is None:
            return False
        if self._subs.get(record.topic) == record.sub:
            del self._subs[record.topic]
        topic = self._topics.find(member.topic.app_id, member.topic.channel)
        if record.why == "ended" and not member.let_go and topic is not None:
            self.on_begun(topic)
        return True

    def on_joined(self, record: Joined) -> bool:
        """Whether it is one of these."""
        member = self._members.get(record.sub)
        if member is None:
            return False
        if record.recovered is None:  # what comes from here on follows the channel's seq
            self._seen[member.topic.channel] = (member.topic.epoch, record.seq)
        return True

    def on_closed(self, topic: Topic) -> None:
        self._seen.pop(topic.channel, None)
        if (sub := self._subs.pop(topic.topic, None)) is not None:
            self._members.pop(sub, None)

    def let_go_idle(self) -> None:
        """Leave the topics where nobody else is and nothing was published since the last time. Called now and
        then."""
        assert self._conn is not None
        for sub, member in self._members.items():
            if member.topic.members or member.let_go:
                member.seq = -1
            elif member.seq != member.topic.seq:
                member.seq = member.topic.seq
            else:
                member.let_go = True
                self._subs.pop(member.topic.topic, None)
                self._port.send(EndSubscription(self._conn, sub, "closed"))

    # --- mail ---

    def messages(self, frames: Sequence[bytes], place: LogPlace) -> list[bytes]:
        """The plane's messages with the tail's own cursor, none twice; and what is to be said of those that are
        missing."""
        messages = []
        passed_over = 0
        for frame in frames:
            message = self._decode(frame)
            if message.event is None:
                messages.append(frame)
                continue
            found = parse_cursor(message.cursor)
            assert found is not None, "the plane's cursor is that of the channel"
            seen = self._seen.get(message.event.channel)
            if seen is not None and seen[0] == found[0]:
                if found[1] <= seen[1]:
                    continue
                if not self._conflates(message.event.channel):
                    passed_over += found[1] - seen[1] - 1
            self._seen[message.event.channel] = found
            messages.append(encode_event_at(frame[len(b'{"event":') : frame.rindex(b',"cursor":"')], place))
        if passed_over:
            words = f"{passed_over} events of memory kinds were passed over, and can't be had again"
            messages.append(encode_notice_at("lagging", words, place))
        if self._beyond and not self._said_beyond:
            self._said_beyond = True
            words = f"of the memory kinds' channels that match only {MEMBERS_MAX} at once are followed"
            messages.append(encode_notice_at("too_many_channels", words, place))
        return messages

    def _conflates(self, channel: str) -> bool:
        topic = self._topics.find(self._wanted.app_id, channel)
        return topic is None or topic.policy.overflow == "conflate"

    def _is_wanted(self, topic: Topic) -> bool:
        return topic.policy.durability == "memory" and self._wanted.includes(topic.app_id, topic.channel)

    def _admit(self, topic: Topic, since: tuple[str, int] | None) -> None:
        if self._conn is None or topic.topic in self._subs:
            return
        if len(self._members) >= MEMBERS_MAX:
            self._beyond = True
            return
        sub = self._subs[topic.topic] = self._new_sub()
        self._members[sub] = _Member(topic)
        self._port.send(
            Admit(
                conn=self._conn,
                sub=sub,
                topic=topic.topic,
                may_publish=False,
                sees_presence=False,
                since=since,
                history=None,
                echo=True,
            )
        )
