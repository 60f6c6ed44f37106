"""Overwrite what is erased in the segments, record by record, each with one of the same length.

Called by `eraser` in a worker thread, and by `opening` for a round that a crash cut short. Blocking. Positions do not
move, so nobody who knows one has to hear of it, and the driver goes on appending to the newest segment.

A round: what is to be written is made durable in the file `erasing`; it is written over the records; the segment is
made durable; the file goes. Where a crash comes in between, the next start writes it again, before anything is read.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from google_crc32c import value as crc32c

from polyglotd.log.interface import ErasureState, LogFault, PresenceChanged
from polyglotd.log.record import (
    EVENT,
    EVENT_HEAD,
    EVENT_HEAD_BYTES,
    FRAME,
    FRAME_BYTES,
    KEY_OFFSET,
    PRESENCE,
    WAS_ERASED,
    BadRecord,
    check_record,
    decode_record,
    encode_blank,
    encode_tombstone,
    split_key,
)
from polyglotd.log.segment_files import Segment, replace_file
from polyglotd.log.steady import Rewrites

NAME = "erasing"
ROUND_RECORDS = 1_000  # some ms in which readers wait
ROUND_BYTES = 4 << 20  # of what is written, in memory and in the file, unless one record alone is larger
PIECE_BYTES = 2 << 20
_KIND_OFFSET = FRAME_BYTES


class _Round(msgspec.Struct, frozen=True):
    """What the file holds: a segment's name, and what is to stand at which offset in it."""

    segment: str
    records: list[tuple[int, bytes]]


@dataclass(frozen=True)
class Work:
    """What is to be erased. `apps`: those that were forgotten, with the position after their record."""

    states: Sequence[ErasureState]
    apps: Mapping[str, int]
    stop: int = field(init=False)  # no record from here on is meant

    def __post_init__(self) -> None:
        positions = [*(state.position for state in self.states), *self.apps.values()]
        object.__setattr__(self, "stop", max(positions, default=0))

    def __bool__(self) -> bool:
        return bool(self.states or self.apps)


def rewrite(directory: Path, segments: Sequence[Segment], work: Work, rewrites: Rewrites) -> int:
    """Overwrite every record that is meant; how many. Raises OSError: repeat it."""
    finish_round(directory, rewrites)
    done = 0
    for segment in segments:
        if segment.first >= work.stop:
            break
        with contextlib.suppress(FileNotFoundError):  # nobody needs it any more, and so it is gone
            done += _rewrite_segment(directory, segment, work, rewrites)
    return done


def finish_round(directory: Path, rewrites: Rewrites | None = None) -> bool:
    """Carry out a round that was cut short; whether there was one. Raises OSError, `LogFault`."""
    try:
        data = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return False
    try:
        if len(data) < 4 or crc32c(data[4:]) != int.from_bytes(data[:4], "little"):
            raise ValueError("its checksum is wrong")
        found = msgspec.msgpack.decode(data[4:], type=_Round)
    except (ValueError, msgspec.MsgspecError) as error:
        raise LogFault(
            f"{directory / NAME} can't be read: {error}; see docs/log-format.md, `What to do with a damaged log`"
        ) from error
    with contextlib.suppress(FileNotFoundError):
        _overwrite(directory / found.segment, found.records, rewrites)
    (directory / NAME).unlink()
    return True


def _rewrite_segment(directory: Path, segment: Segment, work: Work, rewrites: Rewrites) -> int:
    done, records, size = 0, [], 0
    with segment.path.open("rb") as file:
        buffer = file.read(min(segment.size, work.stop - segment.first))
    if not any(_holds(buffer, needle) for needle in _needles(work)):
        return 0
    matcher = _Matcher(work, buffer, segment.first)
    for offset, end in _likely(buffer, work):
        new = matcher.replacement(offset, end)
        if new is None:
            continue
        records.append((offset, new))
        size += len(new)
        if len(records) >= ROUND_RECORDS or size >= ROUND_BYTES:
            _run_round(directory, _Round(segment.path.name, records), rewrites)
            done += len(records)
            records, size = [], 0
    if records:
        _run_round(directory, _Round(segment.path.name, records), rewrites)
    return done + len(records)


def _run_round(directory: Path, found: _Round, rewrites: Rewrites) -> None:
    body = msgspec.msgpack.encode(found)
    replace_file(directory / NAME, crc32c(body).to_bytes(4, "little") + body, durable=True)
    _overwrite(directory / found.segment, found.records, rewrites)
    (directory / NAME).unlink()


def _overwrite(path: Path, records: Sequence[tuple[int, bytes]], rewrites: Rewrites | None) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if rewrites is not None:
            rewrites.begin()
        try:
            for offset, data in records:
                if offset + len(data) <= size:  # else a loss of power took it
                    _write_whole(fd, data, offset)
        finally:
            if rewrites is not None:
                rewrites.end()
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _write_whole(fd: int, data: bytes, offset: int) -> None:
    """Where the disk refuses half of it, what was there is put back."""
    before = os.pread(fd, len(data), offset)
    try:
        written = os.pwrite(fd, data, offset)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were overwritten")
    except OSError:
        os.pwrite(fd, before, offset)
        raise


def _holds(buffer: bytes, needle: bytes) -> bool:
    """Looked for in pieces of a ms: the interpreter is others' in between."""
    overlap = len(needle) - 1
    return any(buffer.find(needle, at, at + PIECE_BYTES + overlap) >= 0 for at in range(0, len(buffer), PIECE_BYTES))


