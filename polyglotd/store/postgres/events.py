"""The event store in PostgreSQL: an `EventStore` on a `Database`.

Opened by the composition root with `open_postgres_events`; the processor writes, gateway and processor read. The SQL
is in `event_writes`, `event_reads` and `event_deletes`. Several processes may use one database at once.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import trio

from polyglotd.log.interface import ReadRecord
from polyglotd.model import Event, now_us
from polyglotd.store.interface import ChannelEpochs, EventPage, HistoryQuery, SetAside, StoreStats, Usage, Usages
from polyglotd.store.postgres.database import CONNECTIONS_MAX, Database, open_postgres
from polyglotd.store.postgres.erasures import erase_some, find_events, read_erasures
from polyglotd.store.postgres.event_deletes import erase, erased, forget_app, prune
from polyglotd.store.postgres.event_reads import (
    read_channels,
    read_cursor,
    read_forgotten,
    read_history,
    read_kinds,
    read_size,
    read_usage,
    read_usages,
)
from polyglotd.store.postgres.event_writes import EventWrites
from polyglotd.store.postgres.partitions import WEEK_US, drop_empty_weeks

ERASE_STEP = 1_000  # events deleted in one transaction
DROP_EVERY_S = 3_600.0


class PostgresEventStore:
    """Satisfies `EventStore`."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self.name = database.name
        self._pool = database.pool
        self._partitioned = database.schema.variant == "plain"
        self._writes = EventWrites(partitioned=self._partitioned, plain_wire=database.plain_wire)
        self._clock = clock
        self._drop_at = float("-inf")

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        now = self._clock()
        await self._pool.do(lambda c: self._writes.append(c, log_id, records, end, set_aside, now))

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
        deleted = await self._pool.write(lambda c: prune(c, app_id, kind, before_us, limit))
        if self._partitioned and trio.current_time() >= self._drop_at:
            self._drop_at = trio.current_time() + DROP_EVERY_S
            before = self._clock() - 2 * WEEK_US
            await self._pool.do(lambda c: drop_empty_weeks(c, before))
        return deleted

    async def apps_and_kinds(self) -> Collection[tuple[str, str]]:
        return await self._pool.read(read_kinds)

    async def forget_app(self, app_id: str) -> None:
        await self._pool.write(lambda c: forget_app(c, app_id))
        while not await self.erase_forgotten(app_id, ERASE_STEP):
            pass
        await self.erased(app_id)

    async def forgotten_apps(self) -> Collection[str]:
        return await self._pool.read(read_forgotten)

    async def erase_forgotten(self, app_id: str, limit: int) -> bool:
        return await self._pool.write(lambda c: erase(c, app_id, limit))

    async def erased(self, app_id: str) -> None:
        await self._pool.write(lambda c: erased(c, app_id))

    async def find(self, app_id: str, channel: str, event_id: str, limit: int) -> Sequence[Event]:
        return await self._pool.read(lambda c: find_events(c, app_id, channel, event_id, limit))

    async def erasures(self) -> Collection[str]:
        return await self._pool.read(read_erasures)

    async def erase_on(self, limit: int) -> bool:
        return await self._pool.write(lambda c: erase_some(c, limit))

    async def stats(self) -> StoreStats:
        size, set_aside = await self._pool.read(lambda c: read_size(c, partitioned=self._partitioned))
        return StoreStats(file_bytes=size, wal_bytes=0, set_aside=set_aside)


@asynccontextmanager
async def open_postgres_events(
    url: str,
    *,
    connections_max: int = CONNECTIONS_MAX,
    plain_wire: bool = False,
    migrating: bool = True,
    clock: Callable[[], int] = now_us,
) -> AsyncIterator[PostgresEventStore]:
    """The event store on a database of its own pool; see `open_postgres`. Raises `StoreFault`."""
    async with open_postgres(
        url, connections_max=connections_max, plain_wire=plain_wire, migrating=migrating
    ) as database:
        yield PostgresEventStore(database, clock)
