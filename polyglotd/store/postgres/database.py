"""One PostgreSQL database for all stores of this room: its schema brought up to date, its pool open.

Opened by the composition root; `events` and the other stores are built on what it yields.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from polyglotd.store.postgres.pool import Pool, open_pool
from polyglotd.store.postgres.schema import Schema, migrate

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class Database:
    pool: Pool
    schema: Schema
    plain_wire: bool  # no COPY, no prepared statements

    @property
    def name(self) -> str:
        return "timescaledb" if self.schema.variant == "timescaledb" else "postgresql"


@asynccontextmanager
async def open_postgres(
    url: str, *, connections_max: int = CONNECTIONS_MAX, plain_wire: bool = False, migrating: bool = True
) -> AsyncIterator[Database]:
    """Migrate, or with `migrating` false look whether that is needed, and open the pool. Raises `StoreFault`.

    `plain_wire`: for what stands in between, or in a server's place, and knows neither COPY nor prepared statements.
    """
    schema = await trio.to_thread.run_sync(lambda: migrate(url, check_only=not migrating))
    async with open_pool(url, connections_max=connections_max, prepared=not plain_wire) as pool:
        logger.info("the store is %s, at %s, schema %d", schema.server, pool.where, schema.after)
        yield Database(pool, schema, plain_wire)
