"""The bytes of a log record: docs/log-format.md as code, shared with every other writer by tests/vectors/.

Called by `segments` (which writes), `replay` and `segment_reader` (which read). Pure: no files, no positions.

    record  = length u32, crc u32 (CRC-32C of the body), body     integers are little-endian
    body    = type u8, the fields of its type
"""

import struct
from functools import lru_cache
from typing import NamedTuple, get_args

from google_crc32c import value as crc32c

from polyglotd.log.interface import (
    AppForgotten,
    EpochBegun,
    ErasedWhat,
    Erasure,
    Meter,
    PresenceChanged,
    PresenceWhat,
    QuotaReached,
    ReadRecord,
)
from polyglotd.model import ERASED, Event
from polyglotd.model.latency import Latency

FORMAT_VERSION = 1
BODY_BYTES_MAX = 16 << 20  # a payload has at most 8 MiB; a longer length is no length
SKIPPABLE_TYPE_MIN = 128  # an unknown type from here on may be passed over

SEGMENT, EVENT, METER, EPOCH_BEGUN, APP_FORGOTTEN, PRESENCE, ERASE, QUOTA = range(8)
BLANK = 128  # zeros: what was there is of nobody any more
ID_GIVEN = 1  # flags of an event: the id is the publisher's own
WAS_ERASED = 2  # a tombstone

FRAME = struct.Struct("<II")
FRAME_BYTES = FRAME.size
# The whole fixed part of an event, frame included: length, crc, type, flags, id, user, type, seq, ts, app, channel,
# epoch. The last three lengths and the three texts after them are one run of bytes, which names a channel's epoch.
EVENT_HEAD = struct.Struct("<IIBBBBBQQBBB")
EVENT_HEAD_BYTES = EVENT_HEAD.size
KEY_OFFSET = EVENT_HEAD_BYTES - 3

_EVENT_BODY = struct.Struct("<BBBBBQQ")
_SEGMENT_BODY = struct.Struct("<BBQQBB")
_METER_BODY = struct.Struct("<BBQQQQQ")
_METER_LATENCY = struct.Struct("<QB")  # after the app: sum, and how many buckets follow
_METER_BUCKET = struct.Struct("<BQ")
_EPOCH_BODY = struct.Struct("<BBBB")
_FORGOTTEN_BODY = struct.Struct("<BBB")
_PRESENCE_BODY = struct.Struct("<BBBBBQ")
_PRESENCE_WHATS: tuple[PresenceWhat, ...] = get_args(PresenceWhat)  # by their code
_QUOTA_BODY = struct.Struct("<BBBBBQQQ")
_ERASE_BODY = struct.Struct("<BBBBBBBQQQ")
_ERASED_WHATS: tuple[ErasedWhat, ...] = get_args(ErasedWhat)  # the same


class BadRecord(Exception):
    """These bytes are no record: torn, damaged, or of an unknown type. The text says which."""


class SegmentHead(NamedTuple):
    """The first record of a segment."""

    prior_end: int  # where the segment before ended; its own first position where nothing was lost between them
    created_us: int
    log_id: str
    renewed: str = ""  # where not empty, every channel's past ends here, and this is the log's own epoch


def channel_key(app_id: str, channel: str, epoch: str) -> bytes:
    """What names a channel's epoch inside an event record."""
    app, name, epoch_text = app_id.encode(), channel.encode(), epoch.encode()
    return bytes((len(app), len(name), len(epoch_text))) + app + name + epoch_text


@lru_cache(maxsize=4096)  # whoever reads the log meets few channels many times
def split_key(key: bytes) -> tuple[str, str, str]:
    """The app, channel and epoch of a `channel_key`."""
    app_end = 3 + key[0]
    channel_end = app_end + key[1]
    return key[3:app_end].decode(), key[app_end:channel_end].decode(), key[channel_end:].decode()


def _framed(body: bytes) -> bytes:
    return FRAME.pack(len(body), crc32c(body)) + body


def encode_event_record(event: Event, key: bytes) -> bytes:
    """`key`: the `channel_key` of the event. Raises ValueError for texts that no rule of the contract allows."""
    user_id = event.user_id
    if user_id == "":
        raise ValueError("an event's user is absent or not empty")
    event_id, user, type_ = event.id.encode(), b"" if user_id is None else user_id.encode(), event.type.encode()
    try:
        head = _EVENT_BODY.pack(
            EVENT,
            0 if event_id.startswith(b"evt_") else ID_GIVEN,
            len(event_id),
            len(user),
            len(type_),
            event.seq,
            event.ts_us,
        )
    except struct.error as error:
        raise ValueError(f"an event does not fit its record: {error}") from error
    body = b"".join((head, key, event_id, user, type_, event.data))
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"an event has at most {BODY_BYTES_MAX} bytes")
    return FRAME.pack(len(body), crc32c(body)) + body


