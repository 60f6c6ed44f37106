"""A closed loop of HTTP requests over kept-alive connections, as lean as Python allows, so that the server is what
is measured. One request is in flight on each connection."""

import selectors
import socket
import time
from dataclasses import dataclass, field


@dataclass
class Load:
    """What a run of the loop did."""

    requests: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post(host: str, port: int, path: str, body: bytes, *, connections: int, seconds: float) -> Load:
    """POST the same body again and again for some seconds."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"X-API-Key: valid_key_chat-app\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    load = Load()
    with selectors.DefaultSelector() as selector:
        sockets = [socket.create_connection((host, port)) for _ in range(connections)]
        try:
            for connection in sockets:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, bytearray())
                connection.sendall(request)
            begin = time.monotonic()
            while (elapsed := time.monotonic() - begin) < seconds:
                for key, _ in selector.select(timeout=1):
                    connection = key.fileobj  # type: ignore[assignment]
                    if _answered(connection, key.data, load):
                        connection.sendall(request)
            load.seconds = elapsed
        finally:
            for connection in sockets:
                connection.close()
    return load


def _answered(connection: socket.socket, buffer: bytearray, load: Load) -> bool:
    """Read what is there; whether a whole answer has come."""
    received = connection.recv(1 << 18)
    if not received:
        raise ConnectionError("the server closed a kept-alive connection")
    buffer += received
    head, separator, body = bytes(buffer).partition(b"\r\n\r\n")
    if not separator:
        return False
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    if len(body) < length:
        return False
    buffer.clear()
    status = int(head[9:12])
    load.requests += 1
    load.statuses[status] = load.statuses.get(status, 0) + 1
    return True
