"""Look through stretches of the log for the events of some channels, among everybody's.

Called by `follow` and `segments`, in a worker thread. Blocking. A record's app and channel are compared as they stand
in the file; decoded, and its checksum looked at, is what was wanted alone. All others are passed over by their
length.
"""

from collections.abc import Iterable, Sequence

from polyglotd.log.interface import FoundEvents, Wanted
from polyglotd.log.places import Places
from polyglotd.log.record import (
    BODY_BYTES_MAX,
    EVENT,
    FRAME,
    FRAME_BYTES,
    KEY_OFFSET,
    BadRecord,
    check_record,
    decode_record,
)
from polyglotd.log.segment_files import Segment
from polyglotd.model import Event

READ_BYTES = 64 << 10  # at once: a thread that holds the interpreter for longer would be felt by the gateway
FOUND_BYTES_MAX = 256 << 10  # in one answer, but at least one event
LOOKED_BYTES_MAX = 1 << 20  # for one answer
_KIND_OFFSET = FRAME_BYTES
_TEXTS_OFFSET = KEY_OFFSET + 3  # app and channel, whose lengths stand at KEY_OFFSET


class Needle:
    """What is wanted, as it stands in a record."""

    __slots__ = ("app_bytes", "channel_bytes", "text")

    def __init__(self, wanted: Wanted) -> None:
        app, name = wanted.app_id.encode(), wanted.name.encode()
        self.app_bytes = len(app)
        self.channel_bytes = None if wanted.is_prefix else len(name)
        self.text = app + name

    def is_at(self, buffer: bytes, offset: int, end: int) -> bool:
        """Whether the record at offset..end is an event of such a channel."""
        return (
            buffer.startswith(self.text, offset + _TEXTS_OFFSET, end)
            and buffer[offset + KEY_OFFSET] == self.app_bytes
            and (self.channel_bytes is None or buffer[offset + KEY_OFFSET + 1] == self.channel_bytes)
            and buffer[offset + _KIND_OFFSET] == EVENT
        )


def find_events(
    segments: Sequence[Segment], wanted: Iterable[Wanted], spans: Sequence[tuple[int, int]]
) -> tuple[FoundEvents, list[tuple[int, int]]]:
    """The wanted events of these stretches, which are in order and begin with a record each; and what of the
    stretches was not looked at any more. Raises `TailMoved`, `LogCorrupt`."""
    needles = [Needle(one) for one in wanted]
    events: list[Event] = []
    ends: list[int] = []
    room, looked = FOUND_BYTES_MAX, 0
    at = spans[0][0]
    with Places(segments) as places:
        for index, (start, stop) in enumerate(spans):
            at, size = start, READ_BYTES
            while at < stop:
                if room <= 0 or looked >= LOOKED_BYTES_MAX:
                    return FoundEvents(events, ends, at), [(at, stop), *spans[index + 1 :]]
                at, buffer = places.read(at, size)
                if at >= stop:
                    break
                looked += len(buffer)
                buffer = buffer[: stop - at]
                likely = [needle for needle in needles if needle.text in buffer]
                offset, needed = 0, 0
                while offset + FRAME_BYTES <= len(buffer):
                    (length, _) = FRAME.unpack_from(buffer, offset)
                    if not 0 < length <= BODY_BYTES_MAX:
                        raise places.corrupt(at + offset, f"a record can't have {length} bytes")
                    end = offset + FRAME_BYTES + length
                    if end > len(buffer):
                        needed = FRAME_BYTES + length
                        break
                    for needle in likely:
                        if needle.is_at(buffer, offset, end):
                            events.append(_event(places, buffer, offset, end, at))
                            ends.append(at + end)
                            room -= end - offset
                            break
                    offset = end
                    if room <= 0:
                        break
                if offset == 0 and len(buffer) < size:
                    raise places.corrupt(at, "a record is cut short")
                at += offset
                size = max(READ_BYTES, needed)
    return FoundEvents(events, ends, at), []


def _event(places: Places, buffer: bytes, offset: int, end: int, position: int) -> Event:
    try:
        if check_record(buffer, offset) == end:
            record = decode_record(buffer, offset, end)
            assert isinstance(record, Event)
            return record
    except BadRecord as bad:
        raise places.corrupt(position + offset, str(bad)) from bad
    raise AssertionError("a record's end is where its length says")
