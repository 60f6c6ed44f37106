"""Clients that misuse the server, as a process of their own: `python -m bench.attacks NAME`.

Driven by `driver_neighbours`: the first line of standard input says whom to attack (JSON of `Front`), then each
`loud` or `quiet` is obeyed. `ready` on standard output says that all of them are connected. They speak WebSocket by
hand: a library would be the slower part.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

import jwt
import trio

from bench.daemon import ROOT

NEVER_READERS, SHOUTS = 1_000, 50.0  # members of a channel, and events a second to them
DAWDLERS, DAWDLE_S = 500, 0.1  # each sends a byte as often
BYTEWISE = 50
FLOODERS, LARGE = 10, 60_000


@dataclass(frozen=True)
class Front:
    """The server, and the app that tokens are signed for."""

    host: str
    port: int
    app_id: str
    secret: str

    async def member(self, user: str, room: str, *, receive_buffer: int | None = None) -> trio.SocketStream:
        """A connection that has joined; what comes from now on is not read."""
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        await sock.connect((self.host, self.port))
        stream = trio.SocketStream(sock)
        now = int(time.time())
        claims = {"sub": user, "aud": self.app_id, "iat": now, "exp": now + 3600}
        token = jwt.encode(claims, self.secret, "HS256")
        query = urlencode({"app_id": self.app_id, "token": token, "vsn": "2.0.0"})
        key = b64encode(os.urandom(16)).decode()
        await stream.send_all(
            f"GET /socket/websocket?{query} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await _until(stream, b"\r\n\r\n")
        await stream.send_all(_frame(f'["1","1","{room}","phx_join",{{}}]'.encode()))
        await _until(stream, b'"phx_reply"')
        return stream


class Gate:
    """Open while it is to be loud."""

    def __init__(self) -> None:
        self._open = trio.Event()

    def turn(self, *, loud: bool) -> None:
        if loud:
            self._open.set()
        else:
            self._open = trio.Event()

    async def loud(self) -> None:
        await self._open.wait()


Attack = Callable[[Front, Gate, trio.Nursery], Awaitable[None]]
"""Returns once all are connected; what they do goes on in the nursery."""


async def _never_read(front: Front, gate: Gate, nursery: trio.Nursery) -> None:
    """A thousand members that take nothing, in a channel to which much is said."""
    await _members(front, nursery, NEVER_READERS, "match:deaf", receive_buffer=4096)
    speaker = await front.member("speaker", "match:deaf")
    nursery.start_soon(_drain, speaker)
    nursery.start_soon(_repeat, gate, speaker, _publish("match:deaf", 1_000), 1 / SHOUTS)


async def _slow(front: Front, gate: Gate, nursery: trio.Nursery) -> None:
    """Heads and messages that come a byte at a time, and never to an end."""
    message = _publish("room:slow", LARGE)
    for stream in await _members(front, nursery, DAWDLERS, "room:slow"):
        await stream.send_all(message[: len(message) // 2])
        nursery.start_soon(_repeat, gate, stream, b"x", DAWDLE_S)
        nursery.start_soon(_drain, stream)

    async def heads() -> None:
        while True:
            await gate.loud()
            with suppress(OSError, trio.BrokenResourceError):  # in the end the server has had enough of each
                async with await trio.open_tcp_stream(front.host, front.port) as stream:
                    await stream.send_all(b"GET /socket/websocket HTTP/1.1\r\nhost: localhost\r\nx: ")
                    await _repeat(gate, stream, b"x", DAWDLE_S)

    for _ in range(DAWDLERS):
        nursery.start_soon(heads)


async def _bytewise(front: Front, gate: Gate, nursery: trio.Nursery) -> None:
    """Whole messages, a byte a packet, as fast as that goes."""
    message = _publish("room:bytewise", 100)

    async def speak(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await gate.loud()
                for byte in message:
                    await stream.send_all(bytes([byte]))

    for stream in await _members(front, nursery, BYTEWISE, "room:bytewise"):
        nursery.start_soon(_drain, stream)
        nursery.start_soon(speak, stream)


async def _large(front: Front, gate: Gate, nursery: trio.Nursery) -> None:
    """The largest messages that may be, as fast as they are taken, to ten members."""
    message = _publish("match:large", LARGE)
    for stream in await _members(front, nursery, FLOODERS, "match:large"):
        nursery.start_soon(_drain, stream)
        nursery.start_soon(_repeat, gate, stream, message, 0.0)


ATTACKS: dict[str, Attack] = {"never_read": _never_read, "slow": _slow, "bytewise": _bytewise, "large": _large}


async def _members(
    front: Front, nursery: trio.Nursery, count: int, room: str, *, receive_buffer: int | None = None
) -> list[trio.SocketStream]:
    streams: list[trio.SocketStream] = []
    few = trio.CapacityLimiter(20)

    async def come(number: int) -> None:
        async with few:
            streams.append(await front.member(f"u{number}", room, receive_buffer=receive_buffer))

    async def hold() -> None:  # a socket that nobody knows is closed
        await trio.sleep_forever()
        streams.clear()

    async with trio.open_nursery() as coming:
        for number in range(count):
            coming.start_soon(come, number)
    nursery.start_soon(hold)
    return streams


async def _repeat(gate: Gate, stream: trio.SocketStream, piece: bytes, every_s: float) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await gate.loud()
            await stream.send_all(piece)
            await trio.sleep(every_s)


async def _drain(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some(1 << 18):
            pass


async def _until(stream: trio.SocketStream, end: bytes) -> None:
    seen = b""
    while end not in seen:
        piece = await stream.receive_some(4096)
        if not piece:
            raise SystemExit(f"the server closed instead of answering: {seen[-300:]!r}")
        seen += piece


def _publish(room: str, size: int) -> bytes:
    return _frame(f'["1","9","{room}","publish",{{"type":"m","data":"{"x" * size}"}}]'.encode())


def _frame(text: bytes) -> bytes:
    """With a mask of zeros, which changes nothing."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text


# --- the process, from inside and from outside


async def _run(name: str) -> None:
    front = Front(**json.loads(await trio.to_thread.run_sync(sys.stdin.readline)))
    gate = Gate()
    async with trio.open_nursery() as nursery:
        await ATTACKS[name](front, gate, nursery)
        print("ready", flush=True)
        while word := (await trio.to_thread.run_sync(sys.stdin.readline)).strip():
            gate.turn(loud=word == "loud")
        nursery.cancel_scope.cancel()


@contextmanager
def attackers(name: str, front: Front) -> Iterator[Callable[[str], None]]:
    """Those of an attack, connected and quiet; what is yielded makes them `loud` or `quiet`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.attacks", name],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin

    def say(word: str) -> None:
        stdin.write(word + "\n")
        stdin.flush()

    try:
        say(json.dumps(asdict(front)))
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the attack {name} did not get ready")
        yield say
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    trio.run(_run, sys.argv[1])
