"""The embedded registry: one SQLite file, `DATA/registry.db`, with apps, credentials and the revocation log.

Every change raises the counter that `version` reads, in the change's own transaction, so that other processes and
caches see it. Limits and kinds are stored as the JSON of what the operator said, not of what resulted, so that a
changed default reaches apps that never set it.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from polyglotd.model import (
    ApiKey,
    App,
    Conflict,
    Limits,
    LimitsPatch,
    NotFound,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    Scope,
    SecretAlgorithm,
    SigningSecret,
    now_us,
)
from polyglotd.store.sqlite_database import Database, open_database

T = TypeVar("T")

MIGRATIONS = (
    """
    CREATE TABLE apps (
        app_id TEXT PRIMARY KEY, name TEXT NOT NULL, suspended INTEGER NOT NULL, limits TEXT NOT NULL,
        kinds TEXT NOT NULL, created_us INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deleted_apps (app_id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE keys (
        number INTEGER PRIMARY KEY AUTOINCREMENT, app_id TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
        key_id TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, scopes TEXT NOT NULL, name TEXT NOT NULL,
        created_us INTEGER NOT NULL, expires_us INTEGER, revoked_us INTEGER, UNIQUE (app_id, key_id)
    );
    CREATE TABLE secrets (
        number INTEGER PRIMARY KEY AUTOINCREMENT, app_id TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
        secret_id TEXT NOT NULL, algorithm TEXT NOT NULL, material BLOB NOT NULL, created_us INTEGER NOT NULL,
        revoked_us INTEGER, UNIQUE (app_id, secret_id)
    );
    CREATE TABLE revocations (
        cursor INTEGER PRIMARY KEY AUTOINCREMENT, app_id TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL,
        at_us INTEGER NOT NULL, keep_until_us INTEGER NOT NULL
    );
    CREATE TABLE admin_tokens (
        digest BLOB PRIMARY KEY, name TEXT NOT NULL, created_us INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE version (number INTEGER NOT NULL);
    INSERT INTO version VALUES (1);
    """,
)

LOG_KEPT_US = 400 * 86_400 * 1_000_000  # revocations of keys and apps: long after any node could still not know


@asynccontextmanager
async def open_sqlite_registry(path: Path) -> AsyncIterator["SqliteRegistry"]:
    """Raises `StoreFault` where the file can't be used."""
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteRegistry(database)


class SqliteRegistry:
    """A `Registry`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def write(connection: sqlite3.Connection) -> T:
            result = work(connection)
            connection.execute("UPDATE version SET number = number + 1")
            connection.execute("DELETE FROM revocations WHERE keep_until_us < ?", (now_us(),))
            return result

        return await self._database.write(write)

    async def version(self) -> int:
        def read(connection: sqlite3.Connection) -> int:
            (number,) = connection.execute("SELECT number FROM version").fetchone()
            return int(number)

        return await self._database.read(read)

    # --- apps ---

    async def create_app(self, app: App, key: ApiKey, secret: SigningSecret) -> None:
        def write(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM deleted_apps WHERE app_id = ?", (app.app_id,)).fetchone():
                raise Conflict(f"{app.app_id} was deleted and is still being erased; try again in a minute")
            patch = _changed_limits(app.limits)
            kinds = _encode_kinds(app.kinds)
            row = (app.app_id, app.name, app.suspended, patch, kinds, app.created_us)
            try:
                connection.execute("INSERT INTO apps VALUES (?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise Conflict(f"there is an app {app.app_id} already") from None
            _insert_key(connection, key)
            _insert_secret(connection, secret)

        await self._change(write)

    async def app(self, app_id: str) -> App:
        return await self._database.read(lambda connection: _app(connection, app_id))

    async def apps(self, after: str, limit: int) -> Sequence[App]:
        def read(connection: sqlite3.Connection) -> list[App]:
            rows = connection.execute(
                "SELECT * FROM apps WHERE app_id > ? ORDER BY app_id LIMIT ?", (after, limit)
            ).fetchall()
            return [_app_of(row) for row in rows]

        return await self._database.read(read)

    async def rename_app(self, app_id: str, name: str) -> App:
        return await self._change(lambda connection: _set_column(connection, app_id, "name", name))

    async def suspend_app(self, app_id: str, at_us: int) -> App:
        def write(connection: sqlite3.Connection) -> App:
            app = _set_column(connection, app_id, "suspended", 1)
            _revoke(connection, app_id, "app", app_id, at_us, at_us + LOG_KEPT_US)
            return app

        return await self._change(write)

    async def resume_app(self, app_id: str) -> App:
        return await self._change(lambda connection: _set_column(connection, app_id, "suspended", 0))

    async def delete_app(self, app_id: str, at_us: int) -> None:
        def write(connection: sqlite3.Connection) -> None:
            _app(connection, app_id)
            connection.execute("DELETE FROM apps WHERE app_id = ?", (app_id,))
            connection.execute("INSERT INTO deleted_apps VALUES (?)", (app_id,))
            _revoke(connection, app_id, "app", app_id, at_us, at_us + LOG_KEPT_US)

        await self._change(write)

    async def deleted_apps(self) -> Sequence[str]:
        def read(connection: sqlite3.Connection) -> list[str]:
            return [app_id for (app_id,) in connection.execute("SELECT app_id FROM deleted_apps ORDER BY app_id")]

        return await self._database.read(read)

    async def app_erased(self, app_id: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM deleted_apps WHERE app_id = ?", (app_id,))

        await self._change(write)

    async def patch_limits(self, app_id: str, patch: LimitsPatch) -> App:
        def write(connection: sqlite3.Connection) -> App:
            (text,) = _row(connection, "SELECT limits FROM apps WHERE app_id = ?", (app_id,), f"no app {app_id}")
            said = msgspec.json.decode(cast(str, text))
            for name in LimitsPatch.__struct_fields__:
                value = getattr(patch, name)
                if value is None:  # back to the default, whatever that becomes
                    said.pop(name, None)
                elif value is not msgspec.UNSET:
                    said[name] = value
            return _set_column(connection, app_id, "limits", msgspec.json.encode(said).decode())

        return await self._change(write)

    async def set_kind(self, app_id: str, kind: str, override: PolicyOverride | None) -> App:
        def write(connection: sqlite3.Connection) -> App:
            kinds = dict(_app(connection, app_id).kinds)
            if override is None:
                if kinds.pop(kind, None) is None:
                    raise NotFound(f"the app says nothing of kind {kind}")
            else:
                kinds[kind] = override
            return _set_column(connection, app_id, "kinds", _encode_kinds(kinds))

        return await self._change(write)

    # --- credentials ---

    async def add_key(self, key: ApiKey) -> None:
        await self._change(lambda connection: _insert_key(connection, key))

    async def keys(self, app_id: str) -> Sequence[ApiKey]:
        def read(connection: sqlite3.Connection) -> list[ApiKey]:
            _app(connection, app_id)
            rows = connection.execute("SELECT * FROM keys WHERE app_id = ? ORDER BY number DESC", (app_id,))
            return [_key_of(row) for row in rows]

        return await self._database.read(read)

    async def rotate_key(self, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
        def write(connection: sqlite3.Connection) -> None:
            _insert_key(connection, new)
            changed = connection.execute(
                "UPDATE keys SET expires_us = min(coalesce(expires_us, ?), ?) WHERE app_id = ? AND key_id = ?",
                (old_expires_us, old_expires_us, app_id, key_id),
            )
            _found(changed, f"no key {key_id}")

        await self._change(write)

    async def revoke_key(self, app_id: str, key_id: str, at_us: int) -> None:
        def write(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                "UPDATE keys SET revoked_us = coalesce(revoked_us, ?) WHERE app_id = ? AND key_id = ?",
                (at_us, app_id, key_id),
            )
            _found(changed, f"no key {key_id}")
            _revoke(connection, app_id, "key", key_id, at_us, at_us + LOG_KEPT_US)

        await self._change(write)

    async def add_secret(self, secret: SigningSecret) -> None:
        await self._change(lambda connection: _insert_secret(connection, secret))

    async def secrets(self, app_id: str) -> Sequence[SigningSecret]:
        def read(connection: sqlite3.Connection) -> list[SigningSecret]:
            _app(connection, app_id)
            rows = connection.execute("SELECT * FROM secrets WHERE app_id = ? ORDER BY number DESC", (app_id,))
            return [_secret_of(row) for row in rows]

        return await self._database.read(read)

    async def revoke_secret(self, app_id: str, secret_id: str, at_us: int) -> None:
        def write(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                "UPDATE secrets SET revoked_us = coalesce(revoked_us, ?) WHERE app_id = ? AND secret_id = ?",
                (at_us, app_id, secret_id),
            )
            _found(changed, f"no secret {secret_id}")

        await self._change(write)

    # --- revocations and operators ---

    async def revoke(
        self, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
    ) -> None:
        await self._change(lambda connection: _revoke(connection, app_id, what, subject, at_us, keep_until_us))

    async def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        def read(connection: sqlite3.Connection) -> list[Revocation]:
            rows = connection.execute(
                "SELECT cursor, app_id, what, subject, at_us FROM revocations WHERE cursor > ?"
                " ORDER BY cursor LIMIT ?",
                (after, limit),
            )
            return [Revocation(*row) for row in rows]

        return await self._database.read(read)

    async def add_admin_token(self, digest: bytes, name: str, at_us: int) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO admin_tokens VALUES (?, ?, ?)", (digest, name, at_us))

        await self._change(write)

    async def admin_tokens(self) -> Mapping[bytes, str]:
        def read(connection: sqlite3.Connection) -> dict[bytes, str]:
            return dict(connection.execute("SELECT digest, name FROM admin_tokens").fetchall())

        return await self._database.read(read)


def _row(
    connection: sqlite3.Connection, statement: str, values: tuple[object, ...], missing: str
) -> tuple[object, ...]:
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise NotFound(missing)
    return cast(tuple[object, ...], row)


def _found(changed: sqlite3.Cursor, missing: str) -> None:
    if changed.rowcount != 1:
        raise NotFound(missing)


def _app(connection: sqlite3.Connection, app_id: str) -> App:
    return _app_of(_row(connection, "SELECT * FROM apps WHERE app_id = ?", (app_id,), f"no app {app_id}"))


def _app_of(row: tuple[object, ...]) -> App:
    app_id, name, suspended, limits, kinds, created_us = row
    return App(
        app_id=cast(str, app_id),
        name=cast(str, name),
        suspended=bool(suspended),
        limits=msgspec.json.decode(cast(str, limits), type=Limits),
        kinds=msgspec.json.decode(cast(str, kinds), type=dict[str, PolicyOverride]),
        created_us=cast(int, created_us),
    )


def _set_column(connection: sqlite3.Connection, app_id: str, column: str, value: object) -> App:
    _found(connection.execute(f"UPDATE apps SET {column} = ? WHERE app_id = ?", (value, app_id)), f"no app {app_id}")
    return _app(connection, app_id)


def _changed_limits(limits: Limits) -> str:
    defaults = Limits()
    said = {
        name: getattr(limits, name)
        for name in Limits.__struct_fields__
        if getattr(limits, name) != getattr(defaults, name)
    }
    return msgspec.json.encode(said).decode()


def _encode_kinds(kinds: Mapping[str, PolicyOverride]) -> str:
    return msgspec.json.encode(dict(kinds)).decode()


def _insert_key(connection: sqlite3.Connection, key: ApiKey) -> None:
    _app(connection, key.app_id)
    scopes = " ".join(sorted(key.scopes))
    row = (key.app_id, key.key_id, key.digest, scopes, key.name, key.created_us, key.expires_us, key.revoked_us)
    try:
        connection.execute("INSERT INTO keys VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a key {key.key_id} already") from None


def _key_of(row: tuple[object, ...]) -> ApiKey:
    _, app_id, key_id, digest, scopes, name, created_us, expires_us, revoked_us = row
    return ApiKey(
        key_id=cast(str, key_id),
        app_id=cast(str, app_id),
        digest=cast(bytes, digest),
        scopes=frozenset(cast(list[Scope], cast(str, scopes).split())),
        name=cast(str, name),
        created_us=cast(int, created_us),
        expires_us=cast(int | None, expires_us),
        revoked_us=cast(int | None, revoked_us),
    )


def _insert_secret(connection: sqlite3.Connection, secret: SigningSecret) -> None:
    _app(connection, secret.app_id)
    row = (
        secret.app_id, secret.secret_id, secret.algorithm, secret.material, secret.created_us, secret.revoked_us,
    )  # fmt: skip
    try:
        connection.execute("INSERT INTO secrets VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a secret {secret.secret_id} already") from None


def _secret_of(row: tuple[object, ...]) -> SigningSecret:
    _, app_id, secret_id, algorithm, material, created_us, revoked_us = row
    return SigningSecret(
        secret_id=cast(str, secret_id),
        app_id=cast(str, app_id),
        algorithm=cast(SecretAlgorithm, algorithm),
        material=cast(bytes, material),
        created_us=cast(int, created_us),
        revoked_us=cast(int | None, revoked_us),
    )


def _revoke(
    connection: sqlite3.Connection, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
) -> None:
    connection.execute(
        "INSERT INTO revocations (app_id, what, subject, at_us, keep_until_us) VALUES (?, ?, ?, ?, ?)",
        (app_id, what, subject, at_us, keep_until_us),
    )
