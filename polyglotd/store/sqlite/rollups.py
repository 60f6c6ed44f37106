"""The rollups on one node: a `Rollups` in an SQLite file.

Opened by the composition root with `open_sqlite_rollups`; the processor writes, the gateway reads. The SQL is in
`rollup_tables`.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from polyglotd.model import now_us
from polyglotd.store.analytics import Deltas, Progress, RollupRow, RollupSettings
from polyglotd.store.interface import SetAside, StoreStats
from polyglotd.store.sqlite import rollup_tables as tables
from polyglotd.store.sqlite.files import ROLLUPS, file_bytes, migrate
from polyglotd.store.sqlite.group_commit import GroupCommit
from polyglotd.store.sqlite.read_pool import ReadPool
from polyglotd.store.sqlite.running import running
from polyglotd.store.sqlite.set_aside import read_set_aside

READERS_MAX = 4
CACHE_KIB = 8 << 10  # a batch of events on many channels changes some MiB of pages


class SqliteRollups:
    """Satisfies `Rollups`."""

    def __init__(self, path: Path, settings: RollupSettings, clock: Callable[[], int]) -> None:
        self._path = path
        self.settings = settings
        self._clock = clock
        self._writer = GroupCommit(path, on_rollback=lambda: None, cache_kib=CACHE_KIB)
        self._pool = ReadPool(path, connections_max=READERS_MAX)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The writer, until cancelled. `open_sqlite_rollups` runs it."""
        await self._writer.run(task_status=task_status)

    def close(self) -> None:
        self._writer.close()
        self._pool.close()

    async def add(self, log_id: str, deltas: Deltas, end: int, set_aside: Sequence[SetAside] = ()) -> None:
        now = self._clock()
        await self._writer.do(lambda c: tables.add(c, self.settings, log_id, deltas, end, set_aside, now))

    async def progress(self, log_id: str) -> Progress:
        return await self._pool.read(lambda c: tables.read_progress(c, log_id))

    async def app_rows(self, app_id: str, level: int, from_s: int, to_s: int) -> Sequence[RollupRow]:
        return await self._pool.read(lambda c: tables.read_app_rows(c, app_id, level, from_s, to_s))

    async def channel_rows(
        self, app_id: str, channel: str, level: int, from_s: int, to_s: int
    ) -> Sequence[RollupRow]:
        return await self._pool.read(lambda c: tables.read_channel_rows(c, app_id, channel, level, from_s, to_s))

    async def prune(self, before_s: Mapping[int, int]) -> int:
        while await self._writer.do(tables.erase_forgotten):
            pass
        deleted = 0
        # A bucket's channels go before its app: where an app has no row, none is looked for of its channels.
        last: int | None = 0
        while last is not None:
            some, last = await self._writer.do(partial(tables.prune_channels, before_s=before_s, after_no=last))
            deleted += some
        for level, before in before_s.items():
            for slice_ in (tables.prune_counts, tables.prune_apps):
                while some := await self._writer.do(partial(slice_, level=level, before_s=before)):
                    deleted += some
        return deleted

    async def forgotten_apps(self) -> Collection[str]:
        return await self._pool.read(tables.read_forgotten)

    async def erased(self, app_id: str) -> None:
        await self._writer.do(lambda c: tables.erased(c, app_id))

    async def stats(self) -> StoreStats:
        return StoreStats(
            file_bytes=file_bytes(self._path),
            wal_bytes=file_bytes(self._path.with_name(self._path.name + "-wal")),
            set_aside=await self._pool.read(read_set_aside),
        )


@asynccontextmanager
async def open_sqlite_rollups(
    path: Path, settings: RollupSettings, *, clock: Callable[[], int] = now_us
) -> AsyncIterator[SqliteRollups]:
    """Open the rollups, made or migrated where need be, and run their writer. Raises `StoreFault`."""
    await trio.to_thread.run_sync(migrate, path, ROLLUPS)
    async with running(SqliteRollups(path, settings, clock)) as rollups:
        yield rollups
