"""A little Phoenix server that does what it is told to do wrong: who measures servers must notice.

It speaks just enough of 2.0.0 for one load generator, checks that its clients mask as they must, and runs in threads.
"""

import json
import re
import socket
import socketserver
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # to the key of RFC 6455's example
FAULT_AT = 20  # the seq at which a fault is made, once
_TIMES = "2026-11-23T08:15:30.123456Z"


class FaultyPhoenix(socketserver.ThreadingTCPServer):
    """`fault`: none, lose, repeat, swap, foreign, silent (no reply), refuse (with `rate_limited`), close."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, fault: str) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.fault = fault
        self.lock = threading.Lock()
        self.members: dict[str, list[_Client]] = defaultdict(list)
        self.seqs: dict[str, int] = defaultdict(int)
        self.held: str | None = None
        self.masks: set[bytes] = set()
        self.frames = 0
        self.faults_seen: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def faulty_phoenix(fault: str) -> Iterator[FaultyPhoenix]:
    with FaultyPhoenix(fault) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Client(socketserver.StreamRequestHandler):
    server: FaultyPhoenix
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.request.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()
        )
        try:
            while (text := self._read()) is not None:
                with self.server.lock:
                    self._answer(json.loads(text))
        except OSError:
            pass

    def _read(self) -> str | None:
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        if head[0] != 0x81 or not head[1] & 0x80:
            self.server.faults_seen.append(f"a client's frame begins with {head!r}")
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.rfile.read(2))
        mask = self.rfile.read(4)
        data = self.rfile.read(size)
        self.server.masks.add(mask)
        self.server.frames += 1
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)).decode()

    def say(self, text: str) -> None:
        data = text.encode()
        head = struct.pack("!BB", 0x81, len(data)) if len(data) < 126 else struct.pack("!BBH", 0x81, 126, len(data))
        self.request.sendall(head + data)

    def _answer(self, message: "list[Any]") -> None:
        join_ref, ref, topic, event, payload = message
        server = self.server
        if event == "phx_join":
            server.members[topic].append(self)
            self._reply(join_ref, ref, topic, {"kind": "room", "epoch": "e", "seq": server.seqs[topic]})
        elif event == "heartbeat":
            self._reply(None, ref, topic, {})
        elif server.fault == "refuse":
            response = {"reason": "rate_limited", "message": "slower", "retry_after_ms": 5}
            self.say(_compact([join_ref, ref, topic, "phx_reply", {"status": "error", "response": response}]))
        else:
            self._publish(join_ref, ref, topic, payload)

    def _publish(self, join_ref: str, ref: str, topic: str, payload: "dict[str, Any]") -> None:
        server = self.server
        server.seqs[topic] += 1
        seq = server.seqs[topic]
        envelope = {
            "id": f"evt_{seq}", "app_id": "a", "channel": topic, **payload, "seq": seq,
            "meta": {"user_id": "u", "ts": _TIMES},
        }  # fmt: skip
        text = _compact([None, None, topic, "event", envelope])
        for number, member in enumerate(server.members[topic]):
            for part in self._faulty(text, seq) if number == 0 else [text]:
                with suppress(OSError):  # it has gone
                    member.say(part)
        if not (server.fault == "silent" and seq == FAULT_AT):
            self._reply(join_ref, ref, topic, {"id": envelope["id"], "seq": seq, "ts": _TIMES})

    def _faulty(self, text: str, seq: int) -> "list[str]":
        """What the first member of a channel gets."""
        server = self.server
        if server.held is not None:
            held, server.held = server.held, None
            return [text, held]
        if seq != FAULT_AT:
            return [text]
        if server.fault == "swap":
            server.held = text
        if server.fault == "close":
            self.request.shutdown(socket.SHUT_RDWR)
        foreign = re.sub(r'"room:[^"]*"', '"room:other"', text, count=1)
        return {"lose": [], "swap": [], "repeat": [text, text], "foreign": [text, foreign]}.get(server.fault, [text])

    def _reply(self, join_ref: str | None, ref: str, topic: str, response: "dict[str, Any]") -> None:
        self.say(_compact([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}]))


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
