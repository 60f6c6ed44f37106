"""The event store on one node: an `EventStore` in an SQLite file.

Opened by the composition root with `open_sqlite_events`; the processor writes, gateway and processor read. The SQL
is in `event_tables`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from polyglotd.log.interface import ReadRecord
from polyglotd.model import Event, Unavailable, now_us
from polyglotd.store.interface import ChannelEpochs, EventPage, HistoryQuery, SetAside, StoreStats, Usage, Usages
from polyglotd.store.sqlite.erasure_tables import (
    end_erasures,
    erase_some,
    find_events,
    read_erasures,
    read_finished,
)
from polyglotd.store.sqlite.event_tables import (
    EventWrites,
    read_channels,
    read_cursor,
    read_forgotten,
    read_history,
    read_kinds,
    read_usage,
    read_usages,
)
from polyglotd.store.sqlite.files import EVENTS, RETRY_AFTER_MS, file_bytes, migrate, truncate_wal
from polyglotd.store.sqlite.group_commit import GroupCommit
from polyglotd.store.sqlite.read_pool import ReadPool
from polyglotd.store.sqlite.running import running
from polyglotd.store.sqlite.set_aside import read_set_aside

READERS_MAX = 8
ERASE_STEP = 1_000  # events deleted in one transaction: a few ms in which nobody else writes


class SqliteEventStore:
    """Satisfies `EventStore`."""

    def __init__(self, path: Path, clock: Callable[[], int] = now_us) -> None:
        self._path = path
        self._clock = clock
        self._writes = EventWrites()
        self._writer = GroupCommit(path, on_rollback=self._writes.forget_numbers)
        self._pool = ReadPool(path, connections_max=READERS_MAX)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The writer, until cancelled. `open_sqlite_events` runs it."""
        await self._writer.run(task_status=task_status)

    def close(self) -> None:
        self._writer.close()
        self._pool.close()

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        now = self._clock()
        await self._writer.do(lambda c: self._writes.append(c, log_id, records, end, set_aside, now))

    async def cursor(self, log_id: str) -> int:
        return await self._pool.read(lambda c: read_cursor(c, log_id))

    async def history(self, query: HistoryQuery) -> EventPage:
        return await self._pool.read(lambda c: read_history(c, query))

    async def channels_of_app(self, app_id: str, prefix: str, first: str, limit: int) -> Sequence[ChannelEpochs]:
        return await self._pool.read(lambda c: read_channels(c, app_id, prefix, first, limit))

    async def usage(self, app_id: str, month: str) -> Usage:
        return await self._pool.read(lambda c: read_usage(c, app_id, month))

    async def usages(self, log_id: str, app_ids: Collection[str], month: str) -> Usages:
        return await self._pool.read(lambda c: read_usages(c, log_id, app_ids, month))

    async def prune(self, app_id: str, channel_prefix: str, before_us: int, limit: int) -> int:
        kind, colon, rest = channel_prefix.partition(":")
        if not colon or rest:
            raise ValueError(f"{channel_prefix!r} is not the prefix of a kind")
        return await self._writer.do(lambda c: self._writes.prune(c, app_id, kind, before_us, limit))

    async def apps_and_kinds(self) -> Collection[tuple[str, str]]:
        return await self._pool.read(read_kinds)

    async def forget_app(self, app_id: str) -> None:
        await self._writer.do(lambda c: self._writes.forget_app(c, app_id))
        while not await self.erase_forgotten(app_id, ERASE_STEP):
            pass
        await self.erased(app_id)

    async def forgotten_apps(self) -> Collection[str]:
        return await self._pool.read(read_forgotten)

    async def erase_forgotten(self, app_id: str, limit: int) -> bool:
        return await self._writer.do(lambda c: self._writes.erase(c, app_id, limit))

    async def erased(self, app_id: str) -> None:
        if not await trio.to_thread.run_sync(truncate_wal, self._path):
            raise Unavailable("the event store's write-ahead log is in use", retry_after_ms=RETRY_AFTER_MS)
        await self._writer.do(lambda c: self._writes.erased(c, app_id))

    async def find(self, app_id: str, channel: str, event_id: str, limit: int) -> Sequence[Event]:
        return await self._pool.read(lambda c: find_events(c, app_id, channel, event_id, limit))

    async def erasures(self) -> Collection[str]:
        return await self._pool.read(read_erasures)

    async def erase_on(self, limit: int) -> bool:
        if not await self._writer.do(lambda c: erase_some(c, limit)):
            return False
        if finished := await self._pool.read(read_finished):
            if not await trio.to_thread.run_sync(truncate_wal, self._path):
                return False
            await self._writer.do(lambda c: end_erasures(c, finished))
        return True

    async def stats(self) -> StoreStats:
        set_aside = await self._pool.read(read_set_aside)
        return StoreStats(
            file_bytes=file_bytes(self._path),
            wal_bytes=file_bytes(self._path.with_name(self._path.name + "-wal")),
            set_aside=set_aside,
        )


@asynccontextmanager
async def open_sqlite_events(path: Path, *, clock: Callable[[], int] = now_us) -> AsyncIterator[SqliteEventStore]:
    """Open the event store, made or migrated where need be, and run its writer. Raises `StoreFault`."""
    await trio.to_thread.run_sync(migrate, path, EVENTS)
    async with running(SqliteEventStore(path, clock)) as store:
        yield store