def _likely(buffer: bytes, work: Work) -> Iterator[tuple[int, int]]:
    """Where records stand and end that may be meant. Found by the lengths of all, as what they hold is for publishers
    to choose; picked by the names at their place. This runs for every record of a segment."""
    unpack, offset, size = FRAME.unpack_from, 0, len(buffer)
    names_at = KEY_OFFSET + 3
    states = [state.erasure for state in work.states]
    names = tuple({(e.app_id + e.channel).encode() for e in states if e.what != "user"} | _names(work.apps))
    apps_of_users = tuple(_names(e.app_id for e in states if e.what == "user"))
    users = [(e.user_id or "").encode() for e in states if e.what == "user"]
    presence = bool(work.apps)
    while offset + FRAME_BYTES <= size:
        (length, _) = unpack(buffer, offset)
        end = offset + FRAME_BYTES + length
        if not length or end > size:
            return
        if (
            buffer.startswith(names, offset + names_at)
            or (presence and buffer[offset + _KIND_OFFSET] == PRESENCE)
            or (
                users
                and buffer.startswith(apps_of_users, offset + names_at)
                and any(buffer.find(user, offset, end) >= 0 for user in users)
            )
        ):
            yield offset, end
        offset = end


def _names(app_ids: Iterable[str]) -> set[bytes]:
    return {app_id.encode() for app_id in app_ids}


def _needles(work: Work) -> set[bytes]:
    """Bytes of which a segment holds at least one where any record in it is meant."""
    needles = {app_id.encode() for app_id in work.apps}
    for state in work.states:
        erasure = state.erasure
        if erasure.what == "user":
            needles.add((erasure.user_id or "").encode())
        else:
            needles.add((erasure.app_id + erasure.channel).encode())  # as they stand in a channel's key
    return needles


class _OfChannel:
    """What is to be erased of one channel's epoch."""

    def __init__(self, work: Work, app_id: str, channel: str, epoch: str) -> None:
        self.blank_until = work.apps.get(app_id, 0)
        self.ranges: list[tuple[int, int, int]] = []  # first and last seq, and the position before which they stand
        self.users: dict[bytes, list[ErasureState]] = {}
        for state in work.states:
            erasure = state.erasure
            if erasure.app_id != app_id:
                continue
            if erasure.what == "user":
                self.users.setdefault((erasure.user_id or "").encode(), []).append(state)
            elif erasure.channel == channel and erasure.epoch == epoch:
                self.ranges.append((erasure.first_seq, erasure.last_seq, state.position))
            elif erasure.channel == channel and erasure.what == "history":
                self.ranges.append((0, 1 << 64, state.position))

    def __bool__(self) -> bool:
        return bool(self.blank_until or self.ranges or self.users)


class _Matcher:
    def __init__(self, work: Work, buffer: bytes, first: int) -> None:
        self._work = work
        self._buffer = buffer
        self._first = first
        self._by_key: dict[bytes, _OfChannel | None] = {}

    def replacement(self, offset: int, end: int) -> bytes | None:
        """What is to stand in the place of the record at offset..end; None where it may stay."""
        buffer = self._buffer
        if buffer[offset + _KIND_OFFSET] == PRESENCE:
            return self._blank_presence(offset, end)
        if end - offset < EVENT_HEAD_BYTES or buffer[offset + _KIND_OFFSET] != EVENT:
            return None
        head = EVENT_HEAD.unpack_from(buffer, offset)
        key_end = offset + EVENT_HEAD_BYTES + head[9] + head[10] + head[11]
        key = buffer[offset + KEY_OFFSET : key_end]
        of_channel = self._by_key[key] if key in self._by_key else self._of_channel(key)
        if of_channel is None:
            return None
        flags, seq, ts_us = head[3], head[7], head[8]
        position = self._first + end
        if position <= of_channel.blank_until:
            return encode_blank(offset, end) if _is_whole(buffer, offset, end) else None
        user = buffer[key_end + head[4] : key_end + head[4] + head[5]] if of_channel.users and head[5] else b""
        of_user = any(
            position <= state.position and ts_us <= state.erasure.ts_us for state in of_channel.users.get(user, ())
        )
        of_range = not flags & WAS_ERASED and any(
            first <= seq <= last and position <= until for first, last, until in of_channel.ranges
        )
        if not (of_user or of_range) or not _is_whole(buffer, offset, end):
            return None
        return encode_tombstone(buffer, offset, keep_user=not of_user)

    def _blank_presence(self, offset: int, end: int) -> bytes | None:
        """Who came and went in a forgotten app."""
        if not self._work.apps or not _is_whole(self._buffer, offset, end):
            return None
        record = decode_record(self._buffer, offset, end)
        if not isinstance(record, PresenceChanged) or self._first + end > self._work.apps.get(record.app_id, 0):
            return None
        return encode_blank(offset, end)

    def _of_channel(self, key: bytes) -> _OfChannel | None:
        try:
            found: _OfChannel | None = _OfChannel(self._work, *split_key(key))
        except (UnicodeDecodeError, IndexError):
            return None  # a damaged record
        self._by_key[key] = found = found or None
        return found


def _is_whole(buffer: bytes, offset: int, end: int) -> bool:
    """A damaged record stays as it is: to say so is for those who open or read the log."""
    try:
        return check_record(buffer, offset) == end
    except BadRecord:
        return False
