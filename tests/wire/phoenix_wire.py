"""A Phoenix 2.0.0 client for the suites that misuse the server: over a real socket, framed by wsproto.

A task of its own reads; replies go to whoever asked, all else into `inbox`, with the payload's text as it came. It
never reconnects and never beats: a test says what happens. `reading` can be shut off, as by a client that hangs.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio
import wsproto
import wsproto.events
from wsproto.connection import ConnectionState

PATIENCE_S = 10.0  # for what has to come; a test that waits so long has failed
READ_BYTES = 256 * 1024

_frame = msgspec.json.Decoder(tuple[Any, Any, str, str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Frame:
    """A message from the server. `text`: the payload as it was sent."""

    join_ref: Any
    ref: Any
    topic: str
    event: str
    text: bytes

    @property
    def payload(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Answer:
    """A `phx_reply`."""

    status: str
    response: Any
    text: bytes

    @property
    def ok(self) -> Any:
        assert self.status == "ok", self.response
        return self.response

    @property
    def refused(self) -> Any:
        """The response of an error reply, which always has a reason and a message for people."""
        assert self.status == "error", self.response
        assert isinstance(self.response["message"], str)
        assert self.response["message"]
        return self.response


@dataclass(frozen=True, slots=True)
class Closed:
    """How it ended. 1006: without a close frame."""

    code: int
    reason: str


class Lost(Exception):
    """The connection ended while something was waited for."""


class Refused(Exception):
    """The handshake was answered with an HTTP status."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status, body[:300])
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def problem(self) -> Any:
        return json.loads(self.body)


