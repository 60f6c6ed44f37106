"""Open a log directory for its owner: checkpoint, scan, repair, and what follows from a loss.

Called by `segments.open_segments` in a worker thread, before anything else looks at the log. Blocking. Two outcomes
of a bad record: it is the torn end of what was being written, which is cut and reported; or whole records follow it,
which no crash of ours does, and then nothing is touched and `LogCorrupt` says where.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from polyglotd.log.channel_table import ChannelTable
from polyglotd.log.checkpoint import CheckpointHead, read_checkpoint, write_checkpoint
from polyglotd.log.cursors import cursors_directory, read_cursors
from polyglotd.log.interface import STORE_READER, LogCorrupt, LogFault, LogSettings
from polyglotd.log.mark import Left, Mark, boot_id
from polyglotd.log.record import BadRecord, SegmentHead
from polyglotd.log.replay import Replay, valid_record_after
from polyglotd.log.rewriting import finish_round
from polyglotd.log.segment_files import (
    Segment,
    create_segment,
    list_segments,
    read_head,
    sync_directory,
)
from polyglotd.model import new_epoch, new_handle

logger = logging.getLogger(__name__)

DEDUPE_WINDOW_US = 300 * 1_000_000  # a publisher's own id is remembered so long (contract, section 2)


class Repair(msgspec.Struct, frozen=True):
    """What was cut at the start."""

    segment: str
    offset: int
    bytes_cut: int
    why: str


@dataclass(slots=True)
class OpenedLog:
    """A directory that is ready to be appended to."""

    log_id: str
    table: ChannelTable
    segments: list[Segment]  # at least one; the last is appended to
    fd: int  # of the last segment
    unsynced: list[int]  # descriptors of the others that no checkpoint covers
    mark: Mark
    checkpoint: int  # its position
    cursors: dict[str, int]
    tail_from: int  # the channel table knows where every event from here on stands
    repairs: list[Repair] = field(default_factory=list)
    records: int = 0  # that the start had to look at

    def release(self) -> None:
        """Where it is not appended to after all."""
        for fd in (self.fd, *self.unsynced):
            os.close(fd)
        self.mark.close()


def open_log(directory: Path, settings: LogSettings, now_us: int) -> OpenedLog:
    """Raises `LogFault` (`LogCorrupt`, `LogInUse`), and OSError where the directory can't be used."""
    cursors_directory(directory).mkdir(parents=True, exist_ok=True)
    mark = Mark(directory)
    try:
        return _Opening(directory, settings, now_us, mark).open()
    except BaseException:
        mark.close()
        raise


