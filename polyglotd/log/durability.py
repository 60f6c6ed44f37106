"""Fsync for everybody who waits, one at a time: whoever comes while one runs shares the next.

Used by `segments` (`synced`, `sync = interval`) and `upkeep` (checkpoints). An fsync that fails is never repeated:
the kernel may have dropped the pages, so the log is given up and says so.
"""

import logging
from collections.abc import Callable

import trio

from polyglotd.log.writer import Writer
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)


class GroupSync:
    def __init__(self, writer: Writer, *, on_durable: Callable[[], None], on_failed: Callable[[], None]) -> None:
        self._writer = writer
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._running = False
        self._waiting = trio.lowlevel.ParkingLot()
        self.failed: str | None = None

    def check(self) -> None:
        """Raises `Unavailable` where an fsync failed, ever."""
        if self.failed is not None:
            raise Unavailable("the event log has failed; the server must be started again", retry_after_ms=10_000)

    async def reach(self, position: int) -> None:
        """Return when everything before `position` is durable. Cancelled: nothing is lost."""
        while self._writer.durable < position:
            self.check()
            if self._running:
                await self._waiting.park()
            else:
                await self._sync()
        self.check()

    async def _sync(self) -> None:
        """One fsync for what is there now; whoever runs it does so for all who came meanwhile."""
        self._running = True
        try:
            await self._writer.sync()
            self._on_durable()
        except OSError as error:
            self.give_up(str(error))
        finally:
            self._running = False
            self._waiting.unpark_all()

    def give_up(self, why: str) -> None:
        """An fsync failed, here or at the driver's hands: the log takes nothing any more."""
        if self.failed is None:
            self.failed = why
            logger.critical("fsync of the event log failed; it takes no events until the next start: %s", why)
            self._on_failed()
