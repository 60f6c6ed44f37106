"""The newest segment as the writer in C++ writes it, which the driver shares: it appends as well, at any time.

Owned by `native_log`. What Python did not write, it is told of later: `known` says up to where, and nothing that a
checkpoint claims, or a removal needs, goes beyond it.
"""

import ctypes
import os
from bisect import insort
from pathlib import Path

import trio

from polyglotd.log.mark import Mark
from polyglotd.log.native_library import LogCounters, LogFailed, LogFull, NativeLog
from polyglotd.log.segment_files import Segment, read_head, segment_path
from polyglotd.log.writer import RETRY_AFTER_MS, Refusals, full
from polyglotd.model import Unavailable


class Frontier:
    """Up to which position all is known that is in the log, where it comes to be known in pieces.

    What the driver writes, it tells of in the order of positions; what Python writes lies in between, and is known at
    once.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self._pieces: list[tuple[int, int]] = []  # beyond it; few, since the driver tells within a moment

    def piece(self, start: int, end: int) -> None:
        """These bytes are no event of the driver's."""
        insort(self._pieces, (start, end))
        self._advance()

    def told(self, position: int) -> None:
        """All before it that the driver wrote was told."""
        self.position = max(self.position, position)
        self._advance()

    def _advance(self) -> None:
        while self._pieces and self._pieces[0][0] <= self.position:
            self.position = max(self.position, self._pieces.pop(0)[1])


class NativeSegmentWriter:
    """Satisfies `Writer`."""

    def __init__(
        self,
        library: ctypes.CDLL,
        directory: Path,
        log_id: str,
        mark: Mark,
        segments: list[Segment],
        fd: int,
        *,
        unsynced: list[int],
        segment_bytes: int,
        acknowledge: bool,
    ) -> None:
        """As of `SegmentWriter`. Raises OSError."""
        self._directory = directory
        self._acknowledge = acknowledge
        self._unsynced = unsynced
        self._segments = segments
        self._refusals = Refusals()
        self._thread = trio.CapacityLimiter(1)
        self._limit = 1 << 63
        self._frontier = Frontier(segments[-1].end)
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.log = NativeLog(
                library,
                directory_fd=directory_fd,
                segment_fd=fd,
                mark_fd=mark.fileno(),
                acknowledge_at_once=acknowledge,
                segment_first=segments[-1].first,
                segment_size=segments[-1].size,
                segment_head_bytes=read_head(segments[-1].path)[1],
                segment_bytes_max=segment_bytes,
                log_id=log_id,
            )
        finally:
            os.close(directory_fd)

    @property
    def segments(self) -> list[Segment]:
        end = self.log.end()  # first: what begins later is not in it
        segments = self._segments
        for first in self.log.begun():
            head, size = read_head(segment_path(self._directory, first))
            segments[-1].size = head.prior_end - segments[-1].first
            segments.append(Segment(segment_path(self._directory, first), first, size, head.created_us))
            self._frontier.piece(head.prior_end, first + size)
        newest = segments[-1]
        newest.size = max(newest.size, end - newest.first)
        return segments

    @property
    def end(self) -> int:
        return self.log.end()

    @property
    def known(self) -> int:
        assert self.segments  # looks for new ones, whose heads are known
        return self._frontier.position

    @property
    def durable(self) -> int:
        return self.log.durable()

    @property
    def acknowledged(self) -> int:
        return self.log.end() if self._acknowledge else self.log.durable()

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, position: int) -> None:
        self._limit = position
        self.log.set_limit(position)

    def told(self, position: int) -> None:
        """The driver has told of all that it wrote before this position."""
        self._frontier.told(position)

    def write(self, data: bytes, *, bounded: bool) -> int:
        try:
            position = self.log.append(data, bounded=bounded)
        except LogFull:
            raise full() from None
        except LogFailed as error:
            raise Unavailable(f"the event log has failed: {error}", retry_after_ms=RETRY_AFTER_MS) from error
        except OSError as error:
            raise self._refusals.by_disk(error) from error
        self._refusals.over()
        self._frontier.piece(position, position + len(data))
        return position

    def begin_segment(self, first: int, *, renewed: str = "") -> None:
        self.log.begin_segment(first, renewed)

    async def sync(self) -> None:
        await trio.to_thread.run_sync(self._sync, self.log.end(), limiter=self._thread)

    def _sync(self, position: int) -> None:
        while self._unsynced:  # full segments of the log's life before this one
            os.fdatasync(self._unsynced[-1])
            os.close(self._unsynced.pop())
        try:
            self.log.sync(position)
        except LogFailed as error:
            raise OSError(str(error)) from error

    def watch(self) -> str | None:
        """Say what the driver's writes met with; why an fsync of the driver's failed, where one did."""
        error = self.log.error()
        if self.log.failed():
            return error or "an fsync failed"
        if error:
            self._refusals.by_disk(error)
        else:
            self._refusals.over()
        return None

    def counters(self) -> LogCounters:
        return self.log.counters()

    def close(self) -> None:
        for fd in self._unsynced:
            os.close(fd)
        self.log.close()
