"""Which channels have members and which users are in them, told to the log for webhooks.

Only of apps that have an endpoint which wants to know: of all others nothing is counted. Joins and leaves are handed
in; that somebody left is told only when he has not come back within a while, so that a reconnect tells nothing. What
the log was told in the life of an earlier gateway is unconfirmed at first: whoever reads it waits for `settled`.
"""

import logging
from collections.abc import Collection

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.log.interface import LogAppender, PresenceChanged, PresenceWhat
from polyglotd.model import MEMBER_TYPES, OCCUPANCY_TYPES, Endpoint, Unavailable
from polyglotd.store.interface import Registry

logger = logging.getLogger(__name__)

LINGER_S = 5.0  # who is back by then has not left: clients reconnect after one, two, five seconds
SETTLE_S = 30.0  # after a start: time for all who were there to come back
UNTOLD_MAX = 100_000  # while the log takes nothing; beyond it changes are lost
RETRY_S = 1.0

WANTED = OCCUPANCY_TYPES | MEMBER_TYPES

Key = tuple[str, str, str]  # app, channel, user; an empty user: the channel


def is_watched(entry: Entry | None) -> bool:
    """Whether an endpoint of the app wants to hear who is where."""
    return entry is not None and any(map(_wants, entry.webhooks))


def _wants(endpoint: Endpoint) -> bool:
    return endpoint.enabled and not WANTED.isdisjoint(endpoint.types)


class Occupancy:
    def __init__(
        self,
        log: LogAppender,
        connections: Connections,
        directory: Directory,
        registry: Registry,
        wall: WallClock,
    ) -> None:
        self._log = log
        self._connections = connections
        self._directory = directory
        self._registry = registry
        self._wall = wall
        self._counts: dict[Key, int] = {}
        self._leaving: dict[Key, float] = {}  # when they will have left, on trio's clock; in that order
        self._untold: list[PresenceChanged] = []
        self._news = trio.Event()
        self.lost = 0  # changes that found no room: a metric

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Raises `Unavailable` where the registry can't be read at the start."""
        if settling := any(map(_wants, await self._registry.all_webhooks())):
            self._tell("unconfirmed", "")
        task_status.started()
        async with trio.open_nursery() as nursery:
            if settling:
                nursery.start_soon(self._settle)
            nursery.start_soon(self._tell_the_log)

    # --- what happens ---

    def joined(self, connection: Connection, subscription: Subscription) -> None:
        if not connection.counted or not is_watched(self._directory.cached(connection.app_id)):
            return
        for key in _keys(connection, subscription):
            self._enter(key)

    def left(self, connection: Connection, subscription: Subscription) -> None:
        """While its presence is still known."""
        if not self._counts or not connection.counted:
            return
        for key in _keys(connection, subscription):
            self._leave(key)

    def changed(self, before: Entry, now: Entry | None, app_id: str) -> None:
        """An app that is alive is not what it was."""
        if is_watched(before) == is_watched(now):
            return
        self._forget(app_id)
        if is_watched(now):
            self._tell("unconfirmed", app_id)
            for connection in self._connections.of_app(app_id):
                for subscription in connection.subs:
                    if subscription.joined:
                        self.joined(connection, subscription)
            self._tell("settled", app_id)

    # --- within ---

    def _enter(self, key: Key) -> None:
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count == 1 and self._leaving.pop(key, None) is None:
            self._tell("joined" if key[2] else "occupied", *key)

    def _leave(self, key: Key) -> None:
        count = self._counts.get(key)
        if count is None:
            return
        if count > 1:
            self._counts[key] = count - 1
            return
        del self._counts[key]
        self._leaving[key] = trio.current_time() + LINGER_S
        if len(self._leaving) == 1:
            self._news.set()

    def _forget(self, app_id: str) -> None:
        for kept in (self._counts, self._leaving):
            for key in [key for key in kept if key[0] == app_id]:
                del kept[key]

    def _tell(self, what: PresenceWhat, app_id: str, channel: str = "", user_id: str = "") -> None:
        if len(self._untold) >= UNTOLD_MAX:
            self.lost += 1
            return
        self._untold.append(PresenceChanged(what, app_id, channel, user_id, self._wall()))
        self._news.set()

    async def _settle(self) -> None:
        """Also for apps that nobody came back to."""
        await trio.sleep(SETTLE_S)
        self._tell("settled", "")

    async def _tell_the_log(self) -> None:
        while True:
            next_s = next(iter(self._leaving.values()), float("inf"))
            with trio.move_on_at(next_s):
                await self._news.wait()
            self._news = trio.Event()
            self._part(trio.current_time())
            try:
                self._flush()
            except Unavailable as error:
                logger.warning("who is where waits for the log: %s", error)
                await trio.sleep(RETRY_S)
                self._news.set()
            await trio.lowlevel.checkpoint()

    def _part(self, now_s: float) -> None:
        """Who has not come back has left."""
        while self._leaving:
            key, at_s = next(iter(self._leaving.items()))
            if at_s > now_s:
                break
            del self._leaving[key]
            self._tell("left" if key[2] else "vacated", *key)

    def _flush(self) -> None:
        if self._untold:
            self._log.append(self._untold)
            self._untold = []


def _keys(connection: Connection, subscription: Subscription) -> Collection[Key]:
    channel = (connection.app_id, subscription.channel, "")
    if subscription.presence_ref is None or connection.user_id is None:
        return (channel,)
    return (channel, (connection.app_id, subscription.channel, connection.user_id))
