"""Events as rows: what COPY takes, in PostgreSQL's binary format, and what is counted of them meanwhile.

Called by `event_writes` with the events of one batch. A row is joined from byte strings: the fields that most events
share (channel, type, user) are encoded once.
"""

import struct
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from polyglotd.log.interface import ReadRecord
from polyglotd.model import Event, kind_of
from polyglotd.store.interface import RecordRefused
from polyglotd.store.postgres.pool import YEAR_2000_US

INTEGER_MAX = (1 << 63) - 1
TS_MAX_US = 253_370_764_800_000_000  # 9999-01-01: within what all that reads a date can
SHARED_MAX = 50_000  # types and users whose encoding is kept; some MB
PIECE_ROWS = 500  # of a COPY stream: some 80 KiB, which the socket takes without waiting for the server
COLUMNS = "app_id, channel, epoch, seq, ts, id, type, user_id, data, batch"

_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_FIELDS = struct.pack(">h", 10)
_SEQ_TS_ID = struct.Struct(">iqiqi").pack  # seq and ts with their lengths, and the length of id
_LENGTH = struct.Struct(">i").pack
_BATCH = struct.Struct(">iq").pack
_NULL = _LENGTH(-1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Counts = dict[tuple[str, str], tuple[int, int]]
"""By app and month: events, bytes."""
Oldest = dict[tuple[str, str], int]
"""By app and kind: the oldest ts."""


class _Channel:
    """One channel's epoch in a batch."""

    __slots__ = ("app_id", "bytes", "events", "head", "kind", "oldest_us")

    def __init__(self, key: tuple[str, str, str], ts_us: int) -> None:
        self.app_id = key[0]
        self.kind = kind_of(key[1])
        self.head = _FIELDS + b"".join(_field(text) for text in key)
        self.events = 0
        self.bytes = 0
        self.oldest_us = ts_us


class Encoder:
    """Keeps what batches share. For several threads."""

    def __init__(self) -> None:
        self._shared: dict[str | None, bytes] = {}

    def rows(self, events: Sequence[Event], batch: int) -> "Rows":
        if len(self._shared) > SHARED_MAX:
            self._shared = {}  # another thread may be using the old one
        return Rows(events, batch, self._shared)


class Rows:
    """The rows of one batch, made while they are sent. What is counted is right once they are."""

    def __init__(self, events: Sequence[Event], batch: int, shared: dict[str | None, bytes]) -> None:
        self._events = events
        self._batch = batch
        self._shared = shared
        self._channels: dict[tuple[str, str, str], _Channel] = {}
        first_us = min(event.ts_us for event in events)
        last_us = max(event.ts_us for event in events)
        if first_us < 0 or last_us > TS_MAX_US:
            raise OverflowError("time")
        self._month = month_of(first_us) if month_of(first_us) == month_of(last_us) else None
        self._counts: Counts = {}

    def stream(self) -> Iterator[bytes]:
        """A whole COPY stream, in pieces: the server takes the rows of one while those of the next are made.

        Raises UnicodeError, struct.error or OverflowError for an event that can't be a row: see `refusal`.
        """
        yield _COPY_HEAD
        for first in range(0, len(self._events), PIECE_ROWS):
            yield self._encoded(self._events[first : first + PIECE_ROWS])
        yield _COPY_END

    def _encoded(self, events: Sequence[Event]) -> bytes:
        channels, shared = self._channels, self._shared
        many_months = self._month is None
        tail = _BATCH(8, self._batch)
        parts: list[bytes] = []
        add = parts.append
        for event in events:
            seq, ts_us, data, type_, user_id = event.seq, event.ts_us, event.data, event.type, event.user_id
            key = (event.app_id, event.channel, event.epoch)
            known = channels.get(key)
            if known is None:
                known = channels[key] = _Channel(key, ts_us)
            elif ts_us < known.oldest_us:
                known.oldest_us = ts_us
            known.events += 1
            size = len(data)
            known.bytes += size
            if many_months:
                _count(self._counts, known.app_id, month_of(ts_us), 1, size)
            type_field = shared.get(type_)
            if type_field is None:
                type_field = shared[type_] = _field(type_)
            user_field = shared.get(user_id)
            if user_field is None:
                user_field = shared[user_id] = _NULL if user_id is None else _field(user_id)
            encoded = event.id.encode()
            if seq < 0:
                raise OverflowError("seq")
            add(
                b"%b%b%b%b%b%b%b%b"
                % (
                    known.head,
                    _SEQ_TS_ID(8, seq, 8, ts_us - YEAR_2000_US, len(encoded)),
                    encoded,
                    type_field,
                    user_field,
                    _LENGTH(size),
                    data,
                    tail,
                )
            )
        return b"".join(parts)

    @property
    def counts(self) -> Counts:
        counts = dict(self._counts)
        if self._month is not None:
            for known in self._channels.values():
                _count(counts, known.app_id, self._month, known.events, known.bytes)
        return counts

    @property
    def oldest(self) -> Oldest:
        oldest: Oldest = {}
        for known in self._channels.values():
            kind = (known.app_id, known.kind)
            oldest[kind] = min(known.oldest_us, oldest.get(kind, known.oldest_us))
        return oldest


def _count(counts: Counts, app_id: str, month: str, events: int, size: int) -> None:
    had = counts.get((app_id, month), (0, 0))
    counts[app_id, month] = (had[0] + events, had[1] + size)


def _field(text: str) -> bytes:
    encoded = text.encode()
    return _LENGTH(len(encoded)) + encoded


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(day * 86_400))


def month_of(ts_us: int) -> str:
    """2026-11, UTC."""
    return _month_of_day(min(max(ts_us // 86_400_000_000, 0), 2_932_896))  # not beyond the year 9999


def as_text(ts_us: int) -> str:
    """As PostgreSQL reads it where arrays are sent: exactly, to the microsecond."""
    return f"{_EPOCH + timedelta(microseconds=ts_us)}"


def refusal(records: Sequence[ReadRecord]) -> RecordRefused | None:
    """The first event that can't ever be a row, and why. Asked only where something failed."""
    for index, record in enumerate(records):
        if not isinstance(record, Event):
            continue
        if not 0 <= record.seq <= INTEGER_MAX or not 0 <= record.ts_us <= TS_MAX_US:
            return RecordRefused(index, "seq or time is out of range")
        texts = (record.app_id, record.channel, record.epoch, record.id, record.type, record.user_id or "")
        try:
            data = record.data.decode()
            for text in texts:
                text.encode()
        except UnicodeError as error:
            return RecordRefused(index, f"it is not UTF-8: {error}")
        if "\0" in data or any("\0" in text for text in texts):
            return RecordRefused(index, "it holds a NUL byte, which PostgreSQL can't")
    return None
