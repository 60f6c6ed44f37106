"""Write batches to the newest segment: all of a batch or nothing, in one call.

Owned by `segments`. Blocking, for the page cache only. Knows bytes and positions, not records.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from polyglotd.log.mark import Mark
from polyglotd.log.record import SegmentHead
from polyglotd.log.segment_files import Segment, create_segment
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)

RETRY_AFTER_MS = 1_000  # disks fill up and empty in seconds, not in milliseconds


class SegmentWriter:
    def __init__(
        self,
        directory: Path,
        log_id: str,
        mark: Mark,
        segments: list[Segment],
        fd: int,
        *,
        unsynced: list[int],
        segment_bytes: int,
        acknowledge: bool,
        clock: Callable[[], int],
    ) -> None:
        """`unsynced`: descriptors of full segments that may not be durable.
        `acknowledge`: move the mark with each write; else whoever syncs moves it."""
        self._directory = directory
        self._log_id = log_id
        self._mark = mark
        self._fd = fd
        self._segment_bytes = segment_bytes
        self._acknowledge = acknowledge
        self._clock = clock
        self._torn = False  # bytes lie behind the end that could not be cut off
        self._head_bytes = 0  # size of the newest segment's head, where we wrote it: what is no larger is empty
        self._full = False  # the last write failed: says so once
        self.segments = segments
        self.rolled = list(unsynced)  # descriptors of full segments that are not synced yet

    @property
    def current(self) -> Segment:
        return self.segments[-1]

    @property
    def end(self) -> int:
        return self.segments[-1].end

    def write(self, data: bytes) -> int:
        """Append the bytes; the position of the first. Raises `Unavailable`, with nothing appended."""
        try:
            if self._torn:
                os.ftruncate(self._fd, self.current.size)
                self._torn = False
            if self.current.size + len(data) > self._segment_bytes and self.current.size > self._head_bytes:
                self.begin_segment(self.end)
            segment = self.current
            start = segment.end
            self._write_at_end(segment, data)
        except OSError as error:
            raise self._refused(error) from error
        if self._full:
            self._full = False
            logger.warning("the event log takes events again")
        return start

    def begin_segment(self, first: int, *, renewed: str = "") -> None:
        """Go on in a new segment, at `first` or further on than the end. Raises OSError, with nothing changed."""
        head = SegmentHead(self.end, self._clock(), self._log_id, renewed)
        segment, fd = create_segment(self._directory, first, head)
        self.rolled.append(self._fd)
        self._fd = fd
        self.segments.append(segment)
        self._head_bytes = segment.size

    def descriptors(self) -> list[int]:
        """What has to be synced for everything up to the end to be durable; full segments first."""
        return [*self.rolled, self._fd]

    def close_rolled(self, synced: list[int]) -> None:
        for fd in synced:
            if fd in self.rolled:
                self.rolled.remove(fd)
                os.close(fd)

    def close(self) -> None:
        if self._torn:
            with contextlib.suppress(OSError):  # the next start cuts it off
                os.ftruncate(self._fd, self.current.size)
        for fd in self.descriptors():
            os.close(fd)

    def _write_at_end(self, segment: Segment, data: bytes) -> None:
        try:
            written = os.pwrite(self._fd, data, segment.size)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written to {segment.path.name}")
            if self._acknowledge:
                self._mark.set_end(segment.end + written)
        except OSError:
            try:
                os.ftruncate(self._fd, segment.size)
            except OSError:
                self._torn = True
            raise
        segment.size += written

    def _refused(self, error: OSError) -> Unavailable:
        if not self._full:
            self._full = True
            logger.error("the event log can't be written to, events are refused until it can: %s", error)
        return Unavailable("the event log can't be written to", retry_after_ms=RETRY_AFTER_MS)
