"""All deliveries: a task for each enabled endpoint, and what keeps the queue small.

A chore of the processor. Follows the registry, the queue's changes by other processes, and sweeps.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from polyglotd.access.webhook_addresses import check_url
from polyglotd.model import Endpoint, Invalid, Unavailable
from polyglotd.processor.webhooks.connecting import Connector
from polyglotd.processor.webhooks.delivery import Delivery
from polyglotd.processor.webhooks.delivery_counts import DeliveriesHealth, DeliveryCounts
from polyglotd.processor.webhooks.endpoints import Endpoints
from polyglotd.processor.webhooks.lanes import Lanes
from polyglotd.processor.webhooks.sending import Sender
from polyglotd.store.interface import StoreFault
from polyglotd.store.webhooks import WebhookQueue

logger = logging.getLogger(__name__)

FOLLOW_S = 0.5  # how often the registry and the queue are asked for changes of others
SWEEP_S = 2.0
SWEEP_PAUSE_S = 0.05
FAULT_S = 60.0  # after a fault of ours
SAID_EVERY_S = 60.0  # what is away for hours is no news every second
SENDING_MAX = 256  # messages under way at once, to endpoints that are well …
FAILING_MAX = 64  # … and to those that failed last


class Deliveries:
    """Waits out a lost queue or registry."""

    def __init__(
        self,
        endpoints: Endpoints,
        queue: WebhookQueue,
        connector: Connector,
        clock: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._queue = queue
        self._connector = connector
        self._clock = clock
        self._lanes = Lanes(trio.CapacityLimiter(SENDING_MAX), trio.CapacityLimiter(FAILING_MAX))
        self._running: dict[str, tuple[Delivery, trio.CancelScope]] = {}
        self._said_at = float("-inf")
        self.counts = DeliveryCounts()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await: what was under way is sent again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_registry)
            nursery.start_soon(self._follow_queue)
            nursery.start_soon(self._sweep)
            task_status.started()
            while True:
                changed = self._endpoints.changed
                self._reconcile(nursery)
                await changed.wait()

    def health(self) -> DeliveriesHealth:
        """A snapshot."""
        counts = self.counts
        return DeliveriesHealth(
            sent_total=counts.sent_total,
            items_sent_total=counts.items_sent_total,
            failed_total=counts.failed_total,
            dead_total=counts.dead_total + self._endpoints.dead_total,
            endpoints=len(self._running),
            circuits_open=sum(delivery.is_only_probed for delivery, _ in self._running.values()),
            lanes=self._lanes.health(),
        )

    def _reconcile(self, nursery: trio.Nursery) -> None:
        now = {one.endpoint_id: one for of_app in self._endpoints.by_app.values() for one in of_app}
        for endpoint_id, (delivery, scope) in list(self._running.items()):
            if now.get(endpoint_id) != delivery.endpoint:
                scope.cancel()
                del self._running[endpoint_id]
        for endpoint in now.values():
            if endpoint.endpoint_id not in self._running:
                self._start(nursery, endpoint)

    def _start(self, nursery: trio.Nursery, endpoint: Endpoint) -> None:
        try:
            target = check_url(endpoint.url, self._connector.allowed)
        except Invalid as error:  # a rule of today that was not there, or an address that was allowed, when it came
            logger.warning("webhook %s gets nothing: %s", endpoint.endpoint_id, error)
            return
        delivery = Delivery(
            endpoint, target, self._queue, Sender(self._connector), self._lanes, self.counts, self._clock,
            self._endpoints.arrival, self._endpoints.disable,
        )  # fmt: skip
        scope = trio.CancelScope()
        self._running[endpoint.endpoint_id] = (delivery, scope)
        nursery.start_soon(self._deliver, delivery, scope)

    async def _deliver(self, delivery: Delivery, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    await delivery.run()
                except Exception:
                    # A fault of ours that one endpoint brings about must not end the others' deliveries.
                    logger.exception("deliveries to webhook %s failed", delivery.endpoint.endpoint_id)
                    await trio.sleep(FAULT_S)

    async def _follow_registry(self) -> None:
        while True:
            with self._waiting_out("the registry"):
                await self._endpoints.refresh()
            await trio.sleep(FOLLOW_S)

    async def _follow_queue(self) -> None:
        seen: int | None = None
        while True:
            with self._waiting_out("the queue"):
                changes = await self._queue.changes()
                if seen is not None and changes != seen:
                    for delivery, _ in self._running.values():
                        delivery.reload()
                seen = changes
            await trio.sleep(FOLLOW_S)

    async def _sweep(self) -> None:
        while True:
            more = False
            with self._waiting_out("the queue"):
                more = await self._queue.sweep(self._clock())
            await trio.sleep(SWEEP_PAUSE_S if more else SWEEP_S)

    @contextmanager
    def _waiting_out(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Unavailable, StoreFault, trio.TooSlowError) as error:
            if trio.current_time() - self._said_at >= SAID_EVERY_S:
                self._said_at = trio.current_time()
                logger.warning("webhooks wait for %s: %s", what, error)
