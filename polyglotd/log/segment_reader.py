"""Read records from a position on, across segments: in the log's own process, or in another one.

The same reader for both; what differs is how it learns how far it may read, how it waits for more, and whom it tells
what it has let go. `segments` makes the one, `open_segments_reader` the other.
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from polyglotd.log.checkpoint import read_log_id
from polyglotd.log.cursors import write_cursor
from polyglotd.log.interface import LogCorrupt, LogFault, ReadBatch, ReadRecord
from polyglotd.log.mark import MarkView
from polyglotd.log.native_events import ReadEvents
from polyglotd.log.record import (
    BODY_BYTES_MAX,
    FRAME,
    FRAME_BYTES,
    BadRecord,
    SegmentHead,
    check_record,
    decode_record,
)
from polyglotd.log.segment_files import list_segments, segment_path
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20  # read at once; larger where one record is
POLL_S = 0.025  # how often a reader in another process looks at the mark
REWRITES_POLL_S = 0.005  # how often it looks whether a round of rewriting, some ms long, is over
REPLACED_POLLS = 40  # once a second it looks whether the mark is still the same file
PATIENCE_S = 0.5  # how long a bad record may be a writer that is just repairing


class SegmentReader:
    """Satisfies `LogReader`."""

    def __init__(
        self,
        directory: Path,
        log_id: str,
        position: int,
        *,
        readable_end: Callable[[], int],
        rewrites: Callable[[], int],
        wait: Callable[[], Awaitable[None]],
        let_go: Callable[[int], Awaitable[None]],
        patience_s: float,
        read_events: ReadEvents | None = None,
    ) -> None:
        """`rewrites`: odd while records are overwritten, and another number after it. `read_events`: the fast way,
        where there is one."""
        self._directory = directory
        self._log_id = log_id
        self._position = position
        self._readable_end = readable_end
        self._rewrites = rewrites
        self._wait = wait
        self._let_go = let_go
        self._patience_s = patience_s
        self._read_events = read_events
        self._thread = trio.CapacityLimiter(1)
        self._file: tuple[int, int] | None = None  # first position and descriptor of the segment it is in

    @property
    def position(self) -> int:
        return self._position

    @property
    def end(self) -> int:
        return self._readable_end()

    def pass_to(self, position: int) -> None:
        """Go on there, where that is further on: somebody else has read what is before it."""
        self._position = max(self._position, position)

    async def next_batch(self, limit: int) -> ReadBatch:
        patient_until: float | None = None
        while True:
            while self._position >= (end := self._readable_end()):
                await self._wait()
            rewrites = self._rewrites()
            if rewrites % 2:
                await trio.sleep(REWRITES_POLL_S)
                continue
            try:
                batch = await trio.to_thread.run_sync(self._read, self._position, end, limit, limiter=self._thread)
            except LogCorrupt:
                if self._rewrites() != rewrites:
                    continue
                patient_until = patient_until or trio.current_time() + self._patience_s
                if trio.current_time() >= patient_until:
                    raise
                await trio.sleep(self._patience_s / 5)
                continue
            if self._rewrites() != rewrites:
                continue  # it may have seen half of one
            self._position = batch.end
            if batch.records:
                return batch

    async def commit(self, position: int) -> None:
        await self._let_go(position)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file[1])
            self._file = None

    # --- in the worker thread ---

    def _read(self, position: int, end: int, limit: int) -> ReadBatch:
        """Up to `limit` records from `position`; none where there is only a segment's head, or a gap."""
        position, stop = self._seek(position, end)
        assert self._file is not None
        first, fd = self._file
        size = CHUNK_BYTES
        records: list[ReadRecord] = []
        ends: list[int] = []
        offset = 0
        buffer = os.pread(fd, min(size, stop - position), position - first)
        read_events = self._read_events
        while len(records) < limit and offset < len(buffer):
            if read_events is not None:
                try:
                    run = read_events(buffer, offset, limit - len(records), position)
                except UnicodeDecodeError:
                    read_events = run = None  # one by one they say which it is
                if run is not None:
                    records += run.events
                    ends += run.ends
                    offset = ends[-1] - position
                    continue
            needed = self._needed(buffer, offset)
            if offset + needed > len(buffer) and position + len(buffer) < stop:  # the chunk ends here, not the log
                if offset:
                    break
                buffer = os.pread(fd, min(needed, stop - position), position - first)
                continue
            try:
                after = check_record(buffer, offset)
                record = decode_record(buffer, offset, after)
            except BadRecord as bad:
                if records:
                    break  # the good ones first
                name = segment_path(self._directory, first).name
                raise LogCorrupt(name, position + offset - first, str(bad)) from bad
            if isinstance(record, SegmentHead):
                self._check_log(record)
            elif record is not None:
                records.append(record)
                ends.append(position + after)
            offset = after
        return ReadBatch(records, position + offset, ends)

    def _needed(self, buffer: bytes, offset: int) -> int:
        """How many bytes the record at `offset` seems to have."""
        if offset + FRAME_BYTES > len(buffer):
            return FRAME_BYTES
        (length, _) = FRAME.unpack_from(buffer, offset)
        return FRAME_BYTES + int(length) if length <= BODY_BYTES_MAX else FRAME_BYTES

    def _seek(self, position: int, end: int) -> tuple[int, int]:
        """Open the segment that holds `position`; where to read from in it, and up to where."""
        if self._file is not None:
            stop = self._stop(end)
            if self._file[0] <= position < stop:
                return position, stop
            self.close()
        # The one that holds it, or else the next: positions that no record stands at are passed over.
        for segment in list_segments(self._directory):
            if segment.end > position:
                break
        else:
            raise LogCorrupt(segment_path(self._directory, position).name, 0, "the segment is missing")
        if segment.first > position and not self._is_gap(segment.first, position):
            logger.error(
                "the event log begins at position %d, but was read only up to %d: what was between is gone",
                segment.first,
                position,
                extra={"position": segment.first, "bytes_lost": segment.first - position},
            )
        self._file = (segment.first, os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC))
        start = max(position, segment.first)
        stop = self._stop(end)
        if start >= stop:
            raise LogCorrupt(segment.path.name, start - segment.first, "records that were acknowledged are missing")
        return start, stop

    def _is_gap(self, first: int, position: int) -> bool:
        """Whether the segment before `first` ended at `position`: nothing was ever written in between."""
        with segment_path(self._directory, first).open("rb") as file:
            buffer = file.read(1024)
        try:
            head = decode_record(buffer, 0, check_record(buffer, 0))
        except BadRecord:
            return False
        return isinstance(head, SegmentHead) and head.prior_end <= position

    def _stop(self, end: int) -> int:
        assert self._file is not None
        first, fd = self._file
        return min(end, first + os.fstat(fd).st_size)

    def _check_log(self, head: SegmentHead) -> None:
        if head.log_id != self._log_id:
            raise LogFault(f"the event log in {self._directory} was replaced by another one; start again")


