"""Ask the parts of a running gateway for their numbers. Built by the composition root for `metrics`."""

from collections import Counter
from collections.abc import Callable

import trio

from polyglotd.gateway.gateway import Gateway
from polyglotd.log.interface import EventLog
from polyglotd.model import Unavailable
from polyglotd.plane.interface import Plane
from polyglotd.processor.report import ProcessorReport
from polyglotd.store.interface import EventStore, StoreStats
from polyglotd.store.webhooks import QueueStats, WebhookQueue
from polyglotd.telemetry.line_writer import LineWriter
from polyglotd.telemetry.metrics import Snapshot

STORE_DEADLINE_S = 2.0


class Measured:
    def __init__(
        self,
        plane: Plane,
        gateway: Gateway,
        log: EventLog,
        store: EventStore,
        webhooks: WebhookQueue,
        processor: Callable[[], ProcessorReport | None],
        out: LineWriter,
        *,
        per_app: bool,
    ) -> None:
        self._plane = plane
        self._gateway = gateway
        self._log = log
        self._store = store
        self._webhooks = webhooks
        self._processor = processor
        self._out = out
        self._per_app = per_app

    def snapshot(self) -> Snapshot:
        """Called in a worker thread; the parts are asked in trio's own, so that they stand still meanwhile."""
        return trio.from_thread.run(self._ask)

    async def _ask(self) -> Snapshot:
        store, stored_position = await self._ask_store()
        gateway = self._gateway.counters()
        refused: Counter[str] = Counter()
        for kind in (gateway.connects_refused, gateway.joins_refused, gateway.pushes_refused):
            refused.update(kind)
        return Snapshot(
            plane=self._plane.counters(),
            gateway=gateway,
            refusals=refused,
            processor=self._processor(),
            log=self._log.stats(),
            store=store,
            stored_position=stored_position,
            webhooks=await self._ask_webhooks(),
            ready=self._gateway.health().ready,
            log_lines_dropped=self._out.dropped_total,
            apps=self._gateway.open_by_app() if self._per_app else None,
        )

    async def _ask_webhooks(self) -> QueueStats | None:
        try:
            with trio.fail_after(STORE_DEADLINE_S):
                return await self._webhooks.stats()
        except (Unavailable, trio.TooSlowError):
            return None

    async def _ask_store(self) -> tuple[StoreStats | None, int | None]:
        """None where the store is lost: the other numbers are wanted then most of all."""
        try:
            with trio.fail_after(STORE_DEADLINE_S):
                return await self._store.stats(), await self._store.cursor(self._log.id)
        except (Unavailable, trio.TooSlowError):
            return None, None
