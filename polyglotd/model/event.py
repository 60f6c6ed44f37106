"""The event: one published message, and its JSON envelope (section 2 of the contract)."""

import functools
import time

import msgspec

_encode_str = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as it was admitted. `data` is the publisher's own JSON text, UTF-8, never rebuilt."""

    id: str
    app_id: str
    channel: str
    epoch: str
    seq: int
    type: str
    data: bytes
    user_id: str | None
    ts_us: int  # microseconds since 1970, UTC


ERASED = "erased"
"""The type of what stands in the place of an erased event."""


def tombstone(event: Event) -> Event:
    """What takes an erased event's place: the same id, seq and time, and nothing of who said what."""
    return Event(
        id=event.id,
        app_id=event.app_id,
        channel=event.channel,
        epoch=event.epoch,
        seq=event.seq,
        type=ERASED,
        data=b"null",
        user_id=None,
        ts_us=event.ts_us,
    )


def now_us() -> int:
    """Wall clock in microseconds since 1970."""
    return time.time_ns() // 1000


@functools.lru_cache(maxsize=256)  # events of one batch share it, and an event's envelope and answer do
def format_ts(ts_us: int) -> str:
    """RFC 3339 in UTC with six digits: `2026-11-23T08:15:30.123456Z`."""
    seconds, us = divmod(ts_us, 1_000_000)
    return f"{_format_second(seconds)}.{us:06d}Z"


@functools.lru_cache(maxsize=64)  # events of one second share it
def _format_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def encode_event(event: Event, *, with_epoch: bool = False) -> bytes:
    """The envelope as JSON. `with_epoch`: as events of `local-first` kinds carry it in a cluster."""
    return b'{"id":%b,"app_id":%b,"channel":%b,"type":%b,"data":%b,"seq":%d,%b"meta":{"user_id":%b,"ts":"%b"}}' % (
        _encode_str(event.id),
        _encode_str(event.app_id),
        _encode_str(event.channel),
        _encode_str(event.type),
        event.data,
        event.seq,
        b'"epoch":%b,' % _encode_str(event.epoch) if with_epoch else b"",
        b"null" if event.user_id is None else _encode_str(event.user_id),
        format_ts(event.ts_us).encode(),
    )


def envelope_bytes(event: Event) -> int:
    """`len(encode_event(event))`, at a fraction of its cost: bounds count envelopes that may never be built."""
    return (
        _FIXED
        + len(event.id)  # ids, app ids and types are ASCII that JSON does not escape
        + len(event.app_id)
        + len(event.type)
        + len(_encode_str(event.channel))
        + len(_encode_str(event.user_id))
        + len(event.data)
        + len(str(event.seq))
    )


_EMPTY = Event(id="", app_id="", channel="", epoch="", seq=0, type="", data=b"", user_id=None, ts_us=0)
_FIXED = len(encode_event(_EMPTY)) - len('""') - len("0") - len("null")  # channel, seq, user: counted above


def encode_signal(app_id: str, channel: str, type_: str, data: bytes, user_id: str | None, ts_us: int) -> bytes:
    """The payload of a `signal`: the envelope of an event that is not kept, so without id and seq."""
    return b'{"app_id":%b,"channel":%b,"type":%b,"data":%b,"meta":{"user_id":%b,"ts":"%b"}}' % (
        _encode_str(app_id),
        _encode_str(channel),
        _encode_str(type_),
        data,
        b"null" if user_id is None else _encode_str(user_id),
        format_ts(ts_us).encode(),
    )
