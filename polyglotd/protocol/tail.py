"""The messages of a tail (the operators' WebSocket): `{event, cursor}`, `{notice: {code, message}}` and `{erased}`.

Used for connections of the serializer `tail`, which have no joins and no replies, and by the gateway for tails of
many channels, whose cursors are others and whose notices may have one too.
"""

from polyglotd.protocol.cursor import LogPlace, format_cursor, format_log_place
from polyglotd.protocol.json_text import encode_str


def encode_event(epoch: str, seq: int, envelope: bytes) -> bytes:
    return b'{"event":%b,"cursor":"%b"}' % (envelope, format_cursor(epoch, seq).encode())


def encode_notice(code: str, message: str) -> bytes:
    return b'{"notice":{"code":%b,"message":%b}}' % (encode_str(code), encode_str(message))


def encode_erased(payload: bytes) -> bytes:
    """What was sent before is to be shown no more."""
    return b'{"erased":%b}' % payload


def encode_reset(epoch: str, seq: int) -> bytes:
    """The tail could not be resumed: events between its cursor and what follows are missing."""
    return encode_notice("reset", f"could not resume; the channel is now at {format_cursor(epoch, seq)}")


def encode_event_at(envelope: bytes, place: LogPlace) -> bytes:
    return b'{"event":%b,"cursor":"%b"}' % (envelope, format_log_place(place).encode())


def encode_notice_at(code: str, message: str, place: LogPlace) -> bytes:
    """The cursor: everything before it that matches was sent, or is not to be had."""
    return b'{"notice":{"code":%b,"message":%b},"cursor":"%b"}' % (
        encode_str(code),
        encode_str(message),
        format_log_place(place).encode(),
    )
