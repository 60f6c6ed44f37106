"""A request's body, read whole within a bound and a deadline, or not at all.

A body that is cut short arrives as a disconnect and is never taken for a whole one.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from polyglotd.gateway.http.faults import AmbiguousBody, BodyTimeout, PeerGone
from polyglotd.model import PayloadTooLarge, UnsupportedMediaType

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

DEADLINE_S = 10.0  # for the first byte and all the pauses together …
BYTES_PER_S_MIN = 65_536  # … and a second more for each so many bytes that came: a drip does not buy time


def check_framing(headers: list[tuple[str, str]]) -> None:
    """Raises `AmbiguousBody` for a head with two opinions on where its body ends (RFC 9112, 6.3: smuggling)."""
    names = [name for name, _ in headers]
    if "transfer-encoding" in names and "content-length" in names:
        raise AmbiguousBody("Content-Length and Transfer-Encoding exclude each other", field="Content-Length")


def check_json_type(headers: list[tuple[str, str]]) -> None:
    """Raises `UnsupportedMediaType` unless the body says that it is JSON, which no page can send unasked."""
    types = [value for name, value in headers if name == "content-type"]
    media_type, _, parameters = (types[0] if len(types) == 1 else "").partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise UnsupportedMediaType("send JSON: Content-Type: application/json")


async def read_body(receive: Receive, headers: list[tuple[str, str]], limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises `PayloadTooLarge`, `BodyTimeout`, `PeerGone`."""
    for name, value in headers:
        if name == "content-length" and value.isdecimal() and int(value[:20]) > limit:
            raise _too_large(limit)  # before a byte of it was read
    body = bytearray()
    with trio.move_on_after(DEADLINE_S) as scope:
        begun = trio.current_time()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise PeerGone
            body += message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return bytes(body)
            scope.deadline = begun + DEADLINE_S + len(body) / BYTES_PER_S_MIN
    raise BodyTimeout("the body did not arrive in time")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"a body here has at most {limit} bytes", limit=limit)
