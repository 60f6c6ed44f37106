"""The rollups in PostgreSQL: a `Rollups` on a `Database`. The same tables with TimescaleDB and without.

Built by the composition root; the processor writes, the gateway reads. The SQL is in `rollup_tables`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from polyglotd.model import now_us
from polyglotd.store.analytics import Deltas, Progress, RollupRow, RollupSettings
from polyglotd.store.interface import SetAside, StoreStats
from polyglotd.store.postgres import rollup_tables as tables
from polyglotd.store.postgres.database import CONNECTIONS_MAX, Database, open_postgres


class PostgresRollups:
    """Satisfies `Rollups`."""

    def __init__(self, database: Database, settings: RollupSettings, clock: Callable[[], int] = now_us) -> None:
        self.settings = settings
        self._pool = database.pool
        self._clock = clock

    async def add(self, log_id: str, deltas: Deltas, end: int, set_aside: Sequence[SetAside] = ()) -> None:
        now = self._clock()
        await self._pool.write(lambda c: tables.add(c, self.settings, log_id, deltas, end, set_aside, now))

    async def progress(self, log_id: str) -> Progress:
        return await self._pool.read(lambda c: tables.read_progress(c, log_id))

    async def app_rows(self, app_id: str, level: int, from_s: int, to_s: int) -> Sequence[RollupRow]:
        return await self._pool.read(lambda c: tables.read_app_rows(c, app_id, level, from_s, to_s))

    async def channel_rows(
        self, app_id: str, channel: str, level: int, from_s: int, to_s: int
    ) -> Sequence[RollupRow]:
        return await self._pool.read(lambda c: tables.read_channel_rows(c, app_id, channel, level, from_s, to_s))

    async def prune(self, before_s: Mapping[int, int]) -> int:
        deleted = 0
        for table in tables.PRUNED:
            for level, before in before_s.items():
                deleted += await self._prune(table, level, before)
        return deleted

    async def _prune(self, table: str, level: int, before_s: int) -> int:
        deleted = 0
        while some := await self._pool.write(lambda c: tables.prune(c, table, level, before_s)):
            deleted += some
        return deleted

    async def forgotten_apps(self) -> Collection[str]:
        return await self._pool.read(tables.read_forgotten)

    async def erased(self, app_id: str) -> None:
        await self._pool.write(lambda c: tables.erased(c, app_id))

    async def stats(self) -> StoreStats:
        size, set_aside = await self._pool.read(tables.read_size)
        return StoreStats(file_bytes=size, wal_bytes=0, set_aside=set_aside)


@asynccontextmanager
async def open_postgres_rollups(
    url: str, settings: RollupSettings, *, connections_max: int = CONNECTIONS_MAX, plain_wire: bool = False
) -> AsyncIterator[PostgresRollups]:
    """The rollups on a database of their own pool; see `open_postgres`. Raises `StoreFault`."""
    async with open_postgres(url, connections_max=connections_max, plain_wire=plain_wire) as database:
        yield PostgresRollups(database, settings)