def encode_meter(meter: Meter) -> bytes:
    app = meter.app_id.encode()
    counts = (meter.ts_us, meter.events, meter.bytes, meter.deliveries, meter.connections_peak)
    latency = meter.latency
    try:
        tail = _METER_LATENCY.pack(latency.sum_us, len(latency.buckets))
        tail += b"".join(_METER_BUCKET.pack(bucket, count) for bucket, count in sorted(latency.buckets.items()))
        return _framed(_METER_BODY.pack(METER, len(app), *counts) + app + tail)
    except struct.error as error:
        raise ValueError(f"a meter does not fit its record: {error}") from error


def encode_epoch_begun(record: EpochBegun) -> bytes:
    texts = (record.app_id.encode(), record.channel.encode(), record.epoch.encode())
    return _framed(_EPOCH_BODY.pack(EPOCH_BEGUN, *map(len, texts)) + b"".join(texts))


def encode_app_forgotten(record: AppForgotten) -> bytes:
    app, epoch = record.app_id.encode(), record.epoch.encode()
    return _framed(_FORGOTTEN_BODY.pack(APP_FORGOTTEN, len(app), len(epoch)) + app + epoch)


def encode_presence(record: PresenceChanged) -> bytes:
    texts = (record.app_id.encode(), record.channel.encode(), record.user_id.encode())
    code = _PRESENCE_WHATS.index(record.what)
    return _framed(_PRESENCE_BODY.pack(PRESENCE, code, *map(len, texts), record.ts_us) + b"".join(texts))


def encode_quota_reached(record: QuotaReached) -> bytes:
    texts = (record.app_id.encode(), record.quota.encode(), record.month.encode())
    counts = (record.limit, record.used, record.ts_us)
    try:
        return _framed(_QUOTA_BODY.pack(QUOTA, record.percent, *map(len, texts), *counts) + b"".join(texts))
    except struct.error as error:
        raise ValueError(f"a quota does not fit its record: {error}") from error


def encode_erasure(record: Erasure) -> bytes:
    texts = (record.erasure_id, record.app_id, record.channel, record.epoch, record.user_id or "")
    encoded = [text.encode() for text in texts]
    try:
        fixed = _ERASE_BODY.pack(
            ERASE,
            _ERASED_WHATS.index(record.what),
            *map(len, encoded),
            record.first_seq,
            record.last_seq,
            record.ts_us,
        )
    except struct.error as error:
        raise ValueError(f"an erasure does not fit its record: {error}") from error
    return _framed(fixed + b"".join(encoded))


def encode_tombstone(buffer: bytes, offset: int, *, keep_user: bool) -> bytes:
    """What takes the place of the whole event record at `offset`, byte for byte as long.

    `keep_user`: where the id is the publisher's own, so that a repeat is still known as one after a restart.
    """
    length, _, kind, flags, event_id, user, _, seq, ts_us, app, channel, epoch = EVENT_HEAD.unpack_from(
        buffer, offset
    )
    assert kind == EVENT
    user_at = offset + EVENT_HEAD_BYTES + app + channel + epoch + event_id
    kept = user if keep_user and flags & ID_GIVEN else 0
    fixed = _EVENT_BODY.pack(EVENT, flags | WAS_ERASED, event_id, kept, 0, seq, ts_us)
    body = (fixed + buffer[offset + KEY_OFFSET : user_at + kept]).ljust(length, b"\0")
    return _framed(body)


def encode_blank(offset: int, end: int) -> bytes:
    """What takes the place of the whole record at offset..end where nothing of it is to be known."""
    return _framed(bytes((BLANK,)).ljust(end - offset - FRAME_BYTES, b"\0"))


def encode_segment_head(head: SegmentHead) -> bytes:
    log_id, renewed = head.log_id.encode(), head.renewed.encode()
    sizes = len(log_id), len(renewed)
    fixed = _SEGMENT_BODY.pack(SEGMENT, FORMAT_VERSION, head.prior_end, head.created_us, *sizes)
    return _framed(fixed + log_id + renewed)


def check_record(buffer: bytes, offset: int) -> int:
    """The offset after the record at `offset`, whose checksum is right. Raises `BadRecord`."""
    body = offset + FRAME_BYTES
    if body > len(buffer):
        raise BadRecord("a record's head is cut short")
    length, crc = FRAME.unpack_from(buffer, offset)
    if not 0 < length <= BODY_BYTES_MAX:
        raise BadRecord(f"a record can't have {length} bytes")
    end: int = body + length
    if end > len(buffer):
        raise BadRecord("a record is cut short")
    if crc32c(buffer[body:end]) != crc:
        raise BadRecord("a record's checksum is wrong")
    return end


def decode_record(buffer: bytes, offset: int, end: int) -> ReadRecord | SegmentHead | None:
    """The record at offset..end, which `check_record` has passed. None: of a type that may be passed over.

    Raises `BadRecord` where the checksum is right and the content is not: a writer of another version, or a bug.
    """
    try:
        return _decode(buffer, offset, end)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise BadRecord(f"a record's content does not fit its type: {error}") from error


