"""Erase what the stores hold of deleted apps, once the log has said that everything of them is through.

Run by `processor.pipeline`. When nothing is left, the registry frees the app's id; only then the store forgets that
there was something to erase, so that a crash in between leaves nothing undone.
"""

import logging
from collections.abc import Collection
from typing import Protocol

import trio

from polyglotd.model import Unavailable
from polyglotd.store.interface import EventStore, StoreFault

logger = logging.getLogger(__name__)

EVERY_S = 5.0
BATCH_EVENTS = 2000
PAUSE_S = 0.05


class DeletedApps(Protocol):
    """What forgetting needs of a `Registry`."""

    async def app_erased(self, app_id: str) -> None: ...


class ForgottenElsewhere(Protocol):
    """What forgetting needs of another store that reads the log: it forgets by itself, at a pace of its own."""

    async def forgotten_apps(self) -> Collection[str]: ...

    async def erased(self, app_id: str) -> None: ...


class Forgetting:
    """Waits out a lost store or registry."""

    def __init__(self, store: EventStore, registry: DeletedApps, rollups: ForgottenElsewhere) -> None:
        self._store = store
        self._registry = registry
        self._rollups = rollups

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await: what was not finished is found again."""
        task_status.started()
        while True:
            try:
                await self.erase()
            except (Unavailable, StoreFault) as error:
                logger.warning("deleted apps wait to be erased: %s", error)
            await trio.sleep(EVERY_S)

    async def erase(self) -> None:
        """Erase everything that is forgotten now. Raises `Unavailable`, `StoreFault`."""
        forgotten_elsewhere = set(await self._rollups.forgotten_apps())
        for app_id in await self._store.forgotten_apps():
            while not await self._store.erase_forgotten(app_id, BATCH_EVENTS):
                await trio.sleep(PAUSE_S)
            if app_id not in forgotten_elsewhere:
                continue  # its counts are still to go: whoever takes the id must not see them
            await self._registry.app_erased(app_id)
            await self._store.erased(app_id)
            await self._rollups.erased(app_id)
