"""Write batches to the newest segment: all of a batch or nothing, in one call.

Owned by `segments`. Blocking, for the page cache only. Knows bytes and positions, not records. The reference for the
writer in C++ (native/src/log/log_writer.h), and what runs where that is not there.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import trio

from polyglotd.log.mark import Mark
from polyglotd.log.record import SegmentHead
from polyglotd.log.segment_files import Segment, create_segment, sync_directory
from polyglotd.log.writer import Refusals, full

logger = logging.getLogger(__name__)


class SegmentWriter:
    """Satisfies `Writer`."""

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
        `acknowledge`: move the mark with each write; else with each sync."""
        self._directory = directory
        self._log_id = log_id
        self._mark = mark
        self._fd = fd
        self._segment_bytes = segment_bytes
        self._acknowledge = acknowledge
        self._clock = clock
        self._torn = False  # bytes lie behind the end that could not be cut off
        self._head_bytes = 0  # size of the newest segment's head, where we wrote it: what is no larger is empty
        self._rolled = list(unsynced)  # descriptors of full segments that are not synced yet
        self._named = False  # the newest segment's name in the directory is durable
        self._refusals = Refusals()
        self._thread = trio.CapacityLimiter(1)
        self.segments = segments
        self.limit = 1 << 63
        self.durable = 0

    @property
    def end(self) -> int:
        return self.segments[-1].end

    @property
    def known(self) -> int:
        return self.end

    @property
    def acknowledged(self) -> int:
        return self.end if self._acknowledge else self.durable

    def write(self, data: bytes, *, bounded: bool) -> int:
        if bounded and self.end + len(data) > self.limit:
            raise full()
        try:
            if self._torn:
                os.ftruncate(self._fd, self.segments[-1].size)
                self._torn = False
            segment = self.segments[-1]
            if segment.size + len(data) > self._segment_bytes and segment.size > self._head_bytes:
                self.begin_segment(segment.end)
                segment = self.segments[-1]
            start = segment.end
            self._write_at_end(segment, data)
        except OSError as error:
            raise self._refusals.by_disk(error) from error
        self._refusals.over()
        return start

    def begin_segment(self, first: int, *, renewed: str = "") -> None:
        head = SegmentHead(self.end, self._clock(), self._log_id, renewed)
        segment, fd = create_segment(self._directory, first, head)
        if renewed:
            try:
                os.fsync(fd)
                sync_directory(self._directory)
            except OSError:
                os.close(fd)
                segment.path.unlink()
                raise
        self._rolled.append(self._fd)
        self._fd = fd
        self.segments.append(segment)
        self._head_bytes = segment.size
        if renewed and self._acknowledge:
            self._mark.set_end(segment.end)

    async def sync(self) -> None:
        target = self.end
        descriptors = [*self._rolled, self._fd]
        await trio.to_thread.run_sync(self._sync, descriptors, limiter=self._thread)
        for fd in descriptors[:-1]:
            self._rolled.remove(fd)
            os.close(fd)
        self.durable = target
        if not self._acknowledge:
            try:
                self._mark.set_end(target)
            except OSError as error:  # readers in other processes wait for the next one
                logger.warning("the event log's mark can't be written: %s", error)

    def _sync(self, descriptors: list[int]) -> None:
        for fd in descriptors:
            os.fdatasync(fd)
        if not self._named or len(descriptors) > 1:
            sync_directory(self._directory)
            self._named = True

    def close(self) -> None:
        if self._torn:
            with contextlib.suppress(OSError):  # the next start cuts it off
                os.ftruncate(self._fd, self.segments[-1].size)
        for fd in (*self._rolled, self._fd):
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
