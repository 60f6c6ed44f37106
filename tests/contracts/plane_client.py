"""A Phoenix client over a raw socket, for the plane's contract: reads only when it is told to.

Framing is wsproto's, so that the plane's own is judged by another. Messages are tuples as in 2.0.0, whatever the
serializer: (join_ref, ref, topic, event, payload), with payloads as Python values.
"""

import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
import wsproto
import wsproto.events
from wsproto.connection import ConnectionState

# For what has to come; a test that waits as long has failed. Under .ci/sanitized all is some times slower.
PATIENCE_S = 30.0 if "POLYGLOT_TEST_DAEMON" in os.environ else 5.0

Message = tuple[Any, Any, str, str, Any]


class Closed(Exception):
    """The server closed: the code of its close frame, 1006 where none came."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Rejected(Exception):
    """The handshake was answered with another status than 101."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class PhoenixClient:
    def __init__(self, stream: trio.SocketStream, vsn: str = "2.0.0") -> None:
        self.stream = stream
        self.vsn = vsn
        self.subprotocol: str | None = None
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._arrived: deque[Message | Closed] = deque()
        self._partial = ""
        self._refs = 0
        self._close_reply = b""
        self.answers_close = True
        self.join_refs: dict[str, str] = {}

    # --- handshake

    async def connect(self, target: str, subprotocols: list[str] | None = None) -> None:
        request = wsproto.events.Request(host="localhost", target=target, subprotocols=subprotocols or [])
        await self.stream.send_all(self._protocol.send(request))
        rejected: tuple[int, dict[str, str]] | None = None
        body = b""
        with trio.fail_after(PATIENCE_S):
            while True:
                data = await self.stream.receive_some()
                self._protocol.receive_data(data or None)
                for event in self._protocol.events():
                    if isinstance(event, wsproto.events.AcceptConnection):
                        self.subprotocol = event.subprotocol
                        self._take_events()
                        return
                    if isinstance(event, wsproto.events.RejectConnection):
                        rejected = (event.status_code, {n.decode(): v.decode() for n, v in event.headers})
                    if isinstance(event, wsproto.events.RejectData):
                        body += event.data
                        if event.body_finished:
                            assert rejected is not None
                            raise Rejected(*rejected, body)
                if not data:
                    raise Closed(1006, "")

    # --- sending

    async def send(self, join_ref: Any, ref: Any, topic: str, event: str, payload: Any) -> None:
        if self.vsn == "2.0.0":
            await self.send_text(json.dumps([join_ref, ref, topic, event, payload]))
        else:
            message = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref}
            await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self.send_event(wsproto.events.TextMessage(text))

    async def send_texts(self, texts: list[str]) -> None:
        """All in one piece."""
        frames = [self._protocol.send(wsproto.events.TextMessage(text)) for text in texts]
        await self.stream.send_all(b"".join(frames))

    async def send_event(self, event: wsproto.events.Event) -> None:
        await self.stream.send_all(self._protocol.send(event))

    # --- receiving

    async def message(self) -> Message:
        """The next message. Raises Closed."""
        with trio.fail_after(PATIENCE_S):
            while not self._arrived:
                await self._read()
        first = self._arrived.popleft()
        if isinstance(first, Closed):
            self._arrived.append(first)
            raise first
        return first

    async def closed(self) -> Closed:
        """Read on to the end; what comes before it is dropped."""
        try:
            while True:
                await self.message()
        except Closed as closed:
            return closed

    async def silent(self) -> bool:
        """Whether nothing waits: a heartbeat's answer comes next."""
        await self.send(None, "hush", "phoenix", "heartbeat", {})
        return bool((await self.message())[1] == "hush")

    async def _read(self) -> None:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self._arrived.append(Closed(1006, ""))
            return
        self._protocol.receive_data(data)
        self._take_events()
        if self._close_reply:
            reply, self._close_reply = self._close_reply, b""
            with suppress(trio.BrokenResourceError):
                await self.stream.send_all(reply)

    def _take_events(self) -> None:
        for event in self._protocol.events():
            if isinstance(event, wsproto.events.TextMessage):
                self._partial += event.data
                if event.message_finished:
                    text, self._partial = self._partial, ""
                    self._arrived.append(self._decode(text))
            elif isinstance(event, wsproto.events.CloseConnection):
                self._arrived.append(Closed(event.code, event.reason or ""))
                if self.answers_close and self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    self._close_reply = self._protocol.send(event.response())

    def _decode(self, text: str) -> Message:
        value = json.loads(text)
        if self.vsn == "2.0.0":
            return tuple(value)
        return (value.get("join_ref"), value["ref"], value["topic"], value["event"], value["payload"])

    # --- Phoenix

    def next_ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    async def join(self, topic: str, params: Any = None) -> Any:
        """Join and return the reply's response; it must be the next message of all. Raises AssertionError if not."""
        ref = self.next_ref()
        self.join_refs[topic] = ref
        await self.send(ref, ref, topic, "phx_join", params or {})
        return await self.reply(ref)

    async def push(self, topic: str, event: str, payload: Any) -> str:
        """Push without waiting; the ref."""
        ref = self.next_ref()
        await self.send(self.join_refs.get(topic), ref, topic, event, payload)
        return ref

    async def ask(self, topic: str, event: str, payload: Any, status: str = "ok") -> Any:
        """Push; the reply must be the next message."""
        return await self.reply(await self.push(topic, event, payload), status)

    async def reply(self, ref: str, status: str = "ok") -> Any:
        _, got_ref, _, event, payload = await self.message()
        assert (got_ref, event) == (ref, "phx_reply"), (got_ref, event, payload)
        assert payload["status"] == status, payload
        return payload["response"]

    async def events(self, count: int) -> list[Any]:
        """The payloads of the next messages, which all are `event`."""
        payloads = []
        for _ in range(count):
            _, _, _, event, payload = await self.message()
            assert event == "event", (event, payload)
            payloads.append(payload)
        return payloads


@asynccontextmanager
async def open_client(
    address: tuple[str, int],
    query: str = "app_id=demo&token=ann",
    *,
    vsn: str = "2.0.0",
    subprotocols: list[str] | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[PhoenixClient]:
    """Connect to the socket's path. `receive_buffer`: bytes of the kernel, small for a slow reader."""
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    await sock.connect(address)
    async with trio.SocketStream(sock) as stream:
        client = PhoenixClient(stream, vsn)
        await client.connect(f"/socket/websocket?{query}&vsn={vsn}", subprotocols)
        yield client
