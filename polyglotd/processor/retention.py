"""Delete stored events that are older than their kind's `retention_s`, a bounded batch at a time.

Run by `processor.pipeline`. What a kind's policy is now decides, also for events that were stored under another one.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import trio

from polyglotd.model import (
    BUILT_IN_KINDS,
    App,
    Invalid,
    NotFound,
    Policy,
    PolicyOverride,
    Unavailable,
    apply_override,
    now_us,
)
from polyglotd.store.interface import EventStore, StoreFault

logger = logging.getLogger(__name__)

EVERY_S = 60.0
BATCH_EVENTS = 2000  # a delete holds the store's one writer for some ms
PAUSE_S = 0.05  # between batches, so that the store writer gets its turn


class Apps(Protocol):
    """What retention needs of a `Registry`."""

    async def app(self, app_id: str) -> App: ...


class Retention:
    """`kinds`: what the configuration says of apps' kinds, below what the registry says."""

    def __init__(
        self,
        store: EventStore,
        apps: Apps,
        kinds: Mapping[str, Mapping[str, PolicyOverride]],
        *,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._store = store
        self._apps = apps
        self._kinds = kinds
        self._clock = clock
        self.deleted_total = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            try:
                await self.prune()
            except (Unavailable, StoreFault) as error:
                logger.warning("old events wait to be deleted: %s", error)
            await trio.sleep(EVERY_S)

    async def prune(self) -> None:
        """Delete everything that is too old now. Raises `Unavailable`, `StoreFault`."""
        for app_id, kind in sorted(await self._store.apps_and_kinds()):
            retention_s = await self._retention_s(app_id, kind)
            if retention_s is None:
                continue
            before_us = self._clock() - retention_s * 1_000_000
            while deleted := await self._store.prune(app_id, f"{kind}:", before_us, BATCH_EVENTS):
                self.deleted_total += deleted
                await trio.sleep(PAUSE_S)

    async def _retention_s(self, app_id: str, kind: str) -> int | None:
        """None where nobody defines the kind any more: then nobody said that its events may go."""
        try:
            app = await self._apps.app(app_id)
        except NotFound:
            return None  # a deleted app: its events go by `forgetting`
        policy: Policy | None = BUILT_IN_KINDS.get(kind)
        for override in (self._kinds.get(app_id, {}).get(kind), app.kinds.get(kind)):
            if override is None:
                continue
            try:
                policy = apply_override(policy or Policy(), override)
            except Invalid as error:
                logger.error("kind %s of app %s keeps all its events: %s", kind, app_id, error)
                return None
        return None if policy is None else policy.retention_s
