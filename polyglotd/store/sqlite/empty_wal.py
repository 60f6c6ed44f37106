"""Empty a database's write-ahead log after something was erased: it has pages as they were.

Run by the makes of stores whose erasing is done when its transaction is. Asked for at each start too, for one that a
crash came before.
"""

import logging
from pathlib import Path

import trio

from polyglotd.model import Unavailable
from polyglotd.store.interface import StoreFault
from polyglotd.store.sqlite.files import truncate_wal

logger = logging.getLogger(__name__)

AGAIN_S = 0.5  # where somebody reads an older state just now


class EmptyWal:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked = trio.Event()
        self.ask()

    def ask(self) -> None:
        self._asked.set()

    async def run(self) -> None:
        """Run until cancelled, which is safe at any await."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                if not await trio.to_thread.run_sync(truncate_wal, self._path):
                    self.ask()
            except (Unavailable, StoreFault) as error:
                logger.debug("the write-ahead log of %s can't be emptied now: %s", self._path, error)
                self.ask()
            await trio.sleep(AGAIN_S)
