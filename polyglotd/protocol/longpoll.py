"""Phoenix's long-poll: what stands in the bodies. The session, its queue and the waiting are the gateway's.

The HTTP status is always 200; the body's `status` is what counts. phoenix.js goes on after 200, 204 and 410 (open a
session again), closes after 403, and closes and retries after 500; any other number it does not know.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from polyglotd.protocol.json_text import encode_str

NDJSON = "application/x-ndjson"

TAKEN = b'{"status":200}'
"""The answer to a POST whose frames were taken."""
REFUSED = b'{"status":403}'
"""The connect was refused."""
GONE = b'{"status":410}'
"""The answer to a POST without a session."""
FAILED = b'{"status":500}'
"""Not now: the client comes back by itself."""


@dataclass(frozen=True, slots=True)
class Posted:
    """Frames of one sort that came one after the other in a POST."""

    frames: list[bytes]
    binary: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    user: str | None
    session: str | None  # None: there is no session, or none any more


def opened(session: str) -> bytes:
    """The answer to a GET without a session: here is a new one."""
    return b'{"status":410,"token":%b,"messages":[]}' % encode_str(session)


def polled(session: str, frames: Sequence[bytes]) -> bytes:
    """The answer to a GET with a session: frames as strings; 204 where none came in time."""
    return b'{"status":%d,"token":%b,"messages":[%b]}' % (
        200 if frames else 204,
        encode_str(session),
        b",".join(encode_str(frame.decode()) for frame in frames),
    )


def posted(body: bytes, content_type: str | None) -> list[Posted]:
    """The frames of a POST, in order: one a line where the type is NDJSON, else the body is one.

    Text frames begin with a bracket, which is no letter of base64; what is neither stays text, and the serializer
    says what is wrong with it.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    lines = body.split(b"\n") if media_type == NDJSON else [body]
    frames = [_frame(stripped) for line in lines if (stripped := line.strip())]
    return [Posted([data for data, _ in run], binary) for binary, run in groupby(frames, key=lambda frame: frame[1])]


def split_tokens(tokens: Sequence[str], is_session: Callable[[str], bool]) -> Tokens:
    """Whose the `token` parameters of a query are, given in their order.

    The session's is appended after the connect params, where a user's token may stand under the same name. One alone
    is the session's if there is such a session, else the user's.
    """
    if not tokens:
        return Tokens(None, None)
    last = tokens[-1]
    if is_session(last):
        return Tokens(tokens[0] if len(tokens) > 1 else None, last)
    return Tokens(tokens[0], None)


def _frame(line: bytes) -> tuple[bytes, bool]:
    if line[:1] in (b"[", b"{"):
        return line, False
    try:
        return base64.b64decode(line, validate=True), True
    except binascii.Error:
        return line, False
