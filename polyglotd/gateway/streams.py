"""Event streams and tails: one channel on a virtual connection, read by an HTTP handler.

They obey the limits of connections; an operator's counts against none. A stream ends with its subscription.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from polyglotd.gateway.admission import Admission
from polyglotd.gateway.callers import Caller
from polyglotd.gateway.connections import Connection
from polyglotd.gateway.directory import Directory
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.joins import Joins
from polyglotd.gateway.permissions import access_of, check_read
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.gateway.topics import Topics, unknown_kind
from polyglotd.gateway.virtual import Mailbox, VirtualConnections
from polyglotd.model import check_channel, kind_of
from polyglotd.plane.interface import Disconnect

StreamKind = Literal["sse", "tail"]

NORMAL = 1000


class StreamEnded(Exception):
    """The stream's connection is gone. `code`: the close code that a WebSocket would get (4001, 4003, 1012, …)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Stream:
    """What its reader has of it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def frames(self, timeout_s: float) -> Sequence[bytes]:
        """Wait for encoded messages, oldest first; empty where none came within `timeout_s`. Raises `StreamEnded`
        after the last of them. Cancelled: nothing is lost."""
        frames = await self._mailbox.take(timeout_s)
        if not frames and (ended := self._mailbox.ended) is not None:
            raise StreamEnded(ended.code, ended.reason)
        return frames


class Streams:
    def __init__(
        self,
        port: PlanePort,
        directory: Directory,
        admission: Admission,
        topics: Topics,
        joins: Joins,
        expiry: Expiry,
        virtual: VirtualConnections,
    ) -> None:
        self._port = port
        self._directory = directory
        self._admission = admission
        self._topics = topics
        self._joins = joins
        self._expiry = expiry
        self._virtual = virtual

    @asynccontextmanager
    async def open(
        self,
        caller: Caller,
        channel: str,
        kind: StreamKind,
        since: tuple[str, int] | None,
        request: ConnectRequest,
    ) -> AsyncIterator[Stream]:
        """Raises what the caller is refused for, before anything was sent."""
        check_channel(channel)
        app_id = caller.app.app_id
        entry = await self._directory.entry(app_id)
        policy = entry.policy(kind_of(channel))
        if policy is None:
            raise unknown_kind(channel)
        check_read(caller, channel, policy)
        connection = await self._admission.stream(request, app_id, caller.credential, self._virtual.new_conn)
        mailbox = self._virtual.open(connection.conn, app_id, connection.user_id, kind)
        try:
            await self._join(connection, channel, since)
            yield Stream(mailbox)
        finally:
            self._port.send(Disconnect(connection.conn, NORMAL, ""))

    async def _join(self, connection: Connection, channel: str, since: tuple[str, int] | None) -> None:
        before = await self._directory.entry(connection.app_id)
        topic = await self._topics.acquire(before, channel)
        entry = self._directory.cached(connection.app_id) or before
        access = access_of(connection.credential, entry, channel)
        access.check_join()
        self._joins.admit_stream(connection, self._virtual.new_sub(), access, topic, since)
        self._expiry.watch(connection)
