"""Changes of the registry, made by us or by another process: seen within a quarter of a second, applied everywhere.

Revocations end live connections; new limits and kinds reach the plane. On return from `catch_up` all that was written
before it holds. While the registry can't be read the last state holds, and `behind_s` says since when.
"""

import logging

import trio

from polyglotd.access.revocation import Revocations, hits
from polyglotd.gateway.app_changes import REVOKED_CODE, AppChanges
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.directory import REGISTRY_DEADLINE_S, Directory
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.model import Revocation, Unavailable
from polyglotd.plane.interface import Disconnect
from polyglotd.store.interface import Registry

logger = logging.getLogger(__name__)

POLL_S = 0.5
PAGE = 1_000
PRUNE_S = 3_600.0

_REASONS = {"token": "token revoked", "user": "user revoked", "key": "API key revoked"}


class RegistryFollower:
    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        revocations: Revocations,
        connections: Connections,
        changes: AppChanges,
        port: PlanePort,
        wall: WallClock,
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._revocations = revocations
        self._connections = connections
        self._changes = changes
        self._port = port
        self._wall = wall
        self._lock = trio.Lock()
        self._seen_version = -1
        self._read_s = -1.0  # when the registry was last found readable, on trio's clock

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """`started` when every revocation so far is known. Raises `Unavailable` where they can't be read then: who
        can't know what was revoked must not serve."""
        await self.catch_up()
        await self._directory.admin_tokens()
        task_status.started()
        pruned_s = trio.current_time()
        while True:
            await trio.sleep(POLL_S)
            try:
                await self.catch_up()
            except Unavailable as error:
                logger.warning("the registry can't be read, going on with what is known: %s", error)
                await trio.sleep(1.0)
            if trio.current_time() - pruned_s >= PRUNE_S:
                self._revocations.prune(self._wall())
                pruned_s = trio.current_time()

    @property
    def behind_s(self) -> float:
        """How long ago the registry was last read; a poll's time where all is well."""
        return trio.current_time() - self._read_s

    async def catch_up(self) -> None:
        """Raises `Unavailable`."""
        async with self._lock:
            version = await self._directory.version()
            self._read_s = trio.current_time()
            if version == self._seen_version:
                return
            for revocation in await self._unread():
                self._apply(revocation)
            for change in await self._directory.refresh():
                await self._changes.apply(change)
            self._seen_version = version
            self._port.flush()  # on return it holds

    async def _unread(self) -> list[Revocation]:
        unread: list[Revocation] = []
        after = self._revocations.cursor
        while True:
            with trio.move_on_after(REGISTRY_DEADLINE_S) as scope:
                page = await self._registry.revocations(after, PAGE)
            if scope.cancelled_caught:
                raise Unavailable("the registry does not answer")
            unread += page
            if len(page) < PAGE:
                return unread
            after = page[-1].cursor

    def _apply(self, revocation: Revocation) -> None:
        self._revocations.apply(revocation)
        if revocation.what == "app":
            return  # whether the app is suspended now is the directory's to say; see `AppChanges`
        for connection in self._connections.named((revocation.app_id, revocation.what, revocation.subject)):
            if hits(revocation, connection.app_id, connection.credential):
                self._port.send(Disconnect(connection.conn, REVOKED_CODE, _REASONS[revocation.what]))