class _Opening:
    def __init__(self, directory: Path, settings: LogSettings, now_us: int, mark: Mark) -> None:
        self._directory = directory
        self._settings = settings
        self._now_us = now_us
        self._mark = mark
        self._left = mark.left()
        self._boot = boot_id()
        self._repairs: list[Repair] = []
        self._cut_at = 0  # where the log ends after a cut

    def open(self) -> OpenedLog:
        if finish_round(self._directory):
            logger.warning("the event log was stopped while it erased events: what was under way is finished")
        segments = list_segments(self._directory)
        found = read_checkpoint(self._directory)
        if found is None:
            if segments:
                raise LogFault(
                    f"{self._directory} has segments but no checkpoint: without it seqs could be used twice; "
                    "see docs/log-format.md, `What to do with a damaged log`"
                )
            return self._begin(new_handle("log_"))
        head, table = found
        if not segments:
            if head.position == 0 and self._left is None:  # it died while it was being created
                return self._begin(head.log_id)
            raise LogFault(
                f"{self._directory} has no segment, but its checkpoint stands at {head.position}; "
                "see docs/log-format.md, `What to do with a damaged log`"
            )
        return self._recover(head, table, segments)

    def _begin(self, log_id: str) -> OpenedLog:
        """A new log, at position 0."""
        table = ChannelTable(new_epoch())
        write_checkpoint(self._directory, log_id, 0, table)
        segment, fd = create_segment(self._directory, 0, SegmentHead(0, self._now_us, log_id))
        sync_directory(self._directory)
        return self._opened(log_id, table, [segment], fd, checkpoint=0, cursors={}, tail_from=0)

    def _recover(self, head: CheckpointHead, table: ChannelTable, segments: list[Segment]) -> OpenedLog:
        cursors = read_cursors(self._directory, head.log_id)
        tail_from = max(cursors.get(STORE_READER, 0), segments[0].first)
        replay = Replay(
            table,
            heads_from=head.position,
            tail_from=tail_from,
            ids_since_us=self._now_us - DEDUPE_WINDOW_US,
        )
        self._play(head, segments, replay, scan_from=min(head.position, tail_from))
        end = segments[-1].end if segments else self._cut_at
        replay.done(end)
        created_only = end == 0 or (bool(segments) and segments[0].first == 0 and replay.records == 0)
        lost = None if self._left is None and created_only else self._lost(end, cursors)
        first, renewed = end, ""
        if lost is not None:
            first, renewed = max(self._left.end if self._left else 0, end, *cursors.values()), new_epoch()
            renew(table, renewed, lost, first)
        if lost is not None or not segments:
            prior_end = end if segments else head.position  # what is before the checkpoint, nobody misses
            segment_head = SegmentHead(prior_end, self._now_us, head.log_id, renewed)
            segment, fd = create_segment(self._directory, first, segment_head)
            os.fsync(fd)
            sync_directory(self._directory)
            segments.append(segment)
        else:
            fd = os.open(segments[-1].path, os.O_RDWR | os.O_CLOEXEC)
        opened = self._opened(
            head.log_id, table, segments, fd, checkpoint=head.position, cursors=cursors, tail_from=tail_from
        )
        opened.records = replay.records
        return opened

    def _opened(
        self,
        log_id: str,
        table: ChannelTable,
        segments: list[Segment],
        fd: int,
        *,
        checkpoint: int,
        cursors: dict[str, int],
        tail_from: int,
    ) -> OpenedLog:
        self._mark.write(Left(segments[-1].end, True, False, self._settings.sync, self._boot))
        unsynced = [
            os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC) for segment in segments[:-1] if segment.end > checkpoint
        ]
        return OpenedLog(
            log_id, table, segments, fd, unsynced, self._mark, checkpoint, cursors, tail_from, self._repairs
        )

    # --- scan and repair ---

    def _play(self, head: CheckpointHead, segments: list[Segment], replay: Replay, *, scan_from: int) -> None:
        """Check the chain of segments, play those that matter, cut what may be cut."""
        ids_since_us = self._now_us - DEDUPE_WINDOW_US
        previous: Segment | None = None
        playing = False  # from the first segment that matters, all of them: heads move in the log's order
        for index, segment in enumerate(list(segments)):
            try:
                segment_head, offset = read_head(segment.path)
            except BadRecord as bad:
                self._cut(head, segments, index, 0, bad)
                return
            if segment_head.log_id != head.log_id:
                raise LogFault(
                    f"{segment.path} belongs to another log ({segment_head.log_id}, not {head.log_id}): move it away"
                )
            segment.created_us = segment_head.created_us
            if previous is None and segment_head.prior_end > head.position:
                raise LogFault(
                    f"{self._directory}: the segments before {segment.path.name} are missing, from position "
                    f"{head.position} on; see docs/log-format.md, `What to do with a damaged log`"
                )
            if previous is not None and previous.end != segment_head.prior_end:
                gap = BadRecord(f"the next segment says that this one ends at position {segment_head.prior_end}")
                self._cut(head, segments, index - 1, min(previous.size, segment_head.prior_end - previous.first), gap)
                return
            last = index == len(segments) - 1
            written_us = segment.path.stat().st_mtime_ns // 1000  # no record in it is younger
            playing = playing or last or segment.end > scan_from or written_us >= ids_since_us
            if playing:
                if segment_head.renewed:
                    replay.renew(segment.first, segment_head.renewed)
                buffer = segment.path.read_bytes()
                segment.size = len(buffer)
                end, fault = replay.segment(segment, buffer, offset)
                if fault is not None:
                    self._cut(head, segments, index, end, fault, buffer)
                    return
            previous = segment

    def _cut(
        self,
        head: CheckpointHead,
        segments: list[Segment],
        index: int,
        offset: int,
        bad: BadRecord,
        buffer: bytes | None = None,
    ) -> None:
        """Cut the log at this place, where that loses nothing that was durable; else raise `LogCorrupt`."""
        segment = segments[index]
        if segment.first + offset < self._unsynced_from(head):
            torn = False
            if index == len(segments) - 1:
                follower = valid_record_after(segment.path.read_bytes() if buffer is None else buffer, offset)
                torn = follower is None
                if follower is not None:
                    bad = BadRecord(f"{bad}, and whole records follow at offset {follower}")
            if not torn:
                raise LogCorrupt(segment.path.name, offset, str(bad))
        for later in reversed(segments[index + 1 :]):
            self._repaired(later.path.name, 0, later.size, "it follows a place that was cut")
            later.path.unlink()
        del segments[index + 1 :]
        self._cut_at = segment.first + offset
        self._repaired(segment.path.name, offset, segment.size - offset, str(bad))
        if offset == 0:
            segment.path.unlink()
            del segments[index]
        else:
            os.truncate(segment.path, offset)
            fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            segment.size = offset
        sync_directory(self._directory)

    def _unsynced_from(self, head: CheckpointHead) -> int:
        """From here on a loss of the page cache may have left holes between good records. No such place else."""
        left = self._left
        if left is None or not (left.failed or (left.open and left.boot != self._boot)):
            return 1 << 63
        return max(head.position, left.end) if left.sync == "always" and not left.failed else head.position

    def _repaired(self, segment: str, offset: int, bytes_cut: int, why: str) -> None:
        self._repairs.append(Repair(segment, offset, bytes_cut, why))
        logger.warning(
            "the event log was repaired: %s cut at offset %d, %d bytes (%s)",
            segment,
            offset,
            bytes_cut,
            why,
            extra={"segment": segment, "offset": offset, "bytes_cut": bytes_cut},
        )

    def _lost(self, end: int, cursors: dict[str, int]) -> str | None:
        """Why acknowledged events may be gone; None where they are all there."""
        left = self._left
        if left is None:
            return "its mark is missing"
        if left.end > end:
            return f"it was acknowledged up to position {left.end} and holds records up to {end}"
        if left.page_cache_lost(self._boot):
            return f"the machine stopped (or an fsync failed) while the log was open, with sync = {left.sync}"
        ahead = [name for name, position in cursors.items() if position > end]
        if ahead:
            return f"the reader {ahead[0]} has read on to {cursors[ahead[0]]}, the log ends at {end}"
        return None


def renew(table: ChannelTable, epoch: str, why: str, position: int) -> None:
    """Every channel begins a new epoch, and the log goes on at a position past every one that anyone has seen: what
    was lost is shown by a new epoch, never by a seq or a position that is used twice. The head of the segment that
    begins there says so too."""
    table.clear()
    table.renew(epoch)
    logger.warning(
        "acknowledged events may be lost: %s. Every channel begins a new epoch, at position %d",
        why,
        position,
        extra={"position": position},
    )