async def wait_for_log(directory: Path) -> str:
    """The id of the log in this directory, once its owner has made it."""
    while (log_id := read_log_id(directory)) is None:
        await trio.sleep(POLL_S)
    return log_id


@asynccontextmanager
async def open_segments_reader(
    directory: Path, name: str, position: int, read_events: ReadEvents | None = None
) -> AsyncIterator[SegmentReader]:
    """A reader beside the log's owner, in a process of its own. The log is there (`wait_for_log`).

    It polls the mark every 25 ms, and its commits go to `cursors/NAME`, where the owner looks. Raises `LogFault`
    where `position` is beyond the log's end.
    """
    log_id = await wait_for_log(directory)
    mark = MarkView(directory)
    polls = 0

    async def wait() -> None:
        nonlocal polls
        polls += 1
        if polls % REPLACED_POLLS == 0 and mark.replaced():
            raise LogFault(f"the event log in {directory} was replaced by another one; start again")
        await trio.sleep(POLL_S)

    async def let_go(done: int) -> None:
        try:
            await trio.to_thread.run_sync(write_cursor, directory, name, log_id, done)
        except OSError as error:
            raise Unavailable(f"the cursor of {name!r} can't be written: {error}") from error

    reader = SegmentReader(
        directory,
        log_id,
        position,
        readable_end=mark.end,
        rewrites=mark.rewrites,
        wait=wait,
        let_go=let_go,
        patience_s=PATIENCE_S,
        read_events=read_events,
    )
    try:
        await let_go(position)
        if position > mark.end():
            # The owner sees the cursor at its next start, and goes on past it with new epochs.
            raise LogFault(
                f"the reader {name!r} has read on to position {position}, but the event log in {directory} ends at "
                f"{mark.end()}: the log is an older copy. Start the gateway again, then this"
            )
        yield reader
    finally:
        reader.close()
        mark.close()
