"""Idle connections on the Python plane, each joined to a room: memory each, and CPU while nothing happens but the
heartbeats that every Phoenix client sends.

Promised: under 1 % of a core with 2,000 of them.
"""

import resource
import socket
import struct
import time

from bench.daemon import as_json, polyglotd
from bench.machine import rss_bytes
from polyglotctl.bench.cpu_time import busy, cpu_s, others_busy

CONNECTIONS = 2000
MEMBERS_OF_A_ROOM = 10
WARM_UP = 50  # connections before memory is read for the first time
SETTLE_S = 3.0
HEARTBEAT_S = 30  # phoenix.js
QUOTA = {"connects_per_second": 100_000, "connections": 100_000}
MASK = b"\x01\x02\x03\x04"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def run(*, long: bool) -> bool:
    """Measure, print, and say whether the promise holds."""
    idle_s = 60.0 if long else 20.0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, CONNECTIONS + 1000)), hard))
    with polyglotd(quota=QUOTA, plane="asgi") as daemon:
        sockets: list[socket.socket] = []
        begin_rss = 0
        begin = time.monotonic()
        for number in range(CONNECTIONS + WARM_UP):
            if number == WARM_UP:
                begin_rss, begin = rss_bytes(daemon.pid), time.monotonic()
            sockets.append(_joined(daemon.host, daemon.port, number))
        connected_s = time.monotonic() - begin
        time.sleep(SETTLE_S)  # presence diffs go out
        each = (rss_bytes(daemon.pid) - begin_rss) / CONNECTIONS
        before, cpu_before = busy([daemon.pid]), cpu_s(daemon.pid)
        _heartbeats(sockets, idle_s)
        after, cpu_after = busy([daemon.pid]), cpu_s(daemon.pid)
        for connection in sockets:
            connection.close()
    core = (cpu_after - cpu_before) / (after.at - before.at)
    print(f"idle_connections: {CONNECTIONS:,} joined, {MEMBERS_OF_A_ROOM} in a room, {idle_s:.0f} s of heartbeats")
    print(f"  memory of the process for each   {each / 1024:8.1f} KiB")
    print(f"  CPU while idle                   {core * 100:8.2f} % of a core")
    print(f"  connect and join, one by one     {CONNECTIONS / connected_s:8.0f} /s")
    print(f"  others kept {others_busy(before, after):.2f} cores busy")
    return core < 0.01


def _joined(host: str, port: int, number: int) -> socket.socket:
    """A socket whose handshake is done and whose join was answered."""
    connection = socket.create_connection((host, port))
    connection.settimeout(10)
    path = f"/socket/websocket?vsn=2.0.0&app_id=chat-app&token=valid_token_user{number}"
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    if b" 101 " not in (answer := _until(connection, b"\r\n\r\n")):
        raise ConnectionError(f"refused: {answer!r}")
    room = f"room:bench-{number // MEMBERS_OF_A_ROOM}"
    connection.sendall(_frame(as_json(["1", "1", room, "phx_join", {}])))
    _until(connection, b"phx_reply")
    return connection


def _frame(payload: bytes) -> bytes:
    """A masked text frame of less than 126 bytes."""
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return struct.pack("!BB", 0x81, 0x80 | len(payload)) + MASK + masked


def _heartbeats(sockets: "list[socket.socket]", seconds: float) -> None:
    """Send every socket's heartbeat once in `HEARTBEAT_S`, spread evenly, and read what came."""
    heartbeat = _frame(as_json([None, "9", "phoenix", "heartbeat", {}]))
    begin = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - begin) < seconds:
        while sent < elapsed * len(sockets) / HEARTBEAT_S:
            connection = sockets[sent % len(sockets)]
            connection.sendall(heartbeat)
            _until(connection, b'"9"')
            sent += 1
        time.sleep(0.01)


def _until(connection: socket.socket, marker: bytes) -> bytes:
    received = b""
    while marker not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {received!r}")
        received += piece
    return received