def _decode(buffer: bytes, offset: int, end: int) -> ReadRecord | SegmentHead | None:
    body = offset + FRAME_BYTES
    kind = buffer[body]
    if kind == EVENT:
        return _decode_event(buffer, offset, end)
    if kind == METER:
        _, size, ts_us, events, size_bytes, deliveries, peak = _METER_BODY.unpack_from(buffer, body)
        (app_id,), tail = _texts(buffer, body + _METER_BODY.size, end, size)
        return Meter(app_id, ts_us, events, size_bytes, deliveries, peak, _meter_latency(buffer, tail, end))
    if kind == EPOCH_BEGUN:
        _, *sizes = _EPOCH_BODY.unpack_from(buffer, body)
        texts, _ = _texts(buffer, body + _EPOCH_BODY.size, end, *sizes)
        return EpochBegun(*texts)
    if kind == APP_FORGOTTEN:
        _, *sizes = _FORGOTTEN_BODY.unpack_from(buffer, body)
        texts, _ = _texts(buffer, body + _FORGOTTEN_BODY.size, end, *sizes)
        return AppForgotten(*texts)
    if kind == PRESENCE:
        _, code, *sizes, ts_us = _PRESENCE_BODY.unpack_from(buffer, body)
        (app_id, channel, user_id), _ = _texts(buffer, body + _PRESENCE_BODY.size, end, *sizes)
        return PresenceChanged(_PRESENCE_WHATS[code], app_id, channel, user_id, ts_us)
    if kind == ERASE:
        _, what, *sizes, first_seq, last_seq, ts_us = _ERASE_BODY.unpack_from(buffer, body)
        texts, _ = _texts(buffer, body + _ERASE_BODY.size, end, *sizes)
        erasure_id, app_id, channel, epoch, user_id = texts
        return Erasure(
            erasure_id, app_id, _ERASED_WHATS[what], channel, epoch, first_seq, last_seq, user_id or None, ts_us
        )
    if kind == QUOTA:
        _, percent, *sizes, limit, used, ts_us = _QUOTA_BODY.unpack_from(buffer, body)
        (app_id, quota, month), _ = _texts(buffer, body + _QUOTA_BODY.size, end, *sizes)
        return QuotaReached(app_id, quota, month, percent, limit, used, ts_us)
    if kind == SEGMENT:
        version = buffer[body + 1]
        if version != FORMAT_VERSION:
            raise BadRecord(f"the segment has format {version}; this release reads {FORMAT_VERSION}")
        _, _, prior_end, created_us, *sizes = _SEGMENT_BODY.unpack_from(buffer, body)
        (log_id, renewed), _ = _texts(buffer, body + _SEGMENT_BODY.size, end, *sizes)
        return SegmentHead(prior_end, created_us, log_id, renewed)
    if kind < SKIPPABLE_TYPE_MIN:
        raise BadRecord(f"a record has type {kind}, which this release does not know")
    return None


def _decode_event(buffer: bytes, offset: int, end: int) -> Event:
    head = EVENT_HEAD.unpack_from(buffer, offset)
    id_at = offset + EVENT_HEAD_BYTES + head[9] + head[10] + head[11]
    user_at = id_at + head[4]
    type_at = user_at + head[5]
    data_at = type_at + head[6]
    if data_at > end:
        raise IndexError("the texts reach beyond the record")
    app_id, channel, epoch = split_key(buffer[offset + KEY_OFFSET : id_at])
    erased = head[3] & WAS_ERASED
    return Event(
        id=buffer[id_at:user_at].decode(),
        app_id=app_id,
        channel=channel,
        epoch=epoch,
        seq=head[7],
        type=ERASED if erased else buffer[type_at:data_at].decode(),
        data=b"null" if erased else buffer[data_at:end],
        user_id=None if erased else buffer[user_at:type_at].decode() or None,
        ts_us=head[8],
    )


def _meter_latency(buffer: bytes, start: int, end: int) -> Latency:
    """What follows the app: nothing, in meters of releases before."""
    if start == end:
        return Latency()
    sum_us, used = _METER_LATENCY.unpack_from(buffer, start)
    start += _METER_LATENCY.size
    stop = start + used * _METER_BUCKET.size
    if stop > end:
        raise IndexError("the buckets reach beyond the record")
    return Latency(sum_us, dict(_METER_BUCKET.iter_unpack(buffer[start:stop])))


def _texts(buffer: bytes, start: int, end: int, *sizes: int) -> tuple[list[str], int]:
    """The texts of these sizes that stand one after the other, and where the last ends."""
    texts = []
    for size in sizes:
        stop = start + size
        texts.append(buffer[start:stop].decode())
        start = stop
    if start > end:
        raise IndexError("the texts reach beyond the record")
    return texts, start
