"""Read single records at known positions: tails and recent ids.

Called by `segments`, in a worker thread or, for ids, for a few ms. Blocking. Does not know which positions matter.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from polyglotd.log.interface import LogCorrupt, RecentId, TailMoved
from polyglotd.log.record import (
    EVENT_HEAD,
    EVENT_HEAD_BYTES,
    FRAME,
    FRAME_BYTES,
    BadRecord,
    check_record,
    decode_record,
)
from polyglotd.log.segment_files import Segment
from polyglotd.model import Event

RECORD_GUESS_BYTES = 4096  # read for a record whose size is not known yet
ID_PART_BYTES_MAX = EVENT_HEAD_BYTES + 5 * 255  # of an event: up to the end of id and user


class _Places:
    """Bytes at positions of the log, each segment opened once."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._firsts = [segment.first for segment in segments]
        self._opened: dict[int, int] = {}

    def __enter__(self) -> "_Places":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._opened.values():
            os.close(fd)

    def read(self, position: int, size: int) -> bytes:
        """Raises `TailMoved` where the segment is gone."""
        index = bisect_right(self._firsts, position) - 1
        if index < 0:
            raise TailMoved
        segment = self._segments[index]
        fd = self._opened.get(index)
        if fd is None:
            try:
                fd = self._opened[index] = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise TailMoved from None
        return os.pread(fd, size, position - segment.first)


def read_events(segments: Sequence[Segment], positions: "array[int]") -> list[Event]:
    """The events at these positions. Raises `TailMoved`, `LogCorrupt`."""
    events = []
    with _Places(segments) as places:
        for position in positions:
            buffer = places.read(position, RECORD_GUESS_BYTES)
            if len(buffer) >= FRAME_BYTES:
                needed = FRAME_BYTES + FRAME.unpack_from(buffer, 0)[0]
                if needed > len(buffer):
                    buffer = places.read(position, needed)
            try:
                record = decode_record(buffer, 0, check_record(buffer, 0))
                if not isinstance(record, Event):
                    raise BadRecord("another record stands where an event was written")
            except BadRecord as bad:
                segment = next(s for s in reversed(segments) if s.first <= position)
                raise LogCorrupt(segment.path.name, position - segment.first, str(bad)) from bad
            events.append(record)
    return events


def read_recent_ids(segments: Sequence[Segment], positions: "array[int]") -> list[RecentId]:
    """Ids and users of the events at these positions. Their checksums were right when they became known."""
    with _Places(segments) as places:
        return [_recent_id(places.read(position, ID_PART_BYTES_MAX)) for position in positions]


def _recent_id(buffer: bytes) -> RecentId:
    _, _, _, _, event_id, user, _, seq, ts_us, app, channel, epoch = EVENT_HEAD.unpack_from(buffer, 0)
    start = EVENT_HEAD_BYTES + app + channel + epoch
    middle = start + event_id
    return RecentId(buffer[start:middle].decode(), buffer[middle : middle + user].decode() or None, seq, ts_us)
