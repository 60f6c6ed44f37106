"""The events on a joined channel that the gateway answers: history, presence, presence_update, access_token.

Each push gets one reply. Those that wait for a disk do so in a task. They are counted per connection at the rate of
its publishes, since each costs more than one.
"""

from collections.abc import Awaitable, Callable

import msgspec

from polyglotd.access.grant import UserGrant
from polyglotd.gateway.authentication import Authentication
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.history import History
from polyglotd.gateway.payloads import access_token, history_params, presence_info
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.policy_changes import PolicyChanges
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.refusal_counts import RefusalCounts
from polyglotd.gateway.requests import HistoryPage, HistoryRequest
from polyglotd.gateway.tasks import Tasks
from polyglotd.gateway.topics import unknown_kind
from polyglotd.model import Forbidden, RateLimited, Refusal, Unavailable, UnknownEvent, encode_event, kind_of
from polyglotd.plane.interface import Push, Reply

_encode = msgspec.json.Encoder().encode


class Pushes:
    def __init__(
        self,
        port: PlanePort,
        directory: Directory,
        connections: Connections,
        authentication: Authentication,
        history: History,
        presence: Presence,
        policies: PolicyChanges,
        expiry: Expiry,
        tasks: Tasks,
    ) -> None:
        self._port = port
        self._directory = directory
        self._connections = connections
        self._authentication = authentication
        self._history = history
        self._presence = presence
        self._policies = policies
        self._expiry = expiry
        self._tasks = tasks
        self.refused = RefusalCounts()

    def on_push(self, record: Push) -> None:
        connection = self._connections.get(record.conn)
        subscription = None if connection is None else connection.find(record.sub)
        entry = None if connection is None else self._directory.cached(connection.app_id)
        if connection is None or subscription is None or entry is None:
            return  # its end is on the way, and takes the push along
        try:
            self._count(connection, entry)
            self._answer(record, connection, subscription, entry)
        except Refusal as refusal:
            self._refuse(record, refusal)

    def _answer(self, record: Push, connection: Connection, subscription: Subscription, entry: Entry) -> None:
        match record.event:
            case "history":
                self._answer_history(record, subscription, entry)
            case "presence":
                self._answer_presence(record, subscription, entry)
            case "presence_update":
                self._presence.update(connection, subscription, presence_info(record.payload))
                self._reply(record, b"{}")
            case "access_token":
                self._replace_token(connection, entry, access_token(record.payload))
                self._reply(record, b"{}")
            case _:
                raise UnknownEvent("no such event on a channel")

    def _count(self, connection: Connection, entry: Entry) -> None:
        connection.configure(entry.app.limits)
        wait_us = connection.pushes.take(1, steady_us())
        if wait_us:
            raise RateLimited(
                "this connection asks too often; its publishes' rate holds for questions too",
                retry_after_ms=-(-wait_us // 1000),
            )

    def _answer_history(self, record: Push, subscription: Subscription, entry: Entry) -> None:
        subscription.access.check_join()
        params = history_params(record.payload)
        request = HistoryRequest(limit=params.limit, after=params.after, before=params.before)

        async def read() -> bytes:
            return encode_page(await self._history.page(entry, subscription.channel, request))

        self._later(record, read)

    def _answer_presence(self, record: Push, subscription: Subscription, entry: Entry) -> None:
        subscription.access.check_presence()
        policy = entry.policy(kind_of(subscription.channel))
        if policy is None:
            raise unknown_kind(subscription.channel)

        async def read() -> bytes:
            return b'{"presence":%b}' % await self._presence.state(entry.app.app_id, subscription.channel, policy)

        self._later(record, read)

    def _replace_token(self, connection: Connection, entry: Entry, token: str) -> None:
        old = connection.credential
        grant = self._authentication.user(entry, token)
        if not isinstance(old, UserGrant) or grant.user_id != old.user_id:
            raise Forbidden("the new token is another user's")
        self._connections.replace_credential(connection, grant)
        self._expiry.watch(connection)
        self._policies.recheck(connection, entry)
        if grant.info != old.info:
            for subscription in connection.subs:
                self._presence.update(connection, subscription, grant.info)

    def _later(self, record: Push, read: Callable[[], Awaitable[bytes]]) -> None:
        def refuse(refusal: Refusal) -> None:
            self._refuse(record, refusal)

        async def answer() -> None:
            try:
                self._reply(record, await read())
            except Refusal as refusal:
                refuse(refusal)

        if not self._tasks.start(answer, refuse):
            raise Unavailable("too many questions wait")

    def _reply(self, record: Push, response: bytes) -> None:
        self._port.send(Reply(record.reply, True, response))

    def _refuse(self, record: Push, refusal: Refusal) -> None:
        self.refused.count(refusal)
        self._port.send(Reply(record.reply, False, _encode(refusal.as_reply())))


def encode_page(page: HistoryPage) -> bytes:
    """The reply to `history`."""
    return b'{"epoch":%b,"seq":%d,"events":[%b],"more":%b}' % (
        _encode(page.epoch),
        page.seq,
        b",".join(map(encode_event, page.events)),
        b"true" if page.more else b"false",
    )
