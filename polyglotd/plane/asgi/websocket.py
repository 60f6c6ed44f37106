"""WebSocket framing, the server's side, without I/O: RFC 6455 sections 5 and 7.

Fed by a connection's reader with what the socket gave; yields whole messages and control frames. The writer uses the
encoders. Not here: the opening handshake (`handshake.py`), and whether a text is UTF-8, which the serializers check
with the rest of a message (both faults close with 1007).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS = 1005  # never on the wire: a close frame without a code
ABNORMAL = 1006  # never on the wire: no close frame at all
INVALID_DATA = 1007
TOO_BIG = 1009
INTERNAL_ERROR = 1011

CONTROL_BYTES_MAX = 125  # 5.5
_CLOSE_CODES_RECEIVABLE = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))  # 7.4.1, and 1012-1014 of IANA
_CLOSE_CODES_OF_OTHERS = range(3000, 5000)  # 7.4.2: libraries' and private ones

_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_LENGTH_16, _LENGTH_64 = 126, 127


class Opcode(IntEnum):
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_OPCODES = {int(opcode): opcode for opcode in Opcode}


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, put together of its fragments. A text may still not be UTF-8."""

    binary: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's close frame. Nothing that follows it is read."""

    code: int  # NO_STATUS where it has none
    reason: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke the protocol: close with this code. Nothing that follows it is read."""

    code: int
    reason: str


Received = Message | Ping | Pong | Close | Fault


class _Broken(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Head:
    fin: bool
    opcode: Opcode
    size: int
    mask: bytes


def _read_head(buffer: bytearray) -> tuple[_Head, int] | None:
    """The head of a client's frame and its length in bytes; None where more is needed (5.2)."""
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    if first & _RESERVED:
        raise _Broken(PROTOCOL_ERROR, "a reserved bit is set (RFC 6455, 5.2)")
    opcode = _OPCODES.get(first & _OPCODE)
    if opcode is None:
        raise _Broken(PROTOCOL_ERROR, "unknown opcode (RFC 6455, 5.2)")
    if not second & _MASKED:
        raise _Broken(PROTOCOL_ERROR, "a client's frame must be masked (RFC 6455, 5.1)")
    fin, size, at = bool(first & _FIN), second & _LENGTH, 2
    if opcode >= Opcode.CLOSE and (not fin or size > CONTROL_BYTES_MAX):
        raise _Broken(PROTOCOL_ERROR, "a control frame is whole and has at most 125 bytes (RFC 6455, 5.5)")
    if size == _LENGTH_16:
        if len(buffer) < 4:
            return None
        (size,), at = struct.unpack_from("!H", buffer, 2), 4
        if size < _LENGTH_16:
            raise _Broken(PROTOCOL_ERROR, "a length is in its shortest form (RFC 6455, 5.2)")
    elif size == _LENGTH_64:
        if len(buffer) < 10:
            return None
        (size,), at = struct.unpack_from("!Q", buffer, 2), 10
        if size >> 63 or size < 1 << 16:
            raise _Broken(PROTOCOL_ERROR, "a length is in its shortest form (RFC 6455, 5.2)")
    if len(buffer) < at + 4:
        return None
    return _Head(fin, opcode, size, bytes(buffer[at : at + 4])), at + 4


def _unmask(mask: bytes, data: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _read_close(data: bytes) -> Close:
    if not data:
        return Close(NO_STATUS, "")
    if len(data) == 1:
        raise _Broken(PROTOCOL_ERROR, "a close code has two bytes (RFC 6455, 5.5.1)")
    (code,) = struct.unpack_from("!H", data)
    if code not in _CLOSE_CODES_RECEIVABLE and code not in _CLOSE_CODES_OF_OTHERS:
        raise _Broken(PROTOCOL_ERROR, "not a close code (RFC 6455, 7.4)")
    try:
        return Close(code, data[2:].decode())
    except UnicodeDecodeError:
        raise _Broken(INVALID_DATA, "a close reason is UTF-8 (RFC 6455, 5.5.1)") from None


class FrameReader:
    """One connection's incoming bytes. Holds at most one message of `message_bytes_max` and one frame's head."""

    def __init__(self, message_bytes_max: int) -> None:
        self.message_bytes_max = message_bytes_max  # may be changed: it holds for the frames that follow
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._opcode: Opcode | None = None  # of the message under way
        self._message = bytearray()
        self._over = False

    @property
    def is_over(self) -> bool:
        """A Close or a Fault was read."""
        return self._over

    def feed(self, data: bytes) -> list[Received]:
        """What these bytes complete, in order; a Close or a Fault is the last there will ever be."""
        received: list[Received] = []
        if self._over:
            return received
        self._buffer += data
        try:
            while not self._over and self._take_frame(received):
                pass
        except _Broken as fault:
            received.append(Fault(fault.code, fault.reason))
            self._over = True
        if self._over:
            self._buffer.clear()
            self._message.clear()
        return received

    def _take_frame(self, received: list[Received]) -> bool:
        """Take the next frame out of the buffer; False where it is not whole yet."""
        if self._head is None:
            found = _read_head(self._buffer)
            if found is None:
                return False
            self._head, size = found
            self._check(self._head)
            del self._buffer[:size]
        head = self._head
        if len(self._buffer) < head.size:
            return False
        data = _unmask(head.mask, bytes(self._buffer[: head.size]))
        del self._buffer[: head.size]
        self._head = None
        if head.opcode is Opcode.PING:
            received.append(Ping(data))
        elif head.opcode is Opcode.PONG:
            received.append(Pong(data))
        elif head.opcode is Opcode.CLOSE:
            received.append(_read_close(data))
            self._over = True
        else:
            self._take_fragment(head, data, received)
        return True

    def _check(self, head: _Head) -> None:
        """Refuse from the head alone, before any of the payload is held."""
        if head.opcode >= Opcode.CLOSE:
            return
        if (head.opcode is Opcode.CONTINUATION) is (self._opcode is None):
            raise _Broken(PROTOCOL_ERROR, "fragments of one message follow each other (RFC 6455, 5.4)")
        if len(self._message) + head.size > self.message_bytes_max:
            raise _Broken(TOO_BIG, f"a message has at most {self.message_bytes_max} bytes")

    def _take_fragment(self, head: _Head, data: bytes, received: list[Received]) -> None:
        if self._opcode is None:
            if head.fin:
                received.append(Message(head.opcode is Opcode.BINARY, data))
                return
            self._opcode = head.opcode
        self._message += data
        if head.fin:
            received.append(Message(self._opcode is Opcode.BINARY, bytes(self._message)))
            self._opcode = None
            self._message = bytearray()


def encode_frame(opcode: Opcode, data: bytes) -> bytes:
    """One unmasked, whole frame."""
    size = len(data)
    if size < _LENGTH_16:
        return struct.pack("!BB", _FIN | opcode, size) + data
    if size < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, _LENGTH_16, size) + data
    return struct.pack("!BBQ", _FIN | opcode, _LENGTH_64, size) + data


def encode_text(data: bytes) -> bytes:
    return encode_frame(Opcode.TEXT, data)


def encode_close(code: int, reason: str) -> bytes:
    """A close frame. The reason is cut to what a control frame holds, at a character's border."""
    if code == NO_STATUS:
        return encode_frame(Opcode.CLOSE, b"")
    text = reason.encode()[: CONTROL_BYTES_MAX - 2].decode(errors="ignore").encode()
    return encode_frame(Opcode.CLOSE, struct.pack("!H", code) + text)
