"""Places for connections: how many an app may have at once, over all nodes, and how fast new ones may come.

Admission takes a place before it accepts; whoever removes a connection gives its place back. Places go back in the
background, since a broker may be away just then.
"""

import logging
from collections import Counter

import trio

from polyglotd.broker.interface import Broker
from polyglotd.gateway.app_rates import Rates
from polyglotd.gateway.clock import steady_us
from polyglotd.model import QuotaExceeded, RateLimited, Unavailable

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class ConnectionSlots:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._to_give: Counter[str] = Counter()  # by app
        self._given = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Give places back."""
        task_status.started()
        while True:
            await self._given.wait()
            self._given = trio.Event()
            for app_id in list(self._to_give):
                await self._give(app_id, self._to_give.pop(app_id))

    async def take(self, app_id: str, rates: Rates, user_id: str | None, *, is_back: bool) -> None:
        """Take one place. Raises `QuotaExceeded`, `RateLimited`, `Unavailable`, with nothing taken.

        `is_back`: the user was seen in the last minute, which makes this no new connection to the rate. After a
        return the place is taken; after a cancellation it is not.
        """
        limit = rates.limits.connections
        self._taken(app_id, rates, user_id, is_back, await self._broker.take_connections(app_id, 1, limit))

    def take_at_once(self, app_id: str, rates: Rates, user_id: str | None, *, is_back: bool) -> bool:
        """The same, if the broker knows without waiting; False, with nothing taken, where it does not."""
        taken = self._broker.take_connections_at_once(app_id, 1, rates.limits.connections)
        if taken is None:
            return False
        self._taken(app_id, rates, user_id, is_back, taken)
        return True

    def _taken(self, app_id: str, rates: Rates, user_id: str | None, is_back: bool, taken: bool) -> None:
        if not taken:
            raise QuotaExceeded(f"the app has its {rates.limits.connections} connections", quota="connections")
        now_us = steady_us()
        if not is_back and not (user_id is not None and rates.users.seen(user_id, now_us)):
            wait_us = rates.connects.take(1, now_us)
            if wait_us:
                self.give(app_id)
                raise RateLimited(
                    f"the app opens at most {rates.limits.connects_per_second} connections a second",
                    retry_after_ms=-(-wait_us // 1000),
                )

    def give(self, app_id: str) -> None:
        self._to_give[app_id] += 1
        self._given.set()

    async def _give(self, app_id: str, count: int) -> None:
        try:
            await self._broker.give_connections(app_id, count)
        except Unavailable as error:
            logger.warning("places of app %s are not given back, next try in %.1f s: %s", app_id, RETRY_S, error)
            self._to_give[app_id] += count
            self._given.set()
            await trio.sleep(RETRY_S)
