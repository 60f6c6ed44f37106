"""Go on in the store with what was asked to be erased, a bounded batch at a time, until no row or file has it.

Run by `processor.pipeline`. The store reads of erasures in the log's order and remembers them in the transaction that
moves its cursor, so a crash leaves nothing undone: what is left is found again.
"""

import logging

import trio

from polyglotd.model import Unavailable
from polyglotd.store.interface import EventStore, StoreFault

logger = logging.getLogger(__name__)

EVERY_S = 0.5
BATCH_EVENTS = 2_000
PAUSE_S = 0.02  # between batches, so that the store's writer gets its turn
SAID_EVERY_S = 60.0


class Erasing:
    """Waits out a lost store."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._said_at = float("-inf")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            try:
                await self.erase()
            except (Unavailable, StoreFault) as error:
                if trio.current_time() - self._said_at >= SAID_EVERY_S:
                    self._said_at = trio.current_time()
                    logger.warning("events wait to be erased from the store: %s", error)
            await trio.sleep(EVERY_S)

    async def erase(self) -> None:
        """Erase everything that is asked for now. Raises `Unavailable`, `StoreFault`."""
        if await self._store.erasures():
            while not await self._store.erase_on(BATCH_EVENTS):
                await trio.sleep(PAUSE_S)
