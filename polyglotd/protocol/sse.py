"""A channel as Server-Sent Events (WHATWG HTML, 9.2): frames out, and the `Last-Event-ID` that comes back in.

Events have no name, so that `onmessage` of an EventSource gets them; `reset`, `erased` and `system` are named. Used
for connections of the serializer `sse`, which have no joins and no replies.
"""

import re

from polyglotd.protocol.cursor import format_cursor, parse_cursor
from polyglotd.protocol.json_text import encode_str

KEEP_ALIVE = b":\n"
"""A comment: tells proxies, and us, that the stream is alive. No blank line: some clients take one for an event."""

# A publisher's JSON may hold any of these as whitespace. To SSE each ends a line.
_LINE_END = re.compile(rb"\r\n|\r|\n")


def encode_event(epoch: str, seq: int, envelope: bytes) -> bytes:
    return b"id: %b\n%b" % (format_cursor(epoch, seq).encode(), _data(envelope))


def encode_reset(epoch: str, seq: int) -> bytes:
    """The stream could not be resumed: it begins anew in `epoch`, where the channel is at `seq`.

    It has no id: a client that is cut off before the events that follow must be told again.
    """
    return b"event: reset\n" + _data(b'{"epoch":%b,"seq":%d}' % (encode_str(epoch), seq))


def encode_erased(payload: bytes) -> bytes:
    """What was sent before is to be shown no more. It has no id: it is no place in the channel."""
    return b"event: erased\n" + _data(payload)


def encode_notice(code: str, message: str) -> bytes:
    return b"event: system\n" + _data(b'{"code":%b,"message":%b}' % (encode_str(code), encode_str(message)))


def parse_last_event_id(value: str) -> tuple[str, int] | None:
    """(epoch, seq) to resume after; None where the value is not an id of ours."""
    return parse_cursor(value.strip())


def _data(payload: bytes) -> bytes:
    return b"data: %b\n\n" % _LINE_END.sub(b"\ndata: ", payload)
