"""Delete stored events that are older than their kind's `retention_s`, a bounded batch at a time.

Run by `processor.pipeline`. What a kind's policy is now decides, also for events that were stored under another one.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

import trio

from polyglotd.model import App, NotFound, PolicyOverride, Unavailable, now_us, policy_for
from polyglotd.store.interface import EventStore

logger = logging.getLogger(__name__)

EVERY_S = 60.0
BATCH_EVENTS = 2000  # a delete holds the store's one writer for some ms
PAUSE_S = 0.05  # between batches, so that the store writer gets its turn


class Apps(Protocol):
    """What retention needs of a `Registry`."""

    async def app(self, app_id: str) -> App: ...


class Retention:
    """`kinds`: what the configuration says of apps' kinds, below what the registry says."""

    def __init__(self, store: EventStore, apps: Apps, kinds: Mapping[str, Mapping[str, PolicyOverride]]) -> None:
        self._store = store
        self._apps = apps
        self._kinds = kinds
        self.deleted_total = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            try:
                await self.prune()
            except Unavailable as error:
                logger.warning("old events wait to be deleted: %s", error)
            await trio.sleep(EVERY_S)

    async def prune(self) -> None:
        """Delete everything that is too old now. Raises `Unavailable`."""
        for app_id, kind in sorted(await self._store.apps_and_kinds()):
            retention_s = await self._retention_s(app_id, kind)
            if retention_s is None:
                continue
            before_us = now_us() - retention_s * 1_000_000
            while deleted := await self._store.prune(app_id, f"{kind}:", before_us, BATCH_EVENTS):
                self.deleted_total += deleted
                await trio.sleep(PAUSE_S)

    async def _retention_s(self, app_id: str, kind: str) -> int | None:
        """None where nobody defines the kind any more: then nobody said that its events may go."""
        try:
            app = await self._apps.app(app_id)
        except NotFound:
            return None  # a deleted app: its events go by `forgetting`
        overrides = {**self._kinds.get(app_id, {}), **app.kinds}
        policy = policy_for(kind, overrides)
        return policy.retention_s if policy is not None else None
