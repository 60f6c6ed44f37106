"""The Python plane: the `Plane` interface over the parts of this room.

Built by the composition root, owned by the gateway. Commands are carried out as they are submitted: it all runs in
one trio thread, so between two awaits nobody sees a batch half done.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from polyglotd.log.interface import LogAppender
from polyglotd.model import now_us
from polyglotd.model.latency import Latency
from polyglotd.plane.asgi.admission import Admission
from polyglotd.plane.asgi.committer import Committer
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.inbound import Inbound
from polyglotd.plane.asgi.listener import Listener
from polyglotd.plane.asgi.opening import SocketDoor
from polyglotd.plane.asgi.pacer import Pacer
from polyglotd.plane.asgi.publishing import Publishing
from polyglotd.plane.asgi.refusals import reason_of
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.asgi.state import AppState, PlaneState
from polyglotd.plane.asgi.topic import Topic
from polyglotd.plane.asgi.virtual import VirtualConnection
from polyglotd.plane.interface import (
    Accept,
    Admit,
    AnyCommand,
    AnyRecord,
    Backfill,
    Broadcast,
    CloseTopic,
    ConfigureApp,
    Disconnect,
    EndSubscription,
    Erase,
    Feed,
    NewEpoch,
    Notice,
    OpenTopic,
    OpenVirtual,
    PlaneCounters,
    Publish,
    ReadWindow,
    Refuse,
    RefuseJoin,
    Reply,
    SendTo,
    SetCapabilities,
    SetPolicy,
    StopAccepting,
    TakeMail,
    TopicClosed,
    TopicIdle,
    WindowPage,
)

SWEPT_AT_ONCE = 1000  # topics looked at before others get their turn


class AsgiPlane:
    name = "asgi"
    io_threads = 1

    def __init__(self, log: LogAppender, settings: PlaneSettings) -> None:
        self._log = log
        self._state = PlaneState(settings)
        self._delivery = Delivery(self._state)
        self._committer = Committer(self._state, log, self._delivery)
        self._pacer = Pacer(self._state, self._delivery)
        self._publishing = Publishing(self._state, self._committer, self._pacer, self._delivery)
        self._admission = Admission(self._state)
        self._inbound = Inbound(self._state, self._admission, self._publishing, self._delivery)
        door = SocketDoor(self._state, self._inbound)
        self._listener = Listener(settings, self._state.records, door.serve)
        self._nursery: trio.Nursery | None = None
        self._over = False

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._delivery.run)
                nursery.start_soon(self._committer.run)
                nursery.start_soon(self._pacer.run)
                nursery.start_soon(self._state.silence.run)
                nursery.start_soon(self._sweep)
                task_status.started(await nursery.start(self._listener.run))
        finally:
            self._over = True

    def submit(self, commands: Sequence[AnyCommand]) -> None:
        if self._over:
            return  # every conn, sub and topic is gone
        for command in commands:
            _CARRY_OUT[type(command)](self, command)

    async def receive(self) -> Sequence[AnyRecord]:
        return await self._state.records.take()

    def counters(self) -> PlaneCounters:
        return self._state.snapshot()

    def take_latencies(self) -> Mapping[str, Latency]:
        return self._delivery.take_latencies()

    # --- apps and connections

    def _configure_app(self, command: ConfigureApp) -> None:
        app = self._state.apps.get(command.app_id)
        if app is None:
            self._state.apps[command.app_id] = AppState(command)
            return
        app.configure(command)
        for topic in self._state.topics_of_app[command.app_id]:
            topic.snapshot.rebound(command.limits.types_per_ticker)

    def _accept(self, command: Accept) -> None:
        if (opening := self._state.openings.get(command.conn)) is not None:
            opening.accept(command)

    def _refuse(self, command: Refuse) -> None:
        if (opening := self._state.openings.get(command.conn)) is not None:
            opening.refuse(command)

    def _disconnect(self, command: Disconnect) -> None:
        if (connection := self._state.open_connection(command.conn)) is not None:
            connection.close(command.code, command.reason)

    def _notice(self, command: Notice) -> None:
        if command.conn is None:
            connections = [c for c in self._state.connections.values() if c.closing is None]
        else:
            found = self._state.open_connection(command.conn)
            connections = [] if found is None else [found]
        for connection in connections:
            connection.notice(command.code, command.message)

    def _open_virtual(self, command: OpenVirtual) -> None:
        assert self._nursery is not None, "virtual connections need a plane that runs"
        app = self._state.apps[command.app_id]
        VirtualConnection(self._state, self._inbound, command, app, self._nursery)

    def _feed(self, command: Feed) -> None:
        if isinstance(connection := self._state.open_connection(command.conn), VirtualConnection):
            connection.feed(command)

    def _take_mail(self, command: TakeMail) -> None:
        # Also of one whose end has begun: what is queued for it is still to be had.
        if isinstance(connection := self._state.connections.get(command.conn), VirtualConnection):
            connection.take(command)

    def _stop_accepting(self, _: StopAccepting) -> None:
        self._listener.stop_accepting()

    # --- topics

    def _open_topic(self, command: OpenTopic) -> None:
        topic = Topic(command, self._state.apps[command.app_id].limits)
        if topic.kept_elsewhere:
            topic.dedupe.restore(self._log.recent_ids(command.app_id, command.channel))
        self._state.topics[command.topic] = topic
        self._state.topics_of_app[command.app_id].add(topic)

    def _set_policy(self, command: SetPolicy) -> None:
        if (topic := self._state.topics.get(command.topic)) is not None:
            topic.set_policy(command.policy)

    def _new_epoch(self, command: NewEpoch) -> None:
        if (topic := self._state.topics.get(command.topic)) is not None:
            self._admission.begin_epoch(topic, command.epoch)

    def _close_topic(self, command: CloseTopic) -> None:
        topic = self._state.topics.get(command.topic)
        if topic is None:
            return
        closed = topic.is_idle(self._state.settings.topic_idle_s)
        if closed:
            self._state.records.flush_published(topic.topic)
            del self._state.topics[topic.topic]
            self._state.topics_of_app[topic.app_id].discard(topic)
        topic.told_idle = False
        self._state.records.put(TopicClosed(topic.topic, closed))

    def _read_window(self, command: ReadWindow) -> None:
        topic = self._state.topics.get(command.topic)
        if topic is None:
            return
        topic.window.expire(now_us())
        page = topic.window.page(
            after=command.after,
            before=command.before,
            limit=command.limit,
            bytes_max=command.bytes_max,
            oldest=topic.window.oldest(kept_elsewhere=topic.kept_elsewhere),
        )
        self._state.records.put(
            WindowPage(
                request=command.request,
                epoch=topic.epoch,
                seq=topic.seq,
                first=topic.window.first,
                events=page.events,
                more=page.more,
            )
        )

    async def _sweep(self) -> None:
        """Find the topics that nobody uses."""
        settings = self._state.settings
        while True:
            await trio.sleep(settings.topic_sweep_s)
            for place, topic in enumerate(list(self._state.topics.values())):
                if not topic.told_idle and topic.is_idle(settings.topic_idle_s):
                    topic.told_idle = True
                    self._state.records.put(TopicIdle(topic.topic))
                if place % SWEPT_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    # --- subs

    def _admit(self, command: Admit) -> None:
        self._admission.admit(command)

    def _refuse_join(self, command: RefuseJoin) -> None:
        if (connection := self._state.open_connection(command.conn)) is not None:
            self._admission.refuse(connection, command.sub, command.response)

    def _backfill(self, command: Backfill) -> None:
        self._admission.backfill(command)

    def _set_capabilities(self, command: SetCapabilities) -> None:
        if (member := self._state.member(command.conn, command.sub)) is not None:
            member.may_publish = command.may_publish
            member.sees_presence = command.sees_presence

    def _end_subscription(self, command: EndSubscription) -> None:
        if (connection := self._state.open_connection(command.conn)) is not None:
            self._admission.end_sub(connection, command.sub, command.how)

    def _send_to(self, command: SendTo) -> None:
        connection = self._state.open_connection(command.conn)
        if connection is not None and connection.phoenix is not None:
            connection.send(*connection.phoenix.push(command.sub, command.event, command.payload))

    # --- messages

    def _reply(self, command: Reply) -> None:
        connection = self._state.asked.pop(command.reply, None)
        if connection is None or connection.phoenix is None:
            return
        connection.asked.discard(command.reply)
        connection.send(*connection.phoenix.reply(command.reply, command.ok, command.response))
        if not command.ok:
            connection.refused(reason_of(command.response))

    def _broadcast(self, command: Broadcast) -> None:
        if (topic := self._state.topics.get(command.topic)) is not None:
            self._delivery.broadcast(topic, command.event, command.payload, command.presence_only)

    def _erase(self, command: Erase) -> None:
        topic = self._state.topics.get(command.topic)
        if topic is None or command.epoch not in (None, topic.epoch):
            return
        was_there = topic.erase(command.first, command.last, command.user_id, command.until_us)
        if was_there and command.payload:
            self._delivery.broadcast(topic, "erased", command.payload, False)

    def _publish(self, command: Publish) -> None:
        self._publishing.publish_batch(command)


_CARRY_OUT: dict[type, Callable[[AsgiPlane, Any], None]] = {
    ConfigureApp: AsgiPlane._configure_app,
    Accept: AsgiPlane._accept,
    Refuse: AsgiPlane._refuse,
    OpenTopic: AsgiPlane._open_topic,
    SetPolicy: AsgiPlane._set_policy,
    NewEpoch: AsgiPlane._new_epoch,
    CloseTopic: AsgiPlane._close_topic,
    Admit: AsgiPlane._admit,
    RefuseJoin: AsgiPlane._refuse_join,
    Backfill: AsgiPlane._backfill,
    SetCapabilities: AsgiPlane._set_capabilities,
    Reply: AsgiPlane._reply,
    SendTo: AsgiPlane._send_to,
    Broadcast: AsgiPlane._broadcast,
    Notice: AsgiPlane._notice,
    EndSubscription: AsgiPlane._end_subscription,
    Disconnect: AsgiPlane._disconnect,
    OpenVirtual: AsgiPlane._open_virtual,
    Feed: AsgiPlane._feed,
    TakeMail: AsgiPlane._take_mail,
    Publish: AsgiPlane._publish,
    ReadWindow: AsgiPlane._read_window,
    StopAccepting: AsgiPlane._stop_accepting,
    Erase: AsgiPlane._erase,
}
