"""The endpoints of all apps, as the registry has them now; what is new among them begins in the queue, what is gone
ends there.

`sink` looks before each batch, so that an endpoint gets every event that was published after it was added;
`deliveries` waits for changes. Both are of one process.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from polyglotd.model import Endpoint, EndpointPatch
from polyglotd.store.webhooks import WebhookQueue

logger = logging.getLogger(__name__)

REGISTRY_DEADLINE_S = 5.0


class WebhookRegistry(Protocol):
    """What webhooks need of a `Registry`."""

    async def version(self) -> int: ...

    async def all_webhooks(self) -> Sequence[Endpoint]: ...

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint: ...


class Endpoints:
    def __init__(self, registry: WebhookRegistry, queue: WebhookQueue, clock: Callable[[], int]) -> None:
        self._registry = registry
        self._queue = queue
        self._clock = clock
        self._version = -1
        self._refreshing = trio.Lock()
        self._begun: frozenset[str] = frozenset()
        self._arrivals: dict[str, trio.Event] = {}
        self.by_app: Mapping[str, Sequence[Endpoint]] = {}  # the enabled ones
        self.dead_total = 0  # messages on their way to those that were disabled
        self.changed = trio.Event()  # replaced by another when it is set

    async def refresh(self) -> None:
        """On return `by_app` is what the registry held when this was called, or later. Raises `Unavailable`."""
        with trio.fail_after(REGISTRY_DEADLINE_S):
            async with self._refreshing:
                version = await self._registry.version()
                if version != self._version:
                    await self._take(await self._registry.all_webhooks())
                    self._version = version

    async def disable(self, endpoint: Endpoint, why: str) -> None:
        """The endpoint itself has said so. Raises `Unavailable`, `NotFound`."""
        logger.warning("webhook %s of app %s is disabled: %s", endpoint.endpoint_id, endpoint.app_id, why)
        patch = EndpointPatch(enabled=False, disabled_why=why)
        await self._registry.change_webhook(endpoint.app_id, endpoint.endpoint_id, patch)
        await self.refresh()

    async def _take(self, found: Sequence[Endpoint]) -> None:
        enabled = [endpoint for endpoint in found if endpoint.enabled]
        for endpoint in enabled:
            if endpoint.endpoint_id not in self._begun:
                await self._queue.begin(endpoint.app_id, endpoint.endpoint_id)
        for endpoint in found:
            if not endpoint.enabled and (endpoint.endpoint_id in self._begun or self._version < 0):
                why = endpoint.disabled_why or "the webhook was disabled"
                self.dead_total += await self._queue.pause(endpoint.endpoint_id, why, self._clock())
        ids = {endpoint.endpoint_id for endpoint in found}
        if self._version < 0 or not self._begun <= ids:
            await self._queue.retain(ids)
        by_app: defaultdict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in enabled:
            by_app[endpoint.app_id].append(endpoint)
        self._begun = frozenset(endpoint.endpoint_id for endpoint in enabled)
        if by_app != self.by_app:
            self.by_app = by_app
            self.changed.set()
            self.changed = trio.Event()

    # --- wake-ups between the sink and the deliveries ---

    def arrival(self, app_id: str) -> trio.Event:
        """Set when something was queued for the app after this call."""
        return self._arrivals.setdefault(app_id, trio.Event())

    def arrived(self, app_id: str) -> None:
        if (event := self._arrivals.pop(app_id, None)) is not None:
            event.set()
