"""The makes of the stores that contracts run on: SQLite files, PostgreSQL 15 to 18, TimescaleDB.

A suite takes `make` (or what it builds on it) and gets each of its tests once per make, every time with an empty
database brought to the release's schema. Servers are real and shared by the run (tests/store_servers.py).
"""

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from store_servers import POSTGRES, TIMESCALEDB, server

from polyglotd.model import now_us
from polyglotd.store.analytics import Rollups, RollupSettings
from polyglotd.store.interface import EventStore, Registry
from polyglotd.store.postgres.database import Database, open_postgres
from polyglotd.store.postgres.events import open_postgres_events
from polyglotd.store.postgres.registry import PostgresRegistry, open_postgres_registry
from polyglotd.store.postgres.rollups import open_postgres_rollups
from polyglotd.store.postgres.schema import migrate
from polyglotd.store.postgres.webhooks import PostgresWebhookQueue, open_postgres_webhooks
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.registry import open_sqlite_registry
from polyglotd.store.sqlite.rollups import open_sqlite_rollups
from polyglotd.store.sqlite.webhooks import open_sqlite_webhooks
from polyglotd.store.webhooks import WebhookQueue

MAKES = ("sqlite", *POSTGRES, TIMESCALEDB)


class Make:
    """One make, with one empty database. `fresh` empties it again."""

    name: str

    def open_events(self) -> AbstractAsyncContextManager[EventStore]:
        """The same store each time."""
        raise NotImplementedError

    def open_registry(self) -> AbstractAsyncContextManager[Registry]:
        """The same registry each time, also twice at once, as two processes do."""
        raise NotImplementedError

    def open_webhooks(
        self, clock: Callable[[], int] = now_us, *, app_bytes_max: int = 1 << 30
    ) -> AbstractAsyncContextManager[WebhookQueue]:
        """The same queue each time, also twice at once, as two processes do."""
        raise NotImplementedError

    def open_rollups(self, settings: RollupSettings) -> AbstractAsyncContextManager[Rollups]:
        raise NotImplementedError

    def fresh(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Nothing of it is needed any more."""


class SqliteMake(Make):
    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0

    def open_events(self) -> AbstractAsyncContextManager[EventStore]:
        return open_sqlite_events(self._directory / f"events{self._number}.db")

    def open_registry(self) -> AbstractAsyncContextManager[Registry]:
        return open_sqlite_registry(self._directory / f"registry{self._number}.db")

    def open_webhooks(
        self, clock: Callable[[], int] = now_us, *, app_bytes_max: int = 1 << 30
    ) -> AbstractAsyncContextManager[WebhookQueue]:
        path = self._directory / f"webhooks{self._number}.db"
        return open_sqlite_webhooks(path, clock=clock, app_bytes_max=app_bytes_max)

    def open_rollups(self, settings: RollupSettings) -> AbstractAsyncContextManager[Rollups]:
        return open_sqlite_rollups(self._directory / f"rollups{self._number}.db", settings)

    def fresh(self) -> None:
        self._number += 1


# What the migrations put into tables is kept aside, so that a test finds it as it was.
_KEEP = """
    CREATE SCHEMA kept;
    DO $$ DECLARE name text; filled boolean; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'polyglot' LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM polyglot.%I)', name) INTO filled;
            IF filled THEN EXECUTE format('CREATE TABLE kept.%I AS TABLE polyglot.%I', name, name); END IF;
        END LOOP;
    END $$
"""
_EMPTY = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN
            SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'polyglot' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        LOOP
            EXECUTE format('DELETE FROM polyglot.%I', name);
        END LOOP;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
            EXECUTE format('INSERT INTO polyglot.%I OVERRIDING SYSTEM VALUE SELECT * FROM kept.%I', name, name);
        END LOOP;
    END $$
"""


class PostgresMake(Make):
    """A database of this process's own, emptied before each test: to make another takes a second. `url`: for a test
    that looks at its rows."""

    databases: ClassVar[dict[str, str]] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        if name not in self.databases:
            self.databases[name] = self._database(server(name).url)
        self.url = self.databases[name]
        self.fresh()

    def open_events(self) -> AbstractAsyncContextManager[EventStore]:
        return open_postgres_events(self.url, connections_max=4)

    def open_registry(self) -> AbstractAsyncContextManager[Registry]:
        return open_postgres_registry(self.url, connections_max=4)

    def open_webhooks(
        self, clock: Callable[[], int] = now_us, *, app_bytes_max: int = 1 << 30
    ) -> AbstractAsyncContextManager[WebhookQueue]:
        return open_postgres_webhooks(self.url, connections_max=4, clock=clock, app_bytes_max=app_bytes_max)

    def open_rollups(self, settings: RollupSettings) -> AbstractAsyncContextManager[Rollups]:
        return open_postgres_rollups(self.url, settings, connections_max=4)

    def fresh(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute(_EMPTY)

    def _database(self, url: str) -> str:
        name = f"test_{os.getpid()}"
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return _migrated(url.replace("/postgres?", f"/{name}?"))


class TimescaleMake(Make):
    """There is one database and one connection at a time; tests of several workers take turns."""

    name = TIMESCALEDB

    def __init__(self) -> None:
        self.url = server(self.name).url
        self._opened: Database | None = None
        self._turn = (Path(str(conninfo_to_dict(self.url)["host"])) / "turn").open("w")
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self.fresh()

    def open_events(self) -> AbstractAsyncContextManager[EventStore]:
        return open_postgres_events(self.url, connections_max=1, plain_wire=True)

    @asynccontextmanager
    async def open_registry(self) -> AsyncIterator[Registry]:
        async with self._database() as database:
            yield PostgresRegistry(database)

    @asynccontextmanager
    async def open_webhooks(
        self, clock: Callable[[], int] = now_us, *, app_bytes_max: int = 1 << 30
    ) -> AsyncIterator[WebhookQueue]:
        async with self._database() as database:
            yield PostgresWebhookQueue(database, clock, app_bytes_max)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        """What is opened within what is open is on the one connection."""
        if self._opened is not None:
            yield self._opened
            return
        async with open_postgres(self.url, connections_max=1, plain_wire=True) as self._opened:
            try:
                yield self._opened
            finally:
                self._opened = None

    def open_rollups(self, settings: RollupSettings) -> AbstractAsyncContextManager[Rollups]:
        return open_postgres_rollups(self.url, settings, connections_max=1, plain_wire=True)

    def fresh(self) -> None:
        with psycopg.connect(self.url, autocommit=True, prepare_threshold=None) as admin:
            made = admin.execute("SELECT to_regnamespace('kept') IS NOT NULL").fetchone() == (True,)
        if not made:
            _migrated(self.url)
        with psycopg.connect(self.url, autocommit=True, prepare_threshold=None) as admin:
            admin.execute(_EMPTY)

    def end(self) -> None:
        self._turn.close()


def _migrated(url: str) -> str:
    migrate(url)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as admin:
        admin.execute(_KEEP)
    return url


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Each make in turn, empty."""
    made: Make
    if request.param == "sqlite":
        made = SqliteMake(tmp_path)
    elif request.param == TIMESCALEDB:
        made = TimescaleMake()
    else:
        made = PostgresMake(request.param)
    try:
        yield made
    finally:
        made.end()