class PhoenixWire:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.inbox: list[Frame] = []
        self.closed: Closed | None = None
        self.raw = bytearray()  # every text that came, where `keep_raw` is set
        self.keep_raw = False
        self.on_frame: Callable[[Frame], None] | None = None  # called in order, before anyone who waits wakes up
        self.join_refs: dict[str, str] = {}
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._partial: list[str] = []
        self._refs = 0
        self._answers: dict[str, Answer] = {}
        self._news = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self._sending = trio.Lock()

    # --- handshake

    async def shake_hands(self, target: str, host: str, headers: list[tuple[str, str]], protocols: list[str]) -> None:
        """Raises Refused, Lost."""
        request = wsproto.events.Request(
            host=host,
            target=target,
            subprotocols=protocols,
            extra_headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
        )
        await self.stream.send_all(self._protocol.send(request))
        refused: tuple[int, dict[str, str]] | None = None
        body = b""
        with trio.fail_after(PATIENCE_S):
            while True:
                if not (data := await self._receive()):
                    raise Lost("closed during the handshake")
                self._protocol.receive_data(data)
                for event in self._protocol.events():
                    match event:
                        case wsproto.events.AcceptConnection():
                            self._take_events()
                            return
                        case wsproto.events.RejectConnection():
                            refused = (event.status_code, {n.decode().lower(): v.decode() for n, v in event.headers})
                        case wsproto.events.RejectData():
                            body += event.data
                            if event.body_finished:
                                assert refused is not None
                                raise Refused(*refused, body)

    # --- reading

    async def read(self) -> None:
        """Until the end; then `closed` says how. Run by `connect`."""
        try:
            while self.closed is None:
                await self._may_read.wait()
                data = await self._receive()
                if not data:
                    self.closed = Closed(1006, "")
                elif self._protocol.state is not ConnectionState.CLOSED:
                    self._protocol.receive_data(data)
                    self._take_events()
                self._tell()
        finally:
            self.closed = self.closed or Closed(1006, "")
            self._tell()

    def pause(self) -> None:
        """Read no more (what is being read now still comes)."""
        self._may_read = trio.Event()

    def resume(self) -> None:
        self._may_read.set()

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _take_events(self) -> None:
        for event in self._protocol.events():
            match event:
                case wsproto.events.TextMessage():
                    self._partial.append(event.data)
                    if event.message_finished:
                        text, self._partial = "".join(self._partial).encode(), []
                        self._take(text)
                case wsproto.events.CloseConnection():
                    self.closed = Closed(event.code, event.reason or "")

    def _take(self, text: bytes) -> None:
        if self.keep_raw:
            self.raw += text + b"\n"
        join_ref, ref, topic, event, payload = _frame.decode(text)
        if event == "phx_reply" and isinstance(ref, str):
            value = json.loads(bytes(payload))
            self._answers[ref] = Answer(value["status"], value["response"], bytes(payload))
        frame = Frame(join_ref, ref, topic, event, bytes(payload))
        if event != "phx_reply":
            self.inbox.append(frame)
        if self.on_frame is not None:
            self.on_frame(frame)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def news(self) -> None:
        """Something came."""
        await self._news.wait()

    # --- waiting

    async def until(self, wanted: Callable[[Frame], bool], within_s: float = PATIENCE_S) -> Frame:
        """Take the first message in the inbox that is wanted, once it is there. Raises Lost, TooSlowError."""
        with trio.fail_after(within_s):
            while True:
                for frame in self.inbox:
                    if wanted(frame):
                        self.inbox.remove(frame)
                        return frame
                if self.closed is not None:
                    raise Lost(self.closed)
                await self._news.wait()

    async def event(self, topic: str, name: str = "event", within_s: float = PATIENCE_S) -> Frame:
        return await self.until(lambda frame: (frame.topic, frame.event) == (topic, name), within_s)

    async def end(self, within_s: float = PATIENCE_S) -> Closed:
        """Wait for the end."""
        with trio.fail_after(within_s):
            while self.closed is None:
                await self._news.wait()
        return self.closed

    async def answer(self, ref: str, within_s: float = PATIENCE_S) -> Answer:
        """Raises Lost where the connection ends before it."""
        with trio.fail_after(within_s):
            while ref not in self._answers:
                if self.closed is not None:
                    raise Lost(self.closed)
                await self._news.wait()
        return self._answers.pop(ref)

    # --- sending

    def next_ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    async def push(self, topic: str, event: str, payload: Any, *, ref: str | None = None) -> str:
        """Send and don't wait; the ref. `payload`: a value, or bytes to be sent as they are."""
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        ref = ref or self.next_ref()
        head = json.dumps([self.join_refs.get(topic), ref, topic, event]).encode()
        await self.send_text(head[:-1] + b"," + text + b"]")
        return ref

    async def ask(self, topic: str, event: str, payload: Any = None, within_s: float = PATIENCE_S) -> Answer:
        return await self.answer(await self.push(topic, event, {} if payload is None else payload), within_s)

    async def join(
        self, topic: str, params: Any = None, within_s: float = PATIENCE_S, *, ref: str | None = None
    ) -> Answer:
        ref = ref or self.next_ref()
        self.join_refs[topic] = ref
        await self.send_text(json.dumps([ref, ref, topic, "phx_join", params or {}]).encode())
        return await self.answer(ref, within_s)

    async def leave(self, topic: str) -> Answer:
        return await self.ask(topic, "phx_leave")

    async def beat(self, within_s: float = PATIENCE_S) -> None:
        """A heartbeat and its answer: the connection lives, and all that was queued before is here."""
        assert (await self.ask("phoenix", "heartbeat", within_s=within_s)).ok == {}

    async def send_text(self, text: bytes) -> None:
        """Raises Lost."""
        await self.send_event(wsproto.events.TextMessage(text.decode()))

    async def send_event(self, event: wsproto.events.Event) -> None:
        try:
            data = self._protocol.send(event)
        except wsproto.utilities.LocalProtocolError as error:
            raise Lost(error) from None
        await self.send_bytes(data)

    async def send_bytes(self, data: bytes) -> None:
        """Bytes on the wire, whatever they are. Raises Lost."""
        try:
            async with self._sending:
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Lost(error) from error


def target(app_id: str, token: str, *, vsn: str = "2.0.0") -> str:
    return "/socket/websocket?" + urlencode({"app_id": app_id, "token": token, "vsn": vsn})


@asynccontextmanager
async def connect(
    port: int,
    token: str = "valid_token_ann",
    *,
    app_id: str = "chat-app",
    path: str | None = None,
    host: str | None = None,
    headers: list[tuple[str, str]] | None = None,
    protocols: list[str] | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[PhoenixWire]:
    """A connection after its handshake. `receive_buffer`: bytes of the kernel, small for a slow reader.

    Raises Refused, Lost, OSError.
    """
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    try:
        await sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    async with trio.SocketStream(sock) as stream:
        wire = PhoenixWire(stream)
        where = target(app_id, token) if path is None else path
        await wire.shake_hands(where, f"localhost:{port}" if host is None else host, headers or [], protocols or [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.read)
            failure: Exception | None = None
            try:
                yield wire
            except Exception as error:
                failure = error  # rises as itself, not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def refusal(port: int, token: str = "valid_token_ann", **how: Any) -> Refused:
    """The answer to a handshake that must be refused."""
    with suppress(Lost):
        try:
            async with connect(port, token, **how):
                pass
        except Refused as refused:
            return refused
    raise AssertionError("the handshake was not refused")
