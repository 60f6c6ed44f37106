"""The event log where the driver writes to it by itself and tells of its events later, by runs.

Opened by the composition root with `open_native_segments` in the place of `open_segments` where the library in C++ is
there; the Python plane may write to it as well. Whoever tells of runs is `polyglotd/plane/native`.
"""

import ctypes
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from polyglotd.log.interface import AppendedRun, LogSettings
from polyglotd.log.native_events import ReadEvents, native_events
from polyglotd.log.native_library import LogCounters
from polyglotd.log.native_writer import NativeSegmentWriter
from polyglotd.log.opening import OpenedLog, open_log
from polyglotd.log.segments import SegmentLog, running
from polyglotd.model import Unavailable, now_us

WATCH_S = 1.0  # how often the driver's writes are looked after


class NativeSegmentLog(SegmentLog):
    """Satisfies `EventLog`. Events of a channel whose topic the driver has open come through the driver alone."""

    HEARD_LATE_S = 0.05  # the driver gathers what it tells of for so long

    def __init__(
        self,
        directory: Path,
        settings: LogSettings,
        opened: OpenedLog,
        writer: NativeSegmentWriter,
        read_events: ReadEvents,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(directory, settings, opened, writer, clock)
        self._read_events = read_events
        self._native = writer
        self._pasts: deque[tuple[int, str, str | None]] = deque()  # where the pasts of channels, or of apps, ended
        self._news = trio.Event()  # a run may have to become durable before readers see it

    @property
    def handle(self) -> ctypes.c_void_p:
        """The `plg_log`, for `plg_open`. The driver must be closed before the log is."""
        return self._native.log.handle

    def appended(self, runs: Sequence[AppendedRun], told: int) -> None:
        """The driver has written these events, which are in the log for good.

        Runs of one channel come in the order of their seqs, each at or behind the end of the one before. `told`: of
        every event that the driver wrote before this position, this call or one before has told. Raises ValueError
        where seqs do not follow each other, which is a bug.
        """
        for run in runs:
            if not self._pasts or not self._is_of_a_past(run):
                self._table.follow(run)
                self._follower.noted(run.app_id, run.channel, run.start, run.end)
        with_ids = [run for run in runs if run.ids_given]
        if with_ids:  # as one: segments that stay a moment longer cost less than to look at them for each run
            start, end = min(run.start for run in with_ids), max(run.end for run in with_ids)
            self._note_ids_of_segments(start, end, max(run.last_ts_us for run in with_ids))
        self._native.told(told)
        self._forget_pasts()
        if self._acknowledged_at_once:
            self._arrived()
        else:
            self._news.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(super().run)
            nursery.start_soon(self._watch)
            if not self._acknowledged_at_once:
                nursery.start_soon(self._show_durable)
            task_status.started()

    def counters(self) -> LogCounters:
        """Of all writes, the driver's and ours."""
        return self._native.counters()

    def _past_ended(self, app_id: str, channel: str | None, position: int) -> None:
        self._pasts.append((position, app_id, channel))
        self._forget_pasts()

    def _forget_pasts(self) -> None:
        """Those that lie before what is known: no run can be of them any more."""
        if self._pasts:
            known = self._native.known
            while self._pasts and self._pasts[0][0] < known:
                self._pasts.popleft()

    def _is_of_a_past(self, run: AppendedRun) -> bool:
        """Whether the channel went on in another epoch, by our own hand, before we were told of this run."""
        if self._table.head(run.app_id, run.channel).epoch == run.epoch:
            return False
        return any(
            app_id == run.app_id and channel in (None, run.channel) and run.end <= position
            for position, app_id, channel in self._pasts
        )

    async def _watch(self) -> None:
        while self._sync.failed is None:
            await trio.sleep(WATCH_S)
            if (why := self._native.watch()) is not None:
                self._sync.give_up(why)

    async def _show_durable(self) -> None:
        """Wake readers when what the driver has told of is durable; mostly it is, and no fsync is needed."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            try:
                await self._sync.reach(self._native.end)
            except Unavailable:
                return  # said already
            self._show()


@asynccontextmanager
async def open_native_segments(
    directory: Path, settings: LogSettings, library: ctypes.CDLL, *, clock: Callable[[], int] = now_us
) -> AsyncIterator[NativeSegmentLog]:
    """As `open_segments`. `library`: exports plg_log_*, by which it is written and, for the most part, read."""
    opened = await trio.to_thread.run_sync(open_log, directory, settings, clock())
    try:
        writer = NativeSegmentWriter(
            library,
            directory,
            opened.log_id,
            opened.mark,
            opened.segments,
            opened.fd,
            unsynced=opened.unsynced,
            segment_bytes=settings.segment_bytes,
            acknowledge=settings.sync != "always",
        )
    except BaseException:
        opened.release()
        raise
    log = NativeSegmentLog(directory, settings, opened, writer, native_events(library), clock)
    async with running(log):
        yield log
