"""Read a channel's events out of stretches of the log: tails, the first event behind a floor, recent ids.

Called by `segments`, in a worker thread, or for some µs to ms on trio's. Blocking. Does not know which stretches
matter: see `runs`. Goes through the records of a stretch by their lengths and looks into those of the channel alone.
"""

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from polyglotd.log.interface import LogCorrupt, RecentId, TailMoved
from polyglotd.log.record import (
    BODY_BYTES_MAX,
    EVENT,
    EVENT_HEAD,
    EVENT_HEAD_BYTES,
    FRAME,
    FRAME_BYTES,
    ID_GIVEN,
    KEY_OFFSET,
    BadRecord,
    check_record,
    decode_record,
)
from polyglotd.log.runs import Part
from polyglotd.log.segment_files import Segment
from polyglotd.model import Event

FIRST_READ_BYTES = 4 << 10  # a run of one event is read so
READ_BYTES_MAX = 256 << 10  # at once; more where one record is larger
_KIND_OFFSET = FRAME_BYTES
_FLAGS_OFFSET = FRAME_BYTES + 1
_SEQ_OFFSET = FRAME_BYTES + 5
_SEQ = struct.Struct("<Q")


class Places:
    """Records at positions of the log, each segment opened once."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._firsts = [segment.first for segment in segments]
        self._opened: dict[int, int] = {}

    def __enter__(self) -> "Places":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._opened.values():
            os.close(fd)

    def of_channel(self, key: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
        """The channel's events with start <= position < stop, across segments: a buffer, the offset in it, the
        position. A record stands at `start`. Raises `TailMoved` where its segment is gone."""
        unpack, position, size = FRAME.unpack_from, start, FIRST_READ_BYTES
        while position < stop:
            position, buffer = self.read(position, size)
            offset, needed = 0, FRAME_BYTES
            until = min(stop - position, len(buffer) - FRAME_BYTES + 1)
            while offset < until:
                (length, _) = unpack(buffer, offset)
                end = offset + FRAME_BYTES + length
                if not 0 < length <= BODY_BYTES_MAX:
                    raise self.corrupt(position + offset, f"a record can't have {length} bytes")
                if end > len(buffer):
                    needed = FRAME_BYTES + length
                    break
                # By its length a record is found, never by what it holds: that is for publishers to choose.
                if buffer.startswith(key, offset + KEY_OFFSET, end) and buffer[offset + _KIND_OFFSET] == EVENT:
                    yield buffer, offset, position + offset
                offset = end
            if offset == 0 and len(buffer) < size:
                raise self.corrupt(position, "a record is cut short")
            position += offset
            size = max(needed, min(4 * size, READ_BYTES_MAX))

    def read(self, position: int, size: int) -> tuple[int, bytes]:
        """Some bytes from `position` on, or, where a segment ends there, from where the next one begins."""
        index = bisect_right(self._firsts, position) - 1
        while not (buffer := os.pread(self._open(index), size, position - self._firsts[index])):
            index += 1
            if index == len(self._segments):
                raise self.corrupt(position, "records that were acknowledged are missing")
            position = self._firsts[index]
        return position, buffer

    def corrupt(self, position: int, why: str) -> LogCorrupt:
        segment = self._segments[max(0, bisect_right(self._firsts, position) - 1)]
        return LogCorrupt(segment.path.name, position - segment.first, why)

    def _open(self, index: int) -> int:
        if index < 0:
            raise TailMoved
        fd = self._opened.get(index)
        if fd is None:
            try:
                fd = self._opened[index] = os.open(self._segments[index].path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise TailMoved from None
        return fd


def read_events(
    segments: Sequence[Segment], key: bytes, parts: Sequence[Part], *, visible: int, limit: int, newest: bool
) -> list[Event]:
    """Of the channel's events in these parts those before the position `visible`, in order: at most `limit`, from the
    newer end or from the older. Raises `TailMoved`, `LogCorrupt`."""
    events: list[Event] = []
    with Places(segments) as places:
        for part in reversed(parts) if newest else parts:
            room = limit - len(events)
            if room <= 0:
                break
            found = _events_of(places, key, part, visible)
            if newest:
                events[:0] = found[-room:]
            else:
                events += found[:room]
    return events


def _events_of(places: Places, key: bytes, part: Part, visible: int) -> list[Event]:
    events = []
    for buffer, offset, position in places.of_channel(key, part.start, min(part.stop, visible)):
        (seq,) = _SEQ.unpack_from(buffer, offset + _SEQ_OFFSET)
        if seq < part.first:
            continue
        try:
            record = decode_record(buffer, offset, check_record(buffer, offset))
        except BadRecord as bad:
            raise places.corrupt(position, str(bad)) from bad
        assert isinstance(record, Event)
        events.append(record)
        if seq == part.last:
            break
    if part.stop <= visible and (not events or events[-1].seq != part.last or events[0].seq != part.first):
        raise places.corrupt(part.start, "events that were acknowledged are missing behind it")
    return events


def first_event(segments: Sequence[Segment], key: bytes, start: int, stop: int) -> tuple[int, int] | None:
    """Seq and position of the channel's first event with start <= position < stop. Raises as `read_events`."""
    with Places(segments) as places:
        for buffer, offset, position in places.of_channel(key, start, stop):
            return _SEQ.unpack_from(buffer, offset + _SEQ_OFFSET)[0], position
    return None


def read_recent_ids(
    segments: Sequence[Segment], key: bytes, spans: Sequence[tuple[int, int]], *, since_us: int, limit: int
) -> list[RecentId]:
    """The newest `limit` publishers' own ids of the channel's epoch in these spans, which come newest first; in the
    log's order, none older than `since_us`. Checksums were right when the spans became known."""
    found: list[RecentId] = []  # newest first
    with Places(segments) as places:
        for start, end in spans:
            of_span = [
                _recent_id(buffer, offset)
                for buffer, offset, _ in places.of_channel(key, start, end)
                if buffer[offset + _FLAGS_OFFSET] & ID_GIVEN
            ]
            found += [recent for recent in reversed(of_span) if recent.ts_us >= since_us]
            if len(found) >= limit:
                break
    return found[limit - 1 :: -1] if len(found) > limit else found[::-1]


def _recent_id(buffer: bytes, offset: int) -> RecentId:
    _, _, _, _, event_id, user, _, seq, ts_us, app, channel, epoch = EVENT_HEAD.unpack_from(buffer, offset)
    start = offset + EVENT_HEAD_BYTES + app + channel + epoch
    middle = start + event_id
    return RecentId(buffer[start:middle].decode(), buffer[middle : middle + user].decode() or None, seq, ts_us)
