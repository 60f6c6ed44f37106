"""A plane without sockets: it keeps the interface's promises to the gateway, and a test plays its clients.

Commands are carried out as they are submitted, and kept for the test to look at. `mute` names command types that are
only kept: a test that wants their answer late, or never, sends it by itself with `happen`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import msgspec
import trio

from polyglotd.log.interface import LogAppender
from polyglotd.model import Event, EventIds, Policy, encode_event, now_us
from polyglotd.model.latency import Latency
from polyglotd.plane.interface import (
    VIRTUAL_CONN_FIRST,
    Accept,
    Accepted,
    Admit,
    AnyCommand,
    AnyRecord,
    CloseTopic,
    Connect,
    Disconnect,
    Disconnected,
    EndSubscription,
    Join,
    Joined,
    Left,
    Mail,
    MailReady,
    NewEpoch,
    OpenTopic,
    OpenVirtual,
    PlaneCounters,
    Publish,
    Published,
    PublishItem,
    PublishResults,
    Push,
    ReadWindow,
    Refuse,
    Refused,
    RefuseJoin,
    Reply,
    SendTo,
    SetPolicy,
    TakeMail,
    TopicClosed,
    TopicIdle,
    WindowPage,
)

PAYLOAD_MAX = 65_536
CommandT = TypeVar("CommandT")


@dataclass(eq=False)
class Topic:
    opened: OpenTopic
    policy: Policy
    epoch: str
    seq: int
    window: list[Event]
    members: set[int] = field(default_factory=set)
    ids: dict[tuple[str, str | None], Event] = field(default_factory=dict)


@dataclass(eq=False)
class Conn:
    app_id: str
    user_id: str | None
    waiting: set[int] = field(default_factory=set)  # subs whose join is not decided
    topics: dict[int, int] = field(default_factory=dict)  # of members, by sub
    mail: list[bytes] = field(default_factory=list)


class ScriptedPlane:
    name = "scripted"
    io_threads = 1

    def __init__(self, log: LogAppender) -> None:
        self.log = log
        self.commands: list[AnyCommand] = []
        self.batches = 0
        self.latencies: Mapping[str, Latency] = {}  # to be taken
        self.mute: set[type] = set()
        self.take_frames_max = 1000  # of a mailbox at once
        self.topics: dict[int, Topic] = {}
        self.conns: dict[int, Conn] = {}
        self._records: list[AnyRecord] = []
        self._any = trio.Event()
        self._conns = count(1)
        self._subs = count(1)
        self._handles = count(1)
        self._ids = EventIds()

    # --- the interface ---

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started(("127.0.0.1", 0))
        await trio.sleep_forever()

    def submit(self, commands: Sequence[AnyCommand]) -> None:
        self.batches += 1
        for command in commands:
            self.commands.append(command)
            carry_out = getattr(self, f"_do_{type(command).__name__.lower()}", None)
            if carry_out is not None and type(command) not in self.mute:
                carry_out(command)

    async def receive(self) -> Sequence[AnyRecord]:
        await self._any.wait()
        batch, self._records = self._records, []
        self._any = trio.Event()
        return batch

    def counters(self) -> PlaneCounters:
        return PlaneCounters(
            connections=len(self.conns), subscriptions=sum(len(c.topics) for c in self.conns.values())
        )

    def take_latencies(self) -> Mapping[str, Latency]:
        taken, self.latencies = self.latencies, {}
        return taken

    # --- what a test sees ---

    def of(self, kind: type[CommandT]) -> list[CommandT]:
        return [command for command in self.commands if isinstance(command, kind)]

    def last(self, kind: type[CommandT]) -> CommandT:
        return self.of(kind)[-1]

    def forget(self) -> None:
        self.commands.clear()

    def topic(self, channel: str, app_id: str = "demo") -> Topic:
        (found,) = [t for t in self.topics.values() if (t.opened.app_id, t.opened.channel) == (app_id, channel)]
        return found

    def response(self, reply: int) -> tuple[bool, Any]:
        (found,) = [command for command in self.of(Reply) if command.reply == reply]
        return found.ok, msgspec.json.decode(found.response)

    def join_refusal(self, sub: int) -> dict[str, Any]:
        (found,) = [command for command in self.of(RefuseJoin) if command.sub == sub]
        response: dict[str, Any] = msgspec.json.decode(found.response)
        return response

    def sent_to(self, sub: int, event: str) -> list[Any]:
        return [msgspec.json.decode(c.payload) for c in self.of(SendTo) if c.sub == sub and c.event == event]

    # --- what a test does ---

    def happen(self, *records: AnyRecord) -> None:
        self._records += records
        self._any.set()

    def connect(self, query: str, *headers: tuple[str, str], address: str = "192.0.2.1") -> int:
        conn = next(self._conns)
        self.happen(Connect(conn, query, [("host", "localhost:4000"), *headers], address))
        return conn

    def join(self, conn: int, channel: str, params: bytes = b"{}") -> int:
        sub = next(self._subs)
        self.conns[conn].waiting.add(sub)
        self.happen(Join(conn, sub, channel, params))
        return sub

    def push(self, conn: int, sub: int, event: str, payload: bytes = b"{}") -> int:
        handle = next(self._handles)
        self.happen(Push(conn, sub, self.conns[conn].topics[sub], event, payload, handle))
        return handle

    def leave(self, conn: int, sub: int) -> None:
        self._end(conn, sub, "leave")

    def replace_join(self, conn: int, old: int, channel: str) -> int:
        """A second `phx_join` of a channel, as the socket's state machine takes it."""
        self.conns[conn].waiting.discard(old)
        if old in self.conns[conn].topics:
            self._end(conn, old, "replaced")
        return self.join(conn, channel)

    def give_up_join(self, conn: int, sub: int) -> None:
        """The client left before the answer: no record says so."""
        self.conns[conn].waiting.discard(sub)

    def drop(self, conn: int, code: int = 1006) -> None:
        """The peer goes, or has gone before it was let in."""
        found = self.conns.pop(conn, None)
        if found is not None:
            for sub in list(found.topics):
                self._leave_topic(conn, found, sub, "disconnected")
        self.happen(Disconnected(conn, code, ""))

    def idle(self, topic: int) -> None:
        self.happen(TopicIdle(topic))

    def mail(self, conn: int, *frames: bytes) -> None:
        box = self.conns[conn].mail
        if not box:
            self.happen(MailReady(conn))
        box += frames

    # --- commands ---

    def _do_accept(self, command: Accept) -> None:
        self.conns[command.conn] = Conn(command.app_id, command.user_id)

    def _do_refuse(self, command: Refuse) -> None:
        self.happen(Disconnected(command.conn, 1006, "not accepted"))

    def _do_openvirtual(self, command: OpenVirtual) -> None:
        assert command.conn >= VIRTUAL_CONN_FIRST
        self.conns[command.conn] = Conn(command.app_id, command.user_id)

    def _do_opentopic(self, command: OpenTopic) -> None:
        assert command.topic not in self.topics
        assert [e.seq for e in command.window] == list(range(command.seq - len(command.window) + 1, command.seq + 1))
        self.topics[command.topic] = Topic(command, command.policy, command.epoch, command.seq, list(command.window))

    def _do_setpolicy(self, command: SetPolicy) -> None:
        if command.topic in self.topics:
            self.topics[command.topic].policy = command.policy

    def _do_newepoch(self, command: NewEpoch) -> None:
        topic = self.topics.get(command.topic)
        if topic is not None:
            topic.epoch, topic.seq, topic.window = command.epoch, 0, []
            topic.ids.clear()
            for conn, found in list(self.conns.items()):
                for sub in [s for s, t in found.topics.items() if t == command.topic]:
                    self._end(conn, sub, "ended")

    def _do_closetopic(self, command: CloseTopic) -> None:
        topic = self.topics.get(command.topic)
        if topic is not None:
            closed = not topic.members
            if closed:
                del self.topics[command.topic]
            self.happen(TopicClosed(command.topic, closed))

    def _do_admit(self, command: Admit) -> None:
        conn, topic = self.conns.get(command.conn), self.topics.get(command.topic)
        if conn is None or topic is None:
            return
        if command.conn < VIRTUAL_CONN_FIRST and command.sub not in conn.waiting:
            return
        conn.waiting.discard(command.sub)
        conn.topics[command.sub] = command.topic
        topic.members.add(command.sub)
        self.happen(Joined(command.conn, command.sub, command.topic, topic.seq, None))

    def _do_refusejoin(self, command: RefuseJoin) -> None:
        if command.conn in self.conns:
            self.conns[command.conn].waiting.discard(command.sub)

    def _do_endsubscription(self, command: EndSubscription) -> None:
        conn = self.conns.get(command.conn)
        if conn is not None and command.sub in conn.topics:
            self._end(command.conn, command.sub, "ended")

    def _do_disconnect(self, command: Disconnect) -> None:
        conn = self.conns.pop(command.conn, None)
        if conn is not None:
            for sub in list(conn.topics):
                self._leave_topic(command.conn, conn, sub, "disconnected")
            self.happen(Disconnected(command.conn, command.code, command.reason))

    def _do_takemail(self, command: TakeMail) -> None:
        conn = self.conns.get(command.conn)
        if conn is not None:
            frames, conn.mail = conn.mail[: self.take_frames_max], conn.mail[self.take_frames_max :]
            self.happen(Mail(command.request, frames))

    def _do_publish(self, command: Publish) -> None:
        self.happen(PublishResults(command.request, [self._publish(item) for item in command.items]))

    def _do_readwindow(self, command: ReadWindow) -> None:
        topic = self.topics.get(command.topic)
        if topic is None:
            return
        before = topic.seq + 1 if command.before is None else command.before
        matching = [e for e in topic.window if (command.after or 0) < e.seq < before]
        newest = command.after is None
        page = _bounded(matching[::-1] if newest else matching, command)
        page = page[::-1] if newest else page
        first = topic.window[0].seq if topic.window else topic.seq + 1
        more = bool(page) and (page[0].seq > 1 if command.after is None else page[-1].seq < before - 1)
        self.happen(WindowPage(command.request, topic.epoch, topic.seq, first, page, more))

    # --- within ---

    def _publish(self, item: PublishItem) -> Accepted | Refused:
        topic = self.topics.get(item.topic)
        if topic is None:
            return Refused("unavailable", "the channel has just closed", retry_after_ms=100)
        if len(item.data) > PAYLOAD_MAX:
            return Refused("payload_too_large", "too large", limit=PAYLOAD_MAX)
        known = None if item.id is None else topic.ids.get((item.id, item.user_id))
        if known is not None:
            return Accepted(known.id, known.seq, known.ts_us, True)
        ts_us = now_us()
        event = Event(
            item.id or self._ids.new(ts_us),
            topic.opened.app_id,
            topic.opened.channel,
            topic.epoch,
            topic.seq + 1,
            item.type,
            item.data,
            item.user_id,
            ts_us,
        )
        position = self.log.append([event]) if topic.policy.durability == "logged" else 0
        topic.seq += 1
        topic.window.append(event)
        if item.id is not None:
            topic.ids[item.id, item.user_id] = event
        self.happen(Published(item.topic, topic.seq, topic.seq, position, len(item.data), len(topic.members)))
        return Accepted(event.id, event.seq, ts_us, False)

    def _end(self, conn: int, sub: int, why: Any) -> None:
        self._leave_topic(conn, self.conns[conn], sub, why)

    def _leave_topic(self, conn: int, found: Conn, sub: int, why: Any) -> None:
        topic = found.topics.pop(sub)
        self.topics[topic].members.discard(sub)
        self.happen(Left(conn, sub, topic, why))


def _bounded(events: list[Event], command: ReadWindow) -> list[Event]:
    page: list[Event] = []
    size = 0
    for event in events:
        size += len(encode_event(event))
        if len(page) >= command.limit or (page and size > command.bytes_max):
            break
        page.append(event)
    return page
