"""One HTTP/1.1 connection, over a stream that somebody accepted.

hypercorn's protocol (h11, wsproto) between our own reading and writing. Its `TCPServer` waits for ever for a client
that does not read, or when an app answers before it has read its body; it forgets a connection whose client leaves
while a pipelined request waits, and turns to HTTP/2 for whoever asks. Here every wait has an end, and every answer,
also to what is no HTTP, is ours.
"""

import logging
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Protocol, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, TaskGroup

from polyglotd.gateway.http.app_tasks import AppTasks
from polyglotd.gateway.http.faults import BodyTimeout, HeadTooLarge, UnknownVersion
from polyglotd.gateway.http.problems import problem_answer
from polyglotd.model import InternalFault, Malformed, Refusal

logger = logging.getLogger(__name__)

HEAD_BYTES_MAX = 16 * 1024
HEAD_DEADLINE_S = 15.0  # from the first wait on: for silent, idle and dripping connections alike
READ_BYTES = 64 * 1024
SEND_PIECE_BYTES = 64 * 1024
SEND_DEADLINE_S = 10.0  # a piece: a client slower than 6 KiB/s does not read
# What a client goes on to say after our last word is read for a while: a reset would take the answer with it
# (RFC 9112, 9.6).
LINGER_S = 2.0
LINGER_BYTES = 16 * 1024 * 1024
WEBSOCKET_PING_S = 20.0

_BARE_ERROR = [(b"content-length", b"0"), (b"connection", b"close")]  # how hypercorn's streams refuse by themselves
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError)


def http1_config() -> Config:
    config = Config()
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    config.keep_alive_max_requests = 100_000
    config.websocket_max_message_size = 64 * 1024  # tails are listened to, not spoken to
    config.websocket_ping_interval = WEBSOCKET_PING_S
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")  # else it makes a handler of its own
    return config


class Stream(Protocol):
    """trio's `SocketStream`, or a pair in memory."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray: ...

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...


class UnknownVersionAsked(Exception):
    """A request head of a version that is not spoken here, HTTP/2's preface among them."""


class Http1Connection:
    """`run` serves until the connection is closed. Cancelled: it is dropped at once."""

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        stream: Stream,
        *,
        state: Mapping[str, Any],
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        self._stream = stream
        self._context = context
        self._reading = trio.CancelScope()
        self._sending = trio.Lock()
        self._began, self._ended = trio.Event(), trio.Event()
        self._idle = True
        self._timed_out = False
        self._spoken_last = False  # our side of the stream has ended in good order
        self._peer_ended = False
        self._lost = False
        self._tasks = AppTasks()
        group = cast(TaskGroup, self._tasks)  # without entering and leaving, which the protocol never does
        self._protocol = _Http11(
            app, config, context, group, ConnectionState(dict(state)), False, client, server, self._on_event
        )

    async def run(self) -> None:
        try:
            async with self._tasks.running():
                with self._reading:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._watch_idle)
                        await self._read()
                        nursery.cancel_scope.cancel()
                if self._timed_out:
                    await self._protocol.refuse_slow_head()
                # However it ended: an app that still works on a request hears of it, and may answer all the same.
                await self._protocol.handle(Closed())
            if self._spoken_last and not self._peer_ended and not self._lost and self._protocol.left_unread:
                await self._linger()
        finally:
            await trio.aclose_forcefully(self._stream)  # type: ignore[arg-type]

    @property
    def idle(self) -> bool:
        """Between requests, and not on its way out."""
        return self._idle and not self._reading.cancel_called

    def close_if_idle(self) -> None:
        """The server stops. A connection with a request closes after its answer."""
        if self._idle:
            self._reading.cancel()

    async def _read(self) -> None:
        while True:
            await self._tasks.room()
            try:
                data = bytes(await self._stream.receive_some(READ_BYTES))
            except _LOST:
                self._lost = True
                return
            self._peer_ended = data == b""
            try:
                await self._protocol.handle(RawData(data))
            except UnknownVersionAsked:
                await self._protocol.refuse_version()
                return
            if self._peer_ended:
                return

    async def _watch_idle(self) -> None:
        while True:
            with trio.move_on_after(HEAD_DEADLINE_S):
                await self._began.wait()
            if not self._began.is_set():
                self._timed_out = True
                self._reading.cancel()
                return
            await self._ended.wait()

    async def _on_event(self, event: Event) -> None:
        match event:
            case RawData(data=data):
                await self._send(data)
            case Closed():
                await self._end()
            case Updated(idle=True):
                self._idle, self._began = True, trio.Event()
                self._ended.set()
            case Updated():
                self._idle, self._ended = False, trio.Event()
                self._began.set()

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            view = memoryview(data)
            for start in range(0, len(data), SEND_PIECE_BYTES):
                if self._lost:
                    return  # what an app says to a client that is gone
                await self._send_piece(view[start : start + SEND_PIECE_BYTES])

    async def _send_piece(self, piece: memoryview) -> None:
        try:
            with trio.fail_after(SEND_DEADLINE_S):
                await self._stream.send_all(piece)
        except (*_LOST, trio.TooSlowError):
            self._give_up()
        except trio.Cancelled:
            self._give_up()  # part of it may be out: nothing can follow
            raise

    def _give_up(self) -> None:
        self._lost = True
        self._reading.cancel()

    async def _end(self) -> None:
        """Nothing more comes from us."""
        self._spoken_last = True
        if not self._lost:
            try:
                await self._stream.send_eof()
            except _LOST:
                self._lost = True
        self._reading.cancel()

    async def _linger(self) -> None:
        size = 0
        with trio.move_on_after(LINGER_S):
            while size < LINGER_BYTES:
                try:
                    data = await self._stream.receive_some(READ_BYTES)
                except _LOST:
                    return
                if not data:
                    return
                size += len(data)


