"""Joins: who may become a member of what, and the bookkeeping of those who are.

The dispatch hands in `Join`, `Joined` and `Left`. A join to an open channel is decided at once; one that has to open
its channel first waits in a task, and is decided anew when the channel is open, as much may have changed meanwhile.
"""

import msgspec
import trio

from polyglotd.access.capabilities import Access
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.occupancy import Occupancy
from polyglotd.gateway.payloads import JoinParams, join_params
from polyglotd.gateway.permissions import access_of
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.refusal_counts import RefusalCounts
from polyglotd.gateway.tasks import Tasks
from polyglotd.gateway.topics import Topic, Topics, unknown_kind
from polyglotd.model import (
    RateLimited,
    Refusal,
    TooManyChannels,
    Unavailable,
    check_channel,
    kind_of,
)
from polyglotd.plane.interface import Admit, Disconnect, EndSubscription, Join, Joined, Left, RefuseJoin

GOING_AWAY = 1001
ADMITTED_S = 30.0  # an `Admit` that brought no `Joined` for so long found its sub gone

_encode = msgspec.json.Encoder().encode


class Joins:
    def __init__(
        self,
        port: PlanePort,
        directory: Directory,
        connections: Connections,
        topics: Topics,
        presence: Presence,
        occupancy: Occupancy,
        expiry: Expiry,
        tasks: Tasks,
    ) -> None:
        self._port = port
        self._directory = directory
        self._connections = connections
        self._topics = topics
        self._presence = presence
        self._occupancy = occupancy
        self._expiry = expiry
        self._tasks = tasks
        self._admitted: dict[int, tuple[int, float]] = {}  # sub -> (conn, when), until its `Joined`; oldest first
        self.refused = RefusalCounts()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Forget admissions that came too late: their subs were gone, of which no record tells."""
        task_status.started()
        while True:
            await trio.sleep(ADMITTED_S / 2)
            over_s = trio.current_time() - ADMITTED_S
            while self._admitted:
                sub, (conn, admitted_s) = next(iter(self._admitted.items()))
                if admitted_s > over_s:
                    break
                del self._admitted[sub]
                if (connection := self._connections.get(conn)) is not None:
                    connection.drop(sub)

    # --- records ---

    def on_join(self, record: Join) -> None:
        connection = self._connections.get(record.conn)
        if connection is None:
            return
        try:
            entry = self._entry(connection)
            params, access = self._check(connection, entry, record)
            subscription = self._put(connection, record, access)
            topic = self._topics.find(connection.app_id, record.channel)
            if topic is not None:
                self._admit(connection, subscription, topic, params)
            else:
                self._open_first(connection, subscription, params)
        except Refusal as refusal:
            self._refuse(connection, record.sub, refusal)

    def on_joined(self, record: Joined) -> None:
        self._admitted.pop(record.sub, None)
        connection = self._connections.get(record.conn)
        subscription = None if connection is None else connection.find(record.sub)
        if connection is None or subscription is None:
            # It was given up as gone; the member joins again by itself.
            self._port.send(EndSubscription(record.conn, record.sub, "error"))
            return
        subscription.joined = True
        topic = self._topics.on_joined(record)
        if topic is not None:
            self._presence.join(connection, subscription, topic)
            self._occupancy.joined(connection, subscription)
        self._expiry.joined(connection, subscription)

    def on_left(self, record: Left) -> None:
        self._admitted.pop(record.sub, None)
        connection = self._connections.get(record.conn)
        subscription = None if connection is None else connection.drop(record.sub)
        if connection is None or subscription is None:
            return
        if subscription.joined:
            self._topics.on_left(record)
            self._occupancy.left(connection, subscription)
            self._presence.leave(connection, subscription)
        if connection.is_stream and record.why == "ended":
            # A stream has no other way to tell its reader, who comes back where it was and learns what is new.
            self._port.send(Disconnect(connection.conn, GOING_AWAY, "the subscription ended"))

    # --- streams, which have no joins of their own ---

    def admit_stream(
        self, connection: Connection, sub: int, access: Access, topic: Topic, since: tuple[str, int] | None
    ) -> None:
        """Make the only sub of a stream a member. Its reader was checked."""
        connection.is_stream = True
        subscription = Subscription(sub, topic.channel, access, info=connection.info)
        connection.put(subscription)
        self._send_admit(connection, subscription, topic, since, JoinParams())

    # --- decisions ---

    def _entry(self, connection: Connection) -> Entry:
        entry = self._directory.cached(connection.app_id)
        if entry is None:  # deleted a moment ago: the connection is about to be closed
            raise Unavailable("the app is going away")
        return entry

    def _check(self, connection: Connection, entry: Entry, record: Join) -> tuple[JoinParams, Access]:
        limits = entry.app.limits
        connection.configure(limits)
        wait_us = connection.joins.take(1, steady_us())
        if wait_us:
            raise RateLimited(
                f"a connection joins at most {limits.joins_per_second} channels a second",
                retry_after_ms=-(-wait_us // 1000),
            )
        check_channel(record.channel)
        if entry.policy(kind_of(record.channel)) is None:
            raise unknown_kind(record.channel)
        params = join_params(record.params)
        access = access_of(connection.credential, entry, record.channel)
        access.check_join()
        if (
            connection.of_channel(record.channel) is None
            and connection.channel_count >= limits.channels_per_connection
        ):
            raise TooManyChannels(f"a connection joins at most {limits.channels_per_connection} channels")
        return params, access

    def _put(self, connection: Connection, record: Join, access: Access) -> Subscription:
        replaced = connection.of_channel(record.channel)
        if replaced is not None and replaced.topic is None:
            connection.drop(replaced.sub)  # never admitted, so no record will tell of its end
        subscription = Subscription(record.sub, record.channel, access, info=connection.info)
        connection.put(subscription)
        return subscription

    def _open_first(self, connection: Connection, subscription: Subscription, params: JoinParams) -> None:
        def refuse(refusal: Refusal) -> None:
            self._refuse(connection, subscription.sub, refusal)

        async def open_and_admit() -> None:
            try:
                topic = await self._topics.acquire(self._entry(connection), subscription.channel)
                if connection.find(subscription.sub) is subscription:
                    entry = self._entry(connection)
                    subscription.access = access_of(connection.credential, entry, subscription.channel)
                    subscription.access.check_join()
                    self._admit(connection, subscription, topic, params)
            except Refusal as refusal:
                refuse(refusal)

        if not self._tasks.start(open_and_admit, refuse):
            raise Unavailable("too many joins wait")

    def _admit(self, connection: Connection, subscription: Subscription, topic: Topic, params: JoinParams) -> None:
        since = None if params.since is None else (params.since.epoch, params.since.seq)
        self._send_admit(connection, subscription, topic, since, params)

    def _send_admit(
        self,
        connection: Connection,
        subscription: Subscription,
        topic: Topic,
        since: tuple[str, int] | None,
        params: JoinParams,
    ) -> None:
        subscription.topic = topic.topic
        self._admitted[subscription.sub] = (connection.conn, trio.current_time())
        self._port.send(
            Admit(
                conn=connection.conn,
                sub=subscription.sub,
                topic=topic.topic,
                may_publish=subscription.access.may_publish,
                sees_presence=subscription.access.sees_presence,
                since=since,
                history=params.history,
                echo=params.echo,
            )
        )

    def _refuse(self, connection: Connection, sub: int, refusal: Refusal) -> None:
        connection.drop(sub)
        self.refused.count(refusal)
        self._port.send(RefuseJoin(connection.conn, sub, _encode(refusal.as_reply())))
