"""Fsync for everybody who waits, one at a time: whoever comes while one runs shares the next.

Used by `segments` (`synced`, `sync = interval`) and `upkeep` (checkpoints). An fsync that fails is never repeated:
the kernel may have dropped the pages, so the log is given up and says so.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import trio

from polyglotd.log.segment_files import sync_directory
from polyglotd.log.segment_writer import SegmentWriter
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)


class GroupSync:
    def __init__(
        self,
        directory: Path,
        writer: SegmentWriter,
        *,
        on_durable: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._writer = writer
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._thread = trio.CapacityLimiter(1)
        self._running = False
        self._waiting = trio.lowlevel.ParkingLot()
        self._named = False  # the newest segment's name in the directory is durable
        self.durable = 0
        self.failed: str | None = None

    def check(self) -> None:
        """Raises `Unavailable` where an fsync failed, ever."""
        if self.failed is not None:
            raise Unavailable("the event log has failed; the server must be started again", retry_after_ms=10_000)

    async def reach(self, position: int) -> None:
        """Return when everything before `position` is durable. Cancelled: nothing is lost."""
        while self.durable < position:
            self.check()
            if self._running:
                await self._waiting.park()
            else:
                await self._sync()
        self.check()

    async def _sync(self) -> None:
        """One fsync for what is there now; whoever runs it does so for all who came meanwhile."""
        self._running = True
        target = self._writer.end
        descriptors = self._writer.descriptors()
        try:
            await trio.to_thread.run_sync(self._fsync, descriptors, limiter=self._thread)
            self.durable = target
            self._writer.close_rolled(descriptors[:-1])
            self._on_durable(target)
        except OSError as error:
            self.failed = str(error)
            logger.critical("fsync of the event log failed; it takes no events until the next start: %s", error)
            self._on_failed()
        finally:
            self._running = False
            self._waiting.unpark_all()

    def _fsync(self, descriptors: list[int]) -> None:
        for fd in descriptors:
            os.fdatasync(fd)
        if not self._named or len(descriptors) > 1:
            sync_directory(self._directory)
            self._named = True
