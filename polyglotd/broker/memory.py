"""The broker of one node: everything that nodes would share is in this process.

Opened by the composition root where no Redis is configured. Nothing outlives the process: who was present and
connected is gone with it anyway.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from polyglotd.broker.interface import PresenceChange, PresenceMeta
from polyglotd.model import Unavailable

CHANGES_MAX = 65_536  # that wait for `presence_changes`; then `present` waits
PRESENT_DEADLINE_S = 5.0  # of that wait: the consumer is stuck

_Roster = dict[str, tuple[PresenceMeta, ...]]  # by user, both in order of arrival; most have one


class MemoryBroker:
    """See `broker.interface.Broker`."""

    def __init__(self, *, changes_max: int = CHANGES_MAX) -> None:
        self._changes_max = changes_max
        self._changes: deque[PresenceChange] = deque()
        self._moved = trio.Condition()  # changes were added or taken
        self._order = trio.StrictFIFOLock()  # batches that wait for room keep their order
        self._rosters: dict[tuple[str, str], _Roster] = {}
        self._connections: dict[str, int] = {}

    async def present(self, changes: Sequence[PresenceChange]) -> None:
        """A batch is applied at once or, where it raises or is cancelled, not at all."""
        try:
            with trio.fail_after(PRESENT_DEADLINE_S):
                async with self._order, self._moved:
                    while len(self._changes) >= self._changes_max:
                        await self._moved.wait()
                    for change in changes:
                        self._apply(change)
                    self._changes.extend(changes)
                    self._moved.notify_all()
        except trio.TooSlowError:
            raise Unavailable("presence changes are not taken up in time") from None

    async def presence_changes(self) -> Sequence[PresenceChange]:
        async with self._moved:
            while not self._changes:  # no deadline: a quiet node is no fault
                await self._moved.wait()
            taken = list(self._changes)
            self._changes.clear()
            self._moved.notify_all()
        return taken

    async def roster(self, app_id: str, channel: str) -> Mapping[str, Sequence[PresenceMeta]]:
        await trio.lowlevel.checkpoint()
        roster = self._rosters.get((app_id, channel), {})
        return dict(roster)

    async def lease_rate(self, app_id: str, limit: str, per_second: int) -> float:  # noqa: ARG002  the only node
        await trio.lowlevel.checkpoint()
        return float(per_second)

    async def take_connections(self, app_id: str, count: int, limit: int) -> bool:
        await trio.lowlevel.checkpoint()
        return self.take_connections_at_once(app_id, count, limit)

    def take_connections_at_once(self, app_id: str, count: int, limit: int) -> bool:
        used = self._connections.get(app_id, 0)
        if used + count > limit:
            return False
        self._connections[app_id] = used + count
        return True

    async def give_connections(self, app_id: str, count: int) -> None:
        # No checkpoint: a cancelled task's clean-up must be able to give back.
        left = self._connections.get(app_id, 0) - count
        if left < 0:
            raise ValueError(f"{count} connections of {app_id} given back, more than were taken")
        if left:
            self._connections[app_id] = left
        else:
            self._connections.pop(app_id, None)

    async def connections(self, app_id: str) -> int:
        await trio.lowlevel.checkpoint()
        return self._connections.get(app_id, 0)

    @property
    def channels_present(self) -> int:
        """Channels that anybody is in: a metric."""
        return len(self._rosters)

    def _apply(self, change: PresenceChange) -> None:
        key = (change.app_id, change.channel)
        roster = self._rosters.setdefault(key, {})
        joined = () if change.joined is None else (change.joined,)
        gone = {change.left, *(meta.ref for meta in joined)}
        metas = (*(meta for meta in roster.get(change.user_id, ()) if meta.ref not in gone), *joined)
        if metas:
            roster[change.user_id] = metas
        else:
            roster.pop(change.user_id, None)
        if not roster:
            del self._rosters[key]


@asynccontextmanager
async def open_memory_broker(*, changes_max: int = CHANGES_MAX) -> AsyncIterator[MemoryBroker]:
    yield MemoryBroker(changes_max=changes_max)
