"""A request's head as far as the listener must understand it: where it ends, and whose the connection is.

Pure. The head is only looked at (the connection may be handed on with nothing read), so anything doubtful is not
ours: the HTTP server that gets it answers malformed requests in its own words.
"""

from enum import Enum, auto
from http import HTTPStatus

import msgspec

from polyglotd.model import Refusal

SOCKET_PATH = b"/socket/websocket"
_METHOD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~0123456789")


class Owner(Enum):
    PLANE = auto()  # an upgrade of SOCKET_PATH
    GATEWAY = auto()  # everything else


def may_be_http(start: bytes) -> bool:
    """False where no request can begin like this (RFC 9110, 5.6.2: a method is a token), as TLS on a plain port."""
    method, space, _ = start.lstrip(b"\r\n").partition(b" ")
    return all(byte in _METHOD_BYTES for byte in method) and (bool(method) or not space)


def head_size(data: bytes) -> int | None:
    """Bytes up to and with the empty line; None where it has not come yet. Bare line feeds count (RFC 9112, 2.2)."""
    ends = [at + len(mark) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n") if (at := data.find(mark)) >= 0]
    return min(ends) if ends else None


def owner_of(head: bytes) -> Owner:
    lines = head.split(b"\n")
    target = lines[0].strip().removeprefix(b"GET ").partition(b" ")[0]
    if not lines[0].startswith(b"GET ") or target.partition(b"?")[0] != SOCKET_PATH:
        return Owner.GATEWAY
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"upgrade" and b"websocket" in value.lower():
            return Owner.PLANE
    return Owner.GATEWAY


def answer(status: int, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """A whole response that ends the connection."""
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def problem_answer(refusal: Refusal, status: int, headers: list[tuple[str, str]] | None = None) -> bytes:
    """The same with problem details (RFC 9457)."""
    body = {"type": "about:blank", "title": _phrase(status), "status": status, "detail": refusal.message}
    encoded = msgspec.json.encode(body | {"code": refusal.reason} | refusal.details())
    return answer(status, [("content-type", "application/problem+json"), *(headers or [])], encoded)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
