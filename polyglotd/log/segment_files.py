"""Segment files: names, order, heads. A segment is named by the position of its first byte.

Called by `opening`, `segments` and `segment_reader`. Blocking; knows records only as far as a segment's head.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from polyglotd.log.record import BadRecord, SegmentHead, check_record, decode_record, encode_segment_head

SUFFIX = ".seg"
_NAME_DIGITS = 20
_HEAD_BYTES_MAX = 1024


@dataclass(slots=True)
class Segment:
    """A segment file and how much of it is records."""

    path: Path
    first: int  # position of its first byte
    size: int
    created_us: int = 0
    ids_until_us: int = 0  # ts of the newest event in it with a publisher's own id; 0: none that matters

    @property
    def end(self) -> int:
        return self.first + self.size


def segment_path(directory: Path, first: int) -> Path:
    return directory / f"{first:0{_NAME_DIGITS}d}{SUFFIX}"


def list_segments(directory: Path) -> list[Segment]:
    """Every segment in the directory, by position. Sizes are the files'."""
    segments = []
    for path in directory.glob(f"{'[0-9]' * _NAME_DIGITS}{SUFFIX}"):
        try:
            segments.append(Segment(path, int(path.stem), path.stat().st_size))
        except FileNotFoundError:  # removed while we looked
            continue
    segments.sort(key=lambda segment: segment.first)
    return segments


def read_head(path: Path) -> tuple[SegmentHead, int]:
    """A segment's first record, and its size. Raises `BadRecord`."""
    with path.open("rb") as file:
        buffer = file.read(_HEAD_BYTES_MAX)
    end = check_record(buffer, 0)
    head = decode_record(buffer, 0, end)
    if not isinstance(head, SegmentHead):
        raise BadRecord("a segment begins with another record than its head")
    return head, end


def create_segment(directory: Path, first: int, head: SegmentHead) -> tuple[Segment, int]:
    """Begin a segment; the segment and its descriptor, for writing. Raises OSError with no file left behind.

    A file of this name can only be one that was begun and never written to, so it is begun anew.
    """
    path = segment_path(directory, first)
    data = encode_segment_head(head)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        if os.pwrite(fd, data, 0) != len(data):
            raise OSError(f"short write to {path}")
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return Segment(path, first, len(data), head.created_us), fd


def sync_directory(directory: Path) -> None:
    """Make names in the directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Put `data` in the place of the file, all or none. `durable`: also over a loss of power."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    if durable:
        sync_directory(path.parent)
