"""Follow a channel, a pattern or an app over the operators' WebSocket, across any number of connections.

The last cursor that was printed is what the next connection resumes from, so an event is printed once. A connection
that says nothing is pinged; one that does not answer is given up.
"""

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote, urlsplit

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    DisconnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    connect_websocket_url,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from polyglotctl.api_path import segment
from polyglotctl.failure import CommandFailed, RefusedByServer, Unreachable
from polyglotctl.printable import printable
from polyglotctl.server_address import ServerAddress

CONNECT_TIMEOUT_S = 10.0
PING_EVERY_S = 20.0
PONG_WITHIN_S = 10.0
QUEUE_MESSAGES = 256  # between the socket and standard output; when full, the socket is not read
MESSAGE_BYTES_MAX = 16 << 20
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
QUIET_NOTICES = frozenset({"position"})  # they bring a cursor, and nothing to tell anybody
FINAL_CLOSE_CODES = frozenset({4003})  # the server will say the same again
_GONE = (ConnectionClosed, LocalProtocolError, DisconnectionTimeout, trio.BrokenResourceError)


class Notice(msgspec.Struct):
    code: str
    message: str


class Message(msgspec.Struct):
    """`{event, cursor}`, `{notice}`, where tails of patterns add a cursor too, or `{erased}`. What is absent is
    empty: `Raw` can't be one of a union."""

    event: msgspec.Raw = msgspec.Raw()
    cursor: str | None = None
    notice: Notice | None = None
    erased: msgspec.Raw = msgspec.Raw()


class _Finished(Exception):
    """As many events as were asked for are printed."""


class ChannelTail:
    """One `polyglotctl tail`. `channel`: also a pattern, or `*`."""

    def __init__(
        self, server: ServerAddress, app_id: str, channel: str, *, since: str | None, count: int | None, cursors: bool
    ) -> None:
        self._server = server
        self._path = f"/admin/apps/{segment(app_id)}/tail?channel={quote(channel, safe='')}"
        self._cursor = since
        self._left = count
        self._cursors = cursors
        self._decoder = msgspec.json.Decoder(Message)
        self._escape = sys.stdout.isatty()
        self._connected_once = False
        self._failures = 0

    async def run(self) -> None:
        """Print until as many events as asked for are out, or cancelled."""
        while True:
            try:
                await self._one_connection()
            except _Finished:
                return
            except (OSError, HandshakeError, ConnectionClosed, Unreachable) as error:
                self._lost(error)
            await trio.sleep(BACK_OFF_S[min(self._failures, len(BACK_OFF_S)) - 1] * random.uniform(0.8, 1.2))

    def _lost(self, error: Exception) -> None:
        where = self._server.socket or self._server.url
        if isinstance(error, ConnectionRejected):
            if error.status_code < 500 and error.status_code != 429:
                raise RefusedByServer(error.status_code, _problem(error)) from None
            why = f"the server answered {error.status_code}"
        elif isinstance(error, ConnectionClosed) and error.reason is not None:
            if error.reason.code in FINAL_CLOSE_CODES:
                raise CommandFailed(
                    f"the server ended the tail: {error.reason.reason or error.reason.code}"
                ) from None
            why = f"closed with {error.reason.code} {error.reason.reason or ''}".strip()
        else:
            why = str(error) or type(error).__name__
        if not self._connected_once:
            raise Unreachable(f"no tail from {where}: {why}. Is the server running?") from None
        if self._failures == 0:
            self._say(f"connection lost ({why}); reconnecting, resuming from {self._cursor or 'now'}")
        self._failures += 1

    async def _one_connection(self) -> None:
        """Returns by an exception only."""
        send, receive = trio.open_memory_channel[str | bytes](QUEUE_MESSAGES)
        try:
            async with self._connected() as websocket, trio.open_nursery() as nursery:
                if self._failures:
                    self._say("connected again")
                self._connected_once, self._failures = True, 0
                nursery.start_soon(_beat, websocket)
                nursery.start_soon(_read, websocket, send)
                async for text in receive:
                    self._print(self._decoder.decode(text))
        except BaseExceptionGroup as group:
            raise _one_of(group) from None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[WebSocketConnection]:
        path = self._path if self._cursor is None else f"{self._path}&since={quote(self._cursor, safe='')}"
        headers = [(name.encode(), value.encode()) for name, value in self._server.headers(app_call=False).items()]
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(CONNECT_TIMEOUT_S) as deadline:
                if self._server.socket is not None:
                    stream = await trio.open_unix_socket(str(self._server.socket))
                    websocket = await wrap_client_stream(
                        nursery, stream, "polyglot.local", path, extra_headers=headers,
                        message_queue_size=64, max_message_size=MESSAGE_BYTES_MAX,
                    )  # fmt: skip
                else:
                    parts = urlsplit(self._server.url)
                    scheme = "wss" if parts.scheme == "https" else "ws"
                    websocket = await connect_websocket_url(
                        nursery, f"{scheme}://{parts.netloc}{path}", extra_headers=headers,
                        message_queue_size=64, max_message_size=MESSAGE_BYTES_MAX,
                    )  # fmt: skip
            if deadline.cancelled_caught:
                raise Unreachable(f"no answer within {CONNECT_TIMEOUT_S:.0f} s")
            try:
                yield websocket
            finally:
                with trio.move_on_after(1, shield=True):
                    with suppress(
                        ConnectionClosed, LocalProtocolError, DisconnectionTimeout, trio.BrokenResourceError
                    ):
                        await websocket.aclose()  # where it is gone already, that is what was wanted
                nursery.cancel_scope.cancel()

    def _print(self, message: Message) -> None:
        if message.notice is not None and message.notice.code not in QUIET_NOTICES:
            self._say(f"{message.notice.code}: {message.notice.message}")
        if erased := bytes(message.erased).decode():
            self._say(f"erased: {erased}")
        if message.cursor is not None:
            self._cursor = message.cursor
        text = bytes(message.event).decode()
        if not text:
            return
        if self._cursors:
            text = f'{{"event":{text},"cursor":{msgspec.json.encode(message.cursor).decode()}}}'
        print(printable(text) if self._escape else text, flush=True)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise _Finished

    def _say(self, text: str) -> None:
        print(f"polyglotctl: {printable(text)}", file=sys.stderr, flush=True)


async def _beat(websocket: WebSocketConnection) -> None:
    while True:
        await trio.sleep(PING_EVERY_S)
        with trio.move_on_after(PONG_WITHIN_S) as deadline:
            await websocket.ping()
        if deadline.cancelled_caught:
            raise Unreachable(f"no answer to a ping within {PONG_WITHIN_S:.0f} s")


async def _read(websocket: WebSocketConnection, send: trio.MemorySendChannel[str | bytes]) -> None:
    """Keeps the connection's own reader moving, so that pings are answered."""
    while True:
        await send.send(await websocket.get_message())


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a connection: what finishes or refuses comes before what was merely lost."""
    leaves = list(_leaves(group))
    for kinds in ((KeyboardInterrupt, SystemExit), _Finished, CommandFailed, BrokenPipeError, ConnectionClosed):
        for error in leaves:
            if isinstance(error, kinds):
                return error
    return leaves[0]


def _leaves(error: BaseException) -> "list[BaseException]":
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _problem(error: ConnectionRejected) -> dict[str, object]:
    try:
        problem = msgspec.json.decode(error.body or b"")
    except msgspec.DecodeError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"code": str(error.status_code), "detail": f"the server answered HTTP {error.status_code}."}
