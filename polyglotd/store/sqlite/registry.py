"""The registry on one node: a `Registry` in an SQLite file that several processes may open.

Opened by the composition root with `open_sqlite_registry`, for the gateway and for commands. Each call is a
transaction; writes begin with `BEGIN IMMEDIATE`, so that what they read first is still true when they write. The SQL
is in `registry_tables`.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from polyglotd.model import (
    ApiKey,
    App,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    LimitsPatch,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    SigningSecret,
)
from polyglotd.store.sqlite import registry_tables as tables
from polyglotd.store.sqlite import registry_webhooks as webhooks
from polyglotd.store.sqlite.files import REGISTRY, connect, migrate, sqlite_errors
from polyglotd.store.sqlite.read_pool import ReadPool

T = TypeVar("T")

READERS_MAX = 4


class SqliteRegistry:
    """Satisfies `Registry`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ReadPool(path, connections_max=READERS_MAX)
        self._writing = trio.CapacityLimiter(1)
        self._connection: sqlite3.Connection | None = None  # the writer's

    def close(self) -> None:
        self._pool.close()
        if self._connection is not None:
            self._connection.close()

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._pool.read(query)

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return await trio.to_thread.run_sync(self._change, change, limiter=self._writing)

    def _change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        with sqlite_errors(self._path):
            if self._connection is None:
                self._connection = connect(self._path)
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = change(connection)
                tables.bump_version(connection)
                connection.execute("COMMIT")
            except sqlite3.Error:
                connection.close()  # rolls back; a file that came back needs a new connection
                self._connection = None
                raise
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return result

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


@asynccontextmanager
async def open_sqlite_registry(path: Path) -> AsyncIterator[SqliteRegistry]:
    """Open the registry, made or migrated where need be. Raises `StoreFault`."""
    await trio.to_thread.run_sync(migrate, path, REGISTRY)
    registry = SqliteRegistry(path)
    try:
        yield registry
    finally:
        registry.close()
