"""The event log of one node: an `EventLog` over segment files. docs/log-format.md has the bytes.

Opened by the composition root with `open_segments`; the plane appends, the processor reads, the gateway asks for
heads and tails. Everything that is not async runs on the trio thread and blocks for the page cache only.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from polyglotd.log.channel_table import ChannelState, Steps
from polyglotd.log.durability import GroupSync
from polyglotd.log.eraser import Eraser
from polyglotd.log.erasures import UNDER_WAY_MAX
from polyglotd.log.follow import Follower
from polyglotd.log.interface import (
    STORE_READER,
    AppForgotten,
    ChannelHead,
    EpochBegun,
    Erasure,
    ErasureState,
    FoundEvents,
    LogCorrupt,
    LogRecord,
    LogSettings,
    LogStats,
    Meter,
    PresenceChanged,
    QuotaReached,
    RecentId,
    TailMoved,
    Wanted,
)
from polyglotd.log.mark import Left, boot_id
from polyglotd.log.native_events import ReadEvents
from polyglotd.log.opening import DEDUPE_WINDOW_US, OpenedLog, Repair, open_log, renew
from polyglotd.log.record import (
    FRAME_BYTES,
    ID_GIVEN,
    encode_app_forgotten,
    encode_epoch_begun,
    encode_erasure,
    encode_event_record,
    encode_meter,
    encode_presence,
    encode_quota_reached,
)
from polyglotd.log.replay import Replay
from polyglotd.log.search import find_events
from polyglotd.log.segment_files import read_head
from polyglotd.log.segment_reader import SegmentReader
from polyglotd.log.segment_writer import SegmentWriter
from polyglotd.log.steady import Rewrites
from polyglotd.log.tails import Tails
from polyglotd.log.upkeep import Cursors, Upkeep
from polyglotd.log.writer import Writer
from polyglotd.model import Event, Unavailable, new_epoch, now_us

logger = logging.getLogger(__name__)

FORGET_SLICE = 2_000  # channels looked at before other tasks may run
CLOSE_DEADLINE_S = 10.0
ERASE_AGAIN_MS = 60_000
SEARCHES_MAX = 2  # at once, each in a thread


def _encode(record: Meter | PresenceChanged | QuotaReached) -> bytes:
    match record:
        case Meter():
            return encode_meter(record)
        case PresenceChanged():
            return encode_presence(record)
        case QuotaReached():
            return encode_quota_reached(record)


class SegmentLog:
    """Satisfies `EventLog`."""

    HEARD_LATE_S = 0.0  # of what was appended, at most

    def __init__(
        self, directory: Path, settings: LogSettings, opened: OpenedLog, writer: Writer, clock: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._table = opened.table
        self._mark = opened.mark
        self._known_from = opened.tail_from  # the table knows where every event from here on stands
        self._acknowledged_at_once = settings.sync != "always"
        self._arrivals = trio.lowlevel.ParkingLot()
        self._readers: list[SegmentReader] = []
        self._read_events: ReadEvents | None = None
        self._writer = writer
        self._rewrites = Rewrites(opened.mark.rewrites, opened.mark.set_rewrites)
        self._tails = Tails(opened.table, writer, self._rewrites)
        self._follower = Follower(writer, self._rewrites, opened.table.erasures)
        self._searches = trio.CapacityLimiter(SEARCHES_MAX)
        self._sync = GroupSync(writer, on_durable=self._on_durable, on_failed=self._on_failed)
        self._eraser = Eraser(directory, opened.table.erasures, writer, self._sync, self._rewrites)
        self._cursors = Cursors(opened.cursors)
        self._upkeep = Upkeep(
            directory,
            opened.log_id,
            opened.table,
            self._writer,
            self._sync,
            self._cursors,
            checkpoint=opened.checkpoint,
            bytes_max=settings.bytes_max,
            clock=clock,
        )
        self.id = opened.log_id
        self.repairs: Sequence[Repair] = tuple(opened.repairs)
        self.records_replayed = opened.records

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The background work, until cancelled. `open_segments` runs it."""
        async with trio.open_nursery() as nursery:
            if not self._acknowledged_at_once:  # the last owner may have left this to the kernel
                await self._sync.reach(self._writer.end)
            await nursery.start(self._upkeep.run)
            await nursery.start(self._eraser.run)
            if self._settings.sync == "interval":
                nursery.start_soon(self._sync_by_interval)
            task_status.started()

    # --- appending ---

    @property
    def end(self) -> int:
        return self._writer.end

    def append(self, records: Sequence[LogRecord]) -> int:
        self._sync.check()
        if not records:
            return self._writer.end
        table = self._table
        steps = Steps()
        parts: list[bytes] = []
        runs: list[tuple[ChannelState, int, int]] = []  # channel, first seq, offset: true once it is written
        ids: list[tuple[ChannelState, int, int, int]] = []  # channel, offset, offset behind it, ts
        of: ChannelState | None = None  # whose run the last one is
        size = 0
        try:
            for record in records:
                if type(record) is Event:
                    state = table.advance(record, steps)
                    part = encode_event_record(record, state.key)
                    if state is not of or record.seq == 1:
                        of = state
                        runs.append((state, record.seq, size))
                    if part[FRAME_BYTES + 1] & ID_GIVEN:
                        ids.append((state, size, size + len(part), record.ts_us))
                else:
                    assert not isinstance(record, Event)
                    part = _encode(record)
                parts.append(part)
                size += len(part)
            position = self._writer.write(b"".join(parts), bounded=bool(runs))
        except BaseException:
            steps.undo(table)
            raise
        runs_end = position + size
        for index, (state, first_seq, offset) in enumerate(runs, 1):
            end = position + runs[index][2] if index < len(runs) else runs_end
            table.note(state, first_seq, position + offset, end)
            self._follower.noted(state.app_id, state.channel, position + offset, end)
        for state, offset, end_offset, ts_us in ids:
            table.note_id(state, position + offset, position + end_offset)
            self._note_ids_of_segments(position, runs_end, ts_us)
        self._arrived()
        return runs_end

    async def synced(self, position: int) -> None:
        if self._settings.sync == "always":
            await self._sync.reach(position)
        self._sync.check()
        await trio.lowlevel.checkpoint()

    def begin_epoch(self, app_id: str, channel: str, epoch: str) -> None:
        self._sync.check()
        position = self._writer.write(encode_epoch_begun(EpochBegun(app_id, channel, epoch)), bounded=False)
        self._table.begin_epoch(app_id, channel, epoch, self._clock())
        self._past_ended(app_id, channel, position)
        self._arrived()

    def forget_app(self, app_id: str) -> None:
        self._sync.check()
        epoch = new_epoch()
        record = encode_app_forgotten(AppForgotten(app_id, epoch))
        position = self._writer.write(record, bounded=False)
        self._table.forget_app(app_id, epoch)
        self._table.erasures.forget_app(app_id, position + len(record))
        self._eraser.asked()
        self._past_ended(app_id, None, position)
        self._arrived()

    # --- erasing ---

    def erase(self, erasure: Erasure) -> int:
        self._sync.check()
        if self._table.erasures.under_way >= UNDER_WAY_MAX:
            raise Unavailable("too many erasures are under way", retry_after_ms=ERASE_AGAIN_MS)
        record = encode_erasure(erasure)
        end = self._writer.write(record, bounded=False) + len(record)
        self._table.erasures.add(erasure, end)
        self._eraser.asked()
        self._arrived()
        return end

    def erasures(self) -> Sequence[ErasureState]:
        return self._table.erasures.states()

    def settle(self, erasure_id: str) -> None:
        self._table.erasures.settle(erasure_id, self._clock())

    def forgetting(self) -> Collection[str]:
        return set(self._table.erasures.apps)

    def shown(self, event: Event) -> Event:
        return self._table.erasures.shown(event)

    def _past_ended(self, app_id: str, channel: str | None, position: int) -> None:
        """The past of the channel, or of all of the app's, ends at this position. For who is told of events late."""

    def _note_ids_of_segments(self, start: int, end: int, ts_us: int) -> None:
        """Publishers' own ids stand between these positions, none younger than this."""
        for segment in reversed(self._writer.segments):
            if segment.first < end:
                segment.ids_until_us = max(segment.ids_until_us, ts_us)
            if segment.first <= start:
                break

    def _arrived(self) -> None:
        if self._acknowledged_at_once:
            self._show()

    def _show(self) -> None:
        """Readers may go on."""
        self._arrivals.unpark_all()
        self._follower.shown()

    # --- channels ---

    def head(self, app_id: str, channel: str) -> ChannelHead:
        return self._table.head(app_id, channel)

    async def forget_idle(self, may_forget: Callable[[str, str, int], bool]) -> int:
        table = self._table
        forgotten = 0
        states = list(table.states())
        for start in range(0, len(states), FORGET_SLICE):
            idle = [
                state
                for state in states[start : start + FORGET_SLICE]
                if table.get(state.app_id, state.channel) is state
                and table.with_tail(state.app_id, state.channel) is None
                and may_forget(state.app_id, state.channel, state.ts_us)
            ]
            if idle:
                if not forgotten:
                    table.renew(new_epoch())  # before the heads go: see `checkpoint`
                for state in idle:
                    table.drop(state)
            forgotten += len(idle)
            await trio.lowlevel.checkpoint()
        return forgotten

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        return self._tails.recent_ids(app_id, channel, self._clock() - DEDUPE_WINDOW_US)

    def tail_first(self, app_id: str, channel: str) -> int:
        return self._tails.first(app_id, channel)

    async def tail(
        self, app_id: str, channel: str, after: int, before: int, *, limit: int = 1_000, newest: bool = True
    ) -> Sequence[Event]:
        return await self._tails.read(app_id, channel, after, before, limit=limit, newest=newest)

    # --- readers ---

    def follower(self) -> Follower:
        return self._follower

    async def find(self, wanted: Wanted, position: int) -> FoundEvents:
        until = min(self._writer.known, self.readable_end)
        if position < self.begin:
            raise TailMoved
        if position >= until:
            await trio.lowlevel.checkpoint()
            return FoundEvents([], [], position)
        segments = list(self._writer.segments)
        found, _ = await trio.to_thread.run_sync(
            self._rewrites.steady,
            partial(find_events, segments, [wanted], [(position, until)]),
            limiter=self._searches,
        )
        return FoundEvents([self.shown(event) for event in found.events], found.ends, found.end)

    @property
    def begin(self) -> int:
        return self._writer.segments[0].first

    @property
    def readable_end(self) -> int:
        """Readers see what is acknowledged: with `always`, what is durable."""
        return self._writer.acknowledged

    def reader(self, name: str, position: int) -> SegmentReader:
        if position > self._writer.end:
            self._go_on_past(name, position)
        if name == STORE_READER and position < self._known_from:
            self._learn_positions(position)
        self._cursors.own.add(name)
        self._cursors.positions[name] = position
        self._upkeep.cursors_moved()

        async def let_go(done: int) -> None:
            self._cursors.positions[name] = max(done, self._cursors.positions[name])
            self._upkeep.cursors_moved()
            await trio.lowlevel.checkpoint()

        reader = SegmentReader(
            self._directory,
            self.id,
            position,
            readable_end=lambda: self.readable_end,
            rewrites=lambda: self._rewrites.count,
            wait=self._arrivals.park,
            let_go=let_go,
            patience_s=0.0,
            read_events=self._read_events,
        )
        self._readers.append(reader)
        return reader

    def _go_on_past(self, name: str, position: int) -> None:
        """The reader has read what this log does not hold: an older copy of the directory was put back."""
        epoch = new_epoch()
        self._writer.begin_segment(position, renewed=epoch)
        renew(self._table, epoch, f"the reader {name!r} has read on to position {position}, beyond the end", position)

    def _learn_positions(self, position: int) -> None:
        """The store is further behind than the copy of its cursor said: read the segments again from there."""
        self._table.begin_tails(position)
        replay = Replay(self._table, heads_from=self._writer.end, tail_from=position, ids_since_us=1 << 62)
        for segment in self._writer.segments:
            if segment.end > position:
                _, offset = read_head(segment.path)
                end, fault = replay.segment(segment, segment.path.read_bytes()[: segment.size], offset)
                if fault is not None:
                    raise LogCorrupt(segment.path.name, end, str(fault))
        replay.done(self._writer.end)
        self._known_from = position

    # --- durability ---

    async def _sync_by_interval(self) -> None:
        interval_s = self._settings.sync_interval_ms / 1000
        while self._sync.failed is None:
            pause_s = interval_s
            if self._writer.durable >= self._writer.end:
                await self._arrivals.park()  # a log that gets nothing wakes nobody
                pause_s = max(interval_s - self.HEARD_LATE_S, 0.0)
            await trio.sleep(pause_s)
            if self._writer.durable < self._writer.end:
                try:
                    await self._sync.reach(self._writer.end)
                except Unavailable:
                    return  # said already; whoever appends is told

    def _on_durable(self) -> None:
        if not self._acknowledged_at_once:
            self._show()

    def _on_failed(self) -> None:
        try:
            self._mark.write(Left(self.readable_end, True, True, self._settings.sync, boot_id()))
        except OSError as error:
            logger.critical("the event log's mark can't be written either: %s", error)

    # --- state ---

    def stats(self) -> LogStats:
        return LogStats(
            end=self._writer.end,
            unread_bytes=self._upkeep.unread_bytes(),
            bytes_max=self._settings.bytes_max,
            segments=len(self._writer.segments),
            channels=self._table.count,
            readers=dict(self._cursors.positions),
            failed=self._sync.failed,
        )

    async def close(self) -> None:
        """Checkpoint, cursors, mark: the next start has next to nothing to do. `open_segments` calls it."""
        try:
            await self._upkeep.close()
            self._mark.write(Left(self._writer.end, False, False, self._settings.sync, boot_id()))
        except (OSError, Unavailable) as error:
            logger.error("the event log could not be closed cleanly, the next start repairs it: %s", error)

    def release(self) -> None:
        """Let go of every descriptor, and of the directory."""
        for reader in self._readers:
            reader.close()
        self._writer.close()
        self._mark.close()


@asynccontextmanager
async def open_segments(
    directory: Path, settings: LogSettings, *, clock: Callable[[], int] = now_us
) -> AsyncIterator[SegmentLog]:
    """Open the log for writing, repaired, and run its background work. The directory is made where it is not there.

    Raises `LogInUse` where another process has it, `LogCorrupt` or another `LogFault` where it can't be trusted, and
    OSError where the directory can't be used.
    """
    opened = await trio.to_thread.run_sync(open_log, directory, settings, clock())
    writer = SegmentWriter(
        directory,
        opened.log_id,
        opened.mark,
        opened.segments,
        opened.fd,
        unsynced=opened.unsynced,
        segment_bytes=settings.segment_bytes,
        acknowledge=settings.sync != "always",
        clock=clock,
    )
    log = SegmentLog(directory, settings, opened, writer, clock)
    async with running(log):
        yield log


@asynccontextmanager
async def running(log: SegmentLog) -> AsyncIterator[None]:
    """Run its background work, and close it at the end."""
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            try:
                yield
            except Exception as error:
                failure = error  # it rises as itself, not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_DEADLINE_S):
            await log.close()
        log.release()
