"""The opening handshake of a WebSocket, without I/O: RFC 6455 section 4.2, and what Phoenix adds to it.

Called by `socket_connection` with a whole request head. Decides what needs no app: whether the handshake is sound
and the serializer known. Who may connect is the gateway's matter.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from urllib.parse import parse_qs

import h11

from polyglotd.model import Forbidden, Malformed
from polyglotd.plane.asgi.request_head import problem_answer
from polyglotd.protocol.serializers import Serializer, UnknownSerializer, serializer_for

SUBPROTOCOL = "phoenix"  # the client names it beside its authToken; the token's entry is never answered
VERSION = b"13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # 1.3


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A sound handshake."""

    query: str  # may hold a token: never logged
    headers: list[tuple[str, str]]  # names in lower case, order kept
    serializer: Serializer
    key: bytes
    subprotocol: str | None  # to be answered


class HandshakeRefused(Exception):
    """`answer` is the whole HTTP response."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("handshake refused")
        self.answer = answer


def read_upgrade(head: bytes) -> Upgrade:
    """Raises HandshakeRefused: 400 where it is no handshake, 426 for another version, 403 for an unknown `vsn`."""
    request = _parse(head)
    values: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value)
    tokens = {name: _tokens(values.get(name, [])) for name in (b"connection", b"upgrade", b"sec-websocket-protocol")}
    if request.http_version < b"1.1":
        raise _bad("a WebSocket needs HTTP/1.1 (RFC 6455, 4.2.1)")
    if b"upgrade" not in map(bytes.lower, tokens[b"connection"]):
        raise _bad("`Connection: Upgrade` is missing (RFC 6455, 4.2.1)")
    if b"websocket" not in map(bytes.lower, tokens[b"upgrade"]):
        raise _bad("`Upgrade: websocket` is missing (RFC 6455, 4.2.1)")
    if b"content-length" in values or b"transfer-encoding" in values:
        raise _bad("a handshake has no body")
    if values.get(b"sec-websocket-version") != [VERSION]:
        refusal = Malformed("this server speaks version 13 (RFC 6455, 4.4)", field="sec-websocket-version")
        raise HandshakeRefused(problem_answer(refusal, 426, [("sec-websocket-version", VERSION.decode())]))
    key = values.get(b"sec-websocket-key", [])
    if len(key) != 1 or not _is_key(key[0]):
        raise _bad("Sec-WebSocket-Key is 16 bytes in base64, once (RFC 6455, 4.1)")
    _, _, query = request.target.decode("ascii").partition("?")
    offered = [token.decode("latin-1") for token in tokens[b"sec-websocket-protocol"]]
    return Upgrade(
        query=query,
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers],
        serializer=_serializer(query),
        key=key[0],
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
    )


def accept_answer(upgrade: Upgrade) -> bytes:
    """The 101 after which frames follow."""
    digest = base64.b64encode(hashlib.sha1(upgrade.key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + digest,
    ]
    if upgrade.subprotocol is not None:
        lines.append(b"sec-websocket-protocol: " + upgrade.subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def _parse(head: bytes) -> h11.Request:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError:
        raise _bad("not a request of HTTP/1.1") from None
    if not isinstance(event, h11.Request):
        raise _bad("not a request of HTTP/1.1")
    return event


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip() for value in values for token in value.split(b",") if token.strip()]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _serializer(query: str) -> Serializer:
    vsn = parse_qs(query, keep_blank_values=True, errors="replace").get("vsn")
    try:
        return serializer_for(None if vsn is None else vsn[-1])  # phoenix.js puts its own last
    except UnknownSerializer as error:
        raise HandshakeRefused(problem_answer(Forbidden(str(error)), 403)) from None


def _bad(message: str) -> HandshakeRefused:
    return HandshakeRefused(problem_answer(Malformed(message, field="handshake"), 400))
