"""How a sub becomes a member, catches up with its channel, and ends.

Called by the plane for the gateway's commands, and by connections that have room again. A join is one step with the
channel's seq: from it on the member has a cursor, and every event after the cursor reaches it, from history
(`NeedHistory`), from the window, or as it is published. What can't be had any more is told: in the join's reply, or
by `phx_error`, after which the client joins anew.
"""

from collections.abc import Sequence

from polyglotd.channels.recovery import JOIN_BYTES_MAX, JOIN_EVENTS_MAX, NOT_RECOVERED_EVENTS, plan_join
from polyglotd.model import Event, Unavailable, encode_event, kind_of, now_us
from polyglotd.plane.asgi.connection import Connection
from polyglotd.plane.asgi.member import Member, Stage
from polyglotd.plane.asgi.refusals import encode_refusal, reason_of
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import Topic
from polyglotd.plane.interface import Admit, Backfill, EndOfSubscription, Joined, NeedHistory
from polyglotd.protocol.json_text import encode_str
from polyglotd.protocol.phoenix_socket import State

PAGE_EVENTS_MAX = 1000  # of what follows a join's reply: pushed, then the outbox must drain
PAGE_BYTES_MAX = 128 * 1024


class Admission:
    def __init__(self, state: PlaneState) -> None:
        self._state = state

    # --- joins

    def admit(self, command: Admit) -> None:
        """Make the sub a member, if it still waits."""
        connection = self._state.open_connection(command.conn)
        if connection is None or not _waits(connection, command.sub):
            return
        topic = self._state.topics.get(command.topic)
        if topic is None:
            self.refuse(connection, command.sub, encode_refusal(Unavailable("the channel has just closed")))
            return
        member = Member(
            connection=connection,
            topic=topic,
            sub=command.sub,
            may_publish=command.may_publish,
            sees_presence=command.sees_presence,
            echo=command.echo,
            since=command.since,
            history=command.history,
        )
        connection.members[member.sub] = topic.members[member.sub] = member
        topic.touch()
        self._plan(member)

    def refuse(self, connection: Connection, sub: int, response: bytes) -> None:
        if connection.phoenix is not None and (frames := connection.phoenix.refused(sub, response)):
            connection.send(*frames)
            connection.refused(reason_of(response))

    def backfill(self, command: Backfill) -> None:
        """Older events for a member that asked for them."""
        member = self._state.member(command.conn, command.sub)
        if member is None or not member.asked:
            return
        member.asked = False
        events = [] if command.gone else _contiguous(command.events)
        if member.stage is Stage.JOINING:
            self._backfill_join(member, events)
        elif events and events[0].seq == member.cursor + 1:
            self._push(member, events)
            self.catch_up(member)
        else:
            self.end(member, "error")

    def _plan(self, member: Member) -> None:
        topic = member.topic
        topic.window.expire(now_us())
        plan = plan_join(
            member.since,
            member.history,
            epoch=topic.epoch,
            seq=topic.seq,
            oldest=topic.window.oldest(kept_elsewhere=topic.kept_elsewhere),
        )
        member.recovered, member.cursor = plan.recovered, plan.after
        self._join_from_window(member)

    def _join_from_window(self, member: Member) -> None:
        window = member.topic.window
        if not window.covers(member.cursor):
            self._ask(member, JOIN_EVENTS_MAX, JOIN_BYTES_MAX)
            return
        page = window.page(after=member.cursor, before=None, limit=JOIN_EVENTS_MAX, bytes_max=JOIN_BYTES_MAX)
        self._join(member, page.events)

    def _backfill_join(self, member: Member, events: Sequence[Event]) -> None:
        topic = member.topic
        if events and (events[0].seq == member.cursor + 1 or not member.recovered):
            member.cursor = events[0].seq - 1  # the newest n may be fewer than n; a resume may not
            self._join(member, events)
        elif member.recovered:
            # Too old after all. The newest may still reach back further than the window.
            member.recovered = False
            count = NOT_RECOVERED_EVENTS if member.history is None else member.history
            member.cursor = max(member.cursor + 1, topic.seq - count)
            self._join_from_window(member)
        else:
            member.cursor = max(member.cursor, topic.window.first - 1)
            self._join_from_window(member)

    def _join(self, member: Member, events: Sequence[Event]) -> None:
        """Reply to the join; what the reply does not hold follows."""
        topic, connection = member.topic, member.connection
        member.joined_seq = topic.seq
        member.stage = Stage.CATCHING_UP
        self._state.counters.subscriptions += 1
        if connection.phoenix is not None:
            if not connection.outbox.below_low_water:
                events = []  # who comes back to a hundred channels gets a hundred replies at once: these stay short
            connection.send(*connection.phoenix.joined(member.sub, _join_reply(member, events)))
            if events:
                member.cursor = events[-1].seq
        else:
            if member.recovered is False and (reset := connection.wire.reset(topic.epoch, topic.seq)) is not None:
                connection.send(reset)
            self._push(member, events)
        if connection.closing is not None:
            return
        self._state.records.put(Joined(connection.conn, member.sub, topic.topic, topic.seq, member.recovered))
        self.catch_up(member)

    # --- catching up

    def drained(self, connection: Connection) -> None:
        """The connection has sent something: members that catch up may go on."""
        for member in list(connection.members.values()):
            if member.stage is Stage.CATCHING_UP:
                self.catch_up(member)

    def catch_up(self, member: Member) -> None:
        """Push pages while the outbox is low; live once nothing is behind."""
        topic, connection = member.topic, member.connection
        while not member.asked and connection.closing is None:
            if member.cursor >= topic.seq:
                member.stage = Stage.LIVE
                member.own.clear()
                return
            if topic.policy.overflow != "queue" and member.cursor >= member.joined_seq:
                self._go_live(member)
                return
            if not connection.outbox.below_low_water:
                return
            if topic.window.covers(member.cursor):
                page = topic.window.page(
                    after=member.cursor,
                    before=None if topic.policy.overflow == "queue" else member.joined_seq + 1,
                    limit=PAGE_EVENTS_MAX,
                    bytes_max=PAGE_BYTES_MAX,
                )
                self._push(member, page.events)
            elif topic.kept_elsewhere:
                self._ask(member, PAGE_EVENTS_MAX, PAGE_BYTES_MAX)
            else:
                self.end(member, "error")
                return

    def _go_live(self, member: Member) -> None:
        """The promise of a join ends at its seq; what came since then gives way as the kind says, as if live."""
        topic, connection = member.topic, member.connection
        after = max(member.cursor, topic.window.first - 1)
        rest = topic.window.page(after=after, before=None, limit=len(topic.window), bytes_max=JOIN_BYTES_MAX).events
        member.stage = Stage.LIVE
        for event in rest:
            if event.seq in member.own:
                continue
            frame = connection.wire.event(topic.channel, topic.epoch, event.seq, encode_event(event))
            if not connection.put_event(topic.policy.overflow, topic.topic, event.type, frame):
                connection.overflow()
                return
        member.own.clear()

    def _push(self, member: Member, events: Sequence[Event]) -> None:
        topic, connection = member.topic, member.connection
        for event in events:
            member.cursor = event.seq
            if event.seq in member.own:
                member.own.discard(event.seq)
                continue
            frame = connection.wire.event(topic.channel, topic.epoch, event.seq, encode_event(event))
            if not connection.put_control(frame):
                connection.overflow()
                return
            self._state.counters.deliveries_total += 1

    def _ask(self, member: Member, limit: int, bytes_max: int) -> None:
        member.asked = True
        topic = member.topic
        self._state.records.put(
            NeedHistory(
                conn=member.connection.conn,
                sub=member.sub,
                topic=topic.topic,
                after=member.cursor,
                until=topic.window.first - 1,
                limit=limit,
                bytes_max=bytes_max,
            )
        )

    # --- ends

    def end(self, member: Member, how: EndOfSubscription) -> None:
        self.end_sub(member.connection, member.sub, how)

    def end_sub(self, connection: Connection, sub: int, how: EndOfSubscription) -> None:
        """End a sub, a join that was not decided yet too."""
        if connection.phoenix is not None:
            connection.send(*connection.phoenix.end(sub, how))
        if connection.closing is None and (member := connection.members.get(sub)) is not None:
            connection.drop(member, "ended")

    def begin_epoch(self, topic: Topic, epoch: str) -> None:
        """Members rejoin and learn the new epoch; a join that still waits is decided anew."""
        self._state.records.flush_published(topic.topic)
        topic.begin_epoch(epoch)
        for member in list(topic.members.values()):
            if member.stage is Stage.JOINING:
                member.asked = False
                self._plan(member)
            else:
                self.end(member, "error")


def _waits(connection: Connection, sub: int) -> bool:
    if sub in connection.members:
        return False
    return connection.phoenix is None or connection.phoenix.state_of(sub) is State.JOINING


def _contiguous(events: Sequence[Event]) -> Sequence[Event]:
    """Up to the first gap: what follows it was not asked for."""
    for at, event in enumerate(events):
        if event.seq != events[0].seq + at:
            return events[:at]
    return events


def _join_reply(member: Member, events: Sequence[Event]) -> bytes:
    """`recovered` and `events` only where they were asked for."""
    topic = member.topic
    fields = [
        b'"kind":%b' % encode_str(kind_of(topic.channel)),
        b'"epoch":%b' % encode_str(topic.epoch),
        b'"seq":%d' % topic.seq,
    ]
    if member.recovered is not None:
        fields.append(b'"recovered":%b' % (b"true" if member.recovered else b"false"))
    if member.since is not None or member.history is not None:
        fields.append(b'"events":[%b]' % b",".join(map(encode_event, events)))
    if topic.policy.snapshot:
        fields.append(b'"snapshot":[%b]' % b",".join(map(encode_event, topic.snapshot.events())))
    return b"{%b}" % b",".join(fields)
