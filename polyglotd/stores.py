"""Which stores the settings name: opened together, repaired and migrated where need be.

Part of the composition root. A new kind of store is a field of `Stores` and a line in `open_stores`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from polyglotd.config import POSTGRES_URL_PREFIXES, SQLITE_URL_PREFIX, Settings
from polyglotd.store.analytics import Rollups, RollupSettings
from polyglotd.store.interface import EventStore, Registry
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.registry import open_sqlite_registry
from polyglotd.store.sqlite.rollups import open_sqlite_rollups
from polyglotd.store.sqlite.webhooks import open_sqlite_webhooks
from polyglotd.store.webhooks import WebhookQueue

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All that outlives the log. `kind`: what `/health` calls it."""

    kind: str
    registry: Registry
    events: EventStore
    webhooks: WebhookQueue
    rollups: Rollups


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Raises `StoreFault`."""
    if is_postgres(settings):
        async with _open_postgres_stores(settings) as stores:
            yield stores
        return
    async with (
        open_sqlite_registry(registry_path(settings)) as registry,
        open_sqlite_events(events_path(settings)) as events,
        open_sqlite_webhooks(webhooks_path(settings), app_bytes_max=settings.webhooks.app_bytes_max) as webhooks,
        open_sqlite_rollups(rollups_path(settings), rollup_settings(settings)) as rollups,
    ):
        yield Stores(kind="sqlite", registry=registry, events=events, webhooks=webhooks, rollups=rollups)


@asynccontextmanager
async def _open_postgres_stores(settings: Settings) -> AsyncIterator[Stores]:
    # With its library, which others do without.
    from polyglotd.store.moving import has_something, refuse_unfinished
    from polyglotd.store.postgres.database import open_postgres
    from polyglotd.store.postgres.events import PostgresEventStore
    from polyglotd.store.postgres.registry import PostgresRegistry
    from polyglotd.store.postgres.rollups import PostgresRollups
    from polyglotd.store.postgres.webhooks import PostgresWebhookQueue

    store = settings.store
    async with open_postgres(
        store.url,
        connections_max=store.connections,
        plain_wire=store.wire == "plain",
        migrating=store.migrate,
    ) as database:
        await database.pool.read(refuse_unfinished)
        if await trio.Path(registry_path(settings)).exists() and not await database.pool.read(has_something):
            logger.warning(
                "the database is empty, and %s is not looked at: `polyglotd migrate --from %s` moves apps and events",
                registry_path(settings),
                settings.data.dir,
            )
        yield Stores(
            kind=database.name,
            registry=PostgresRegistry(database),
            events=PostgresEventStore(database),
            webhooks=PostgresWebhookQueue(database, app_bytes_max=settings.webhooks.app_bytes_max),
            rollups=PostgresRollups(database, rollup_settings(settings)),
        )


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[Registry]:
    """The registry alone, for a command. Raises `StoreFault`."""
    if is_postgres(settings):
        from polyglotd.store.postgres.registry import open_postgres_registry  # with its library

        async with open_postgres_registry(settings.store.url, migrating=settings.store.migrate) as in_postgres:
            yield in_postgres
        return
    async with open_sqlite_registry(registry_path(settings)) as registry:
        yield registry


def is_postgres(settings: Settings) -> bool:
    return settings.store.url.startswith(POSTGRES_URL_PREFIXES)


def registry_path(settings: Settings) -> Path:
    return Path(settings.data.dir) / "registry.db"


def events_path(settings: Settings) -> Path:
    """The event store's file."""
    url = settings.store.url
    return Path(url.removeprefix(SQLITE_URL_PREFIX)) if url else Path(settings.data.dir) / "events.db"


def webhooks_path(settings: Settings) -> Path:
    return Path(settings.data.dir) / "webhooks.db"


def rollups_path(settings: Settings) -> Path:
    return Path(settings.data.dir) / "rollups.db"


def rollup_settings(settings: Settings) -> RollupSettings:
    return RollupSettings(**msgspec.structs.asdict(settings.analytics))
