"""An app's own server, as webhooks find it: real HTTP on a real socket, verified with a library that is not ours."""

import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio
from standardwebhooks import Webhook

Reply = Callable[["Received", trio.abc.Stream], Awaitable[None]]


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float = field(default_factory=time.time)

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body)["data"])

    @property
    def seqs(self) -> list[int]:
        return [item["event"]["seq"] for item in self.items]

    def verified(self, secret: str) -> Any:
        """Raises where the signature is not good."""
        return Webhook(secret).verify(self.body, self.headers)


def answer(status: int, *headers: str, body: bytes = b"") -> Reply:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers))

    async def reply(received: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(head.encode() + b"\r\n" + body)

    return reply


OK = answer(204)


class Receiver:
    """`reply` may be changed at any time; it sends whatever bytes it likes."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.port = 0
        self.scheme = "http"
        self.received: list[Received] = []
        self.connections = 0
        self.closed = 0
        self.patience_s = 30.0
        self._came = trio.Condition()

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def wait_for(self, enough: Callable[["Receiver"], bool], within_s: float | None = None) -> None:
        with trio.fail_after(self.patience_s if within_s is None else within_s):
            async with self._came:
                while not enough(self):
                    await self._came.wait()

    async def count(self, number: int, within_s: float | None = None) -> list[Received]:
        await self.wait_for(lambda receiver: len(receiver.received) >= number, within_s)
        return self.received

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        try:
            await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, OSError):
            pass
        finally:
            self.closed += 1
            async with self._came:
                self._came.notify_all()
            await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            request, body = None, b""
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(65_536)))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            received = Received(request.target.decode(), headers, body)
            self.received.append(received)
            async with self._came:
                self._came.notify_all()
            await self.reply(received, stream)
            # Only what h11 must know to read on; the answer's bytes are the reply's own.
            http.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            http.send(h11.EndOfMessage())
            http.start_next_cycle()


@asynccontextmanager
async def open_receiver(
    reply: Reply = OK, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Receiver]:
    receiver = Receiver(reply)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        receiver.port = listener.socket.getsockname()[1]
        listeners: list[Any] = [listener]
        if tls is not None:
            receiver.scheme = "https"
            listeners = [trio.SSLListener(listener, tls, https_compatible=True)]

        async def serve(stream: trio.abc.Stream) -> None:
            if isinstance(stream, trio.SSLStream):
                try:
                    await stream.do_handshake()
                except (trio.BrokenResourceError, OSError):
                    await trio.aclose_forcefully(stream)
                    return
            await receiver.serve(stream)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield receiver
        nursery.cancel_scope.cancel()
