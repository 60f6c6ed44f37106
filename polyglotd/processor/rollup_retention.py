"""Delete rollups that are older than their level is kept, and what is left of forgotten apps, a slice at a time.

A chore of the processor. Waits out a lost store.
"""

import logging
from collections.abc import Callable

import trio

from polyglotd.model import Unavailable, now_us
from polyglotd.processor.rollups import kept_from
from polyglotd.store.analytics import Rollups
from polyglotd.store.interface import StoreFault

logger = logging.getLogger(__name__)

EVERY_S = 60.0


class RollupRetention:
    def __init__(self, rollups: Rollups, *, clock: Callable[[], int] = now_us) -> None:
        self._rollups = rollups
        self._clock = clock

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            await trio.sleep(EVERY_S)
            try:
                await self._rollups.prune(kept_from(self._rollups.settings, self._clock()))
            except (Unavailable, StoreFault) as error:
                logger.warning("old rollups wait to be deleted: %s", error)
