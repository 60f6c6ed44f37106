"""The registry in PostgreSQL: a `Registry` on a `Database`, for any number of processes on any number of machines.

Opened by the composition root, for the gateway, the processor and commands. Each change is a transaction that first
raises the registry's version, and so holds that row until its end: changes come one after the other, what one reads
is still true when it writes, and who reads revocations by cursor never passes one that comes later. The SQL is in
`registry_tables` and `registry_webhooks`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from psycopg import DataError

from polyglotd.model import (
    ApiKey,
    App,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    Invalid,
    LimitsPatch,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    SigningSecret,
    Unavailable,
)
from polyglotd.store.interface import StoreFault
from polyglotd.store.postgres import registry_tables as tables
from polyglotd.store.postgres import registry_webhooks as webhooks
from polyglotd.store.postgres.database import Database, open_postgres
from polyglotd.store.postgres.faults import RETRY_AFTER_MS
from polyglotd.store.postgres.pool import Connection

T = TypeVar("T")


class PostgresRegistry:
    """Satisfies `Registry`."""

    def __init__(self, database: Database) -> None:
        self._pool = database.pool

    async def _read(self, query: Callable[[Connection], T]) -> T:
        with _as_promised():
            return await self._pool.read(query)

    async def _write(self, change: Callable[[Connection], T]) -> T:
        def alone(connection: Connection) -> T:
            tables.bump_version(connection)
            return change(connection)

        with _as_promised():
            return await self._pool.write(alone)

    # --- apps ---

    async def version(self) -> int:
        return await self._read(tables.read_version)

    async def create_app(self, app: App, key: ApiKey, secret: SigningSecret) -> None:
        await self._write(lambda c: tables.create_app(c, app, key, secret))

    async def app(self, app_id: str) -> App:
        return await self._read(lambda c: tables.read_app(c, app_id))

    async def apps(self, after: str, limit: int) -> Sequence[App]:
        return await self._read(lambda c: tables.read_apps(c, after, limit))

    async def rename_app(self, app_id: str, name: str) -> App:
        return await self._write(lambda c: tables.rename_app(c, app_id, name))

    async def suspend_app(self, app_id: str, at_us: int) -> App:
        return await self._write(lambda c: tables.suspend_app(c, app_id, at_us))

    async def resume_app(self, app_id: str) -> App:
        return await self._write(lambda c: tables.resume_app(c, app_id))

    async def delete_app(self, app_id: str, at_us: int) -> None:
        await self._write(lambda c: tables.delete_app(c, app_id, at_us))

    async def deleted_apps(self) -> Sequence[str]:
        return await self._read(tables.read_deleted_apps)

    async def app_erased(self, app_id: str) -> None:
        await self._write(lambda c: tables.app_erased(c, app_id))

    async def patch_limits(self, app_id: str, patch: LimitsPatch) -> App:
        return await self._write(lambda c: tables.patch_limits(c, app_id, patch))

    async def set_kind(self, app_id: str, kind: str, override: PolicyOverride | None) -> App:
        return await self._write(lambda c: tables.set_kind(c, app_id, kind, override))

    # --- keys and secrets ---

    async def add_key(self, key: ApiKey) -> None:
        await self._write(lambda c: tables.add_key(c, key))

    async def keys(self, app_id: str) -> Sequence[ApiKey]:
        return await self._read(lambda c: tables.read_keys(c, app_id))

    async def rotate_key(self, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
        await self._write(lambda c: tables.rotate_key(c, app_id, key_id, new, old_expires_us))

    async def revoke_key(self, app_id: str, key_id: str, at_us: int) -> None:
        await self._write(lambda c: tables.revoke_key(c, app_id, key_id, at_us))

    async def add_secret(self, secret: SigningSecret) -> None:
        await self._write(lambda c: tables.add_secret(c, secret))

    async def secrets(self, app_id: str) -> Sequence[SigningSecret]:
        return await self._read(lambda c: tables.read_secrets(c, app_id))

    async def revoke_secret(self, app_id: str, secret_id: str, at_us: int) -> None:
        await self._write(lambda c: tables.revoke_secret(c, app_id, secret_id, at_us))

    # --- webhooks ---

    async def add_webhook(self, endpoint: Endpoint, at_most: int) -> None:
        await self._write(lambda c: webhooks.add(c, endpoint, at_most))

    async def webhooks(self, app_id: str) -> Sequence[Endpoint]:
        return await self._read(lambda c: webhooks.read_of_app(c, app_id))

    async def all_webhooks(self) -> Sequence[Endpoint]:
        return await self._read(webhooks.read_all)

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
        return await self._write(lambda c: webhooks.change(c, app_id, endpoint_id, patch))

    async def set_webhook_secrets(
        self, app_id: str, endpoint_id: str, before: Sequence[EndpointSecret], now: Sequence[EndpointSecret]
    ) -> Endpoint:
        return await self._write(lambda c: webhooks.set_secrets(c, app_id, endpoint_id, before, now))

    async def remove_webhook(self, app_id: str, endpoint_id: str) -> None:
        await self._write(lambda c: webhooks.remove(c, app_id, endpoint_id))

    # --- revocations and admin tokens ---

    async def revoke(
        self, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
    ) -> None:
        await self._write(lambda c: tables.revoke(c, app_id, what, subject, at_us, keep_until_us))

    async def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        return await self._read(lambda c: tables.read_revocations(c, after, limit))

    async def add_admin_token(self, digest: bytes, name: str, at_us: int) -> None:
        await self._write(lambda c: tables.add_admin_token(c, digest, name, at_us))

    async def admin_tokens(self) -> Mapping[bytes, str]:
        return await self._read(tables.read_admin_tokens)


@contextmanager
def _as_promised() -> Iterator[None]:
    """A database that an operator must mend (a password that changed, a right that was taken) is away as well: a
    gateway goes on with what it knows meanwhile."""
    try:
        yield
    except DataError as error:
        raise Invalid("a text holds what PostgreSQL can't store, such as a NUL character") from error
    except StoreFault as error:
        raise Unavailable(str(error), retry_after_ms=RETRY_AFTER_MS) from error


@asynccontextmanager
async def open_postgres_registry(
    url: str, *, connections_max: int = 2, migrating: bool = True
) -> AsyncIterator[PostgresRegistry]:
    """The registry on a database of its own pool, for a command; see `open_postgres`. Raises `StoreFault`."""
    async with open_postgres(url, connections_max=connections_max, migrating=migrating) as database:
        yield PostgresRegistry(database)
