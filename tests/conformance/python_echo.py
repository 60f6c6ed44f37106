"""A server that sends every message back, over the Python plane's handshake and framing; no other part of the plane.

The counterpart of native/tests/echo_tool.cpp, for the same suites: plain blocking calls and a thread per connection.
Prints its port and serves until it is killed.
"""

import contextlib
import socket
import threading

from polyglotd.plane.asgi.handshake import HandshakeRefused, accept_answer, read_upgrade
from polyglotd.plane.asgi.request_head import head_size
from polyglotd.plane.asgi.websocket import (
    INVALID_DATA,
    Close,
    Fault,
    FrameReader,
    Message,
    Opcode,
    Ping,
    Received,
    encode_close,
    encode_frame,
)

READ_BYTES = 64 * 1024
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
HEAD_BYTES_MAX = 16 * 1024


def shake_hands(sock: socket.socket) -> bytes | None:
    """The bytes that followed the head; None where it was refused."""
    data = b""
    while (size := head_size(data)) is None:
        got = sock.recv(4096)
        if not got or len(data) > HEAD_BYTES_MAX:
            return None
        data += got
    try:
        upgrade = read_upgrade(data[:size])
    except HandshakeRefused as refused:
        sock.sendall(refused.answer)
        return None
    sock.sendall(accept_answer(upgrade))
    return data[size:]


def answer(item: Received) -> bytes | None:
    if isinstance(item, Message):
        if not item.binary:
            try:
                item.data.decode()
            except UnicodeDecodeError:
                return encode_close(INVALID_DATA, "a text is UTF-8")
        return encode_frame(Opcode.BINARY if item.binary else Opcode.TEXT, item.data)
    if isinstance(item, Ping):
        return encode_frame(Opcode.PONG, item.data)
    if isinstance(item, Close | Fault):
        return encode_close(item.code, item.reason)
    return None


def echo(sock: socket.socket) -> None:
    data = shake_hands(sock)
    reader = FrameReader(MESSAGE_BYTES_MAX)
    while data is not None:
        for item in reader.feed(data):
            if (frame := answer(item)) is None:
                continue
            sock.sendall(frame)
            if frame[0] & 0x0F == Opcode.CLOSE:
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(READ_BYTES):  # until the peer's end, or its reset would take our word
                    pass
                return
        data = sock.recv(READ_BYTES) or None


def serve(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        echo(sock)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            sock, _ = listening.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