class _Http11(H11Protocol):
    """Refusals with problem details, and nothing but HTTP/1."""

    _refused = False
    _head = b""

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and list(event.headers) == _BARE_ERROR:
            self._refused = True
            await self._send_error_response(event.status_code)
        elif not (self._refused and isinstance(event, EndBody)):
            await super().stream_send(event)

    @property
    def left_unread(self) -> bool:
        """Whether the client may still be speaking: in a body, or in what was no request."""
        over = self.connection.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        return not over or self.connection.trailing_data[0] != b""

    async def refuse_version(self) -> None:
        await self._send_error_response(505)
        await self.send(Closed())

    async def refuse_slow_head(self) -> None:
        """Say why, to a client that has begun to ask."""
        if self.connection.our_state is h11.IDLE and self.connection.trailing_data[0]:
            await self._send_error_response(408)
            await self.send(Closed())

    async def _send_h11_event(self, event: Any) -> None:
        """As hypercorn's, but the head leaves with the first of its body, and nothing as nothing."""
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data
            return
        data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data=data))

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.http_version not in (b"1.0", b"1.1"):
            raise UnknownVersionAsked

    async def _send_error_response(self, status_code: int) -> None:
        answer = problem_answer(_REFUSALS.get(status_code, _malformed)())
        headers = [(name.encode(), value.encode()) for name, value in answer.headers if name != "connection"]
        own = [(b"content-length", b"%d" % len(answer.body)), (b"connection", b"close")]
        await self._send_h11_event(
            h11.Response(
                status_code=answer.status, headers=list(chain(headers, own, self.config.response_headers("h11")))
            )
        )
        await self._send_h11_event(h11.Data(data=answer.body))
        await self._send_h11_event(h11.EndOfMessage())


def _malformed() -> Refusal:
    return Malformed("that is not HTTP/1.1, or not all of it came", field="head")


_REFUSALS: dict[int, Callable[[], Refusal]] = {
    408: lambda: BodyTimeout("the head of the request did not arrive in time", field="head"),
    431: lambda: HeadTooLarge(f"a request's head has at most {HEAD_BYTES_MAX} bytes", limit=HEAD_BYTES_MAX),
    500: lambda: InternalFault("something went wrong here"),
    505: lambda: UnknownVersion("this port speaks HTTP/1.1", field="version"),
}
