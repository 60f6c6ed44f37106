"""What must be done now and then so that nothing grows for ever: forgetting in the log what nobody can miss.

Deleted apps, once nothing of theirs is open, and heads of channels that were idle longer than anything of them is
kept. The store's own clearing is the processor's.
"""

import logging
from collections.abc import Collection, Mapping
from functools import partial

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.topics import Topics
from polyglotd.log.interface import EventLog
from polyglotd.model import Unavailable, kind_of
from polyglotd.store.interface import Registry

logger = logging.getLogger(__name__)

DELETED_S = 5.0
AGAIN_S = 60.0
IDLE_HEADS_S = 3_600.0
APPS_PAGE = 1_000
US = 1_000_000


class Housekeeping:
    def __init__(
        self, log: EventLog, registry: Registry, directory: Directory, topics: Topics, wall: WallClock
    ) -> None:
        self._log = log
        self._registry = registry
        self._directory = directory
        self._topics = topics
        self._wall = wall
        self._forgotten: dict[str, float] = {}  # when, on trio's clock, by this process; the log keeps it

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forget_deleted_apps)
            nursery.start_soon(self._forget_idle_heads)

    def has_forgotten(self, app_id: str) -> bool:
        """Whether the log was told, by this process, that the app is gone."""
        return app_id in self._forgotten

    async def _forget_deleted_apps(self) -> None:
        while True:
            try:
                self._forget(set(await self._registry.deleted_apps()))
            except Unavailable as error:
                logger.warning("deleted apps wait to be forgotten: %s", error)
            await trio.sleep(DELETED_S)

    def _forget(self, deleted: Collection[str]) -> None:
        now_s = trio.current_time()
        self._forgotten = {app_id: at_s for app_id, at_s in self._forgotten.items() if app_id in deleted}
        for app_id in deleted:
            # Again after a while: an id that was freed, used and deleted once more looks the same from here.
            if now_s - self._forgotten.get(app_id, -AGAIN_S) < AGAIN_S or self._has_logged_topics(app_id):
                continue
            self._log.forget_app(app_id)
            self._forgotten[app_id] = now_s

    def _has_logged_topics(self, app_id: str) -> bool:
        """Then the plane may still append to them."""
        return any(topic.policy.durability == "logged" for topic in self._topics.of_app(app_id))

    async def _forget_idle_heads(self) -> None:
        while True:
            await trio.sleep(IDLE_HEADS_S)
            try:
                apps = await self._all_apps()
                forgotten = await self._log.forget_idle(partial(self._may_forget, apps))
            except Unavailable as error:
                logger.warning("idle channels stay in the log's table: %s", error)
            else:
                logger.debug("forgot %d idle channels", forgotten)

    async def _all_apps(self) -> Mapping[str, Entry]:
        found: dict[str, Entry] = {}
        after = ""
        while page := await self._registry.apps(after, APPS_PAGE):
            found |= {app.app_id: self._directory.view(app) for app in page}
            after = page[-1].app_id
        return found

    def _may_forget(self, apps: Mapping[str, Entry], app_id: str, channel: str, last_us: int) -> bool:
        """Of an app that is not there any more nothing is known: it is forgotten as a whole, or not at all."""
        entry = apps.get(app_id)
        policy = None if entry is None else entry.policy(kind_of(channel))
        if policy is None or self._topics.is_known(app_id, channel):
            return False
        return last_us < self._wall() - max(policy.history_s, policy.retention_s) * US
