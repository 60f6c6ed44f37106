"""The registry's SQL in PostgreSQL: apps, keys, secrets, revocations, admin tokens.

Called by `registry` in worker threads, within a transaction that holds the row of `registry_version` where it writes.
Blocking; errors are psycopg's own, `NotFound`, `Conflict`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import Cursor, errors

from polyglotd.model import (
    ApiKey,
    App,
    Conflict,
    LimitsPatch,
    NotFound,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    Scope,
    SigningSecret,
    policy_for,
)
from polyglotd.store.app_limits import patched, those_set, with_defaults
from polyglotd.store.postgres.pool import Connection, Micros
from polyglotd.store.postgres.rows import TS_MAX_US

NOTICE_KEPT_US = 86_400 * 1_000_000  # revocations that the registry itself also shows: only for who follows the log

_encode = msgspec.json.Encoder().encode
_APP = "app_id, name, suspended, limits, kinds, created"
_KEY = "key_id, app_id, digest, scopes, name, created, expires, revoked"
_SECRET = "secret_id, app_id, algorithm, material, created, revoked"


def query(
    connection: Connection, sql: LiteralString, values: Sequence[object] | Mapping[str, object] = ()
) -> Cursor[tuple[Any, ...]]:
    """Run it; moments come back as µs."""
    return connection.execute(sql, values, binary=True)


def moment(us: int | None) -> Micros | None:
    return None if us is None else Micros(max(0, min(us, TS_MAX_US)))


def as_json(value: object) -> str:
    return _encode(value).decode()


# --- apps ---


def create_app(connection: Connection, app: App, key: ApiKey, secret: SigningSecret) -> None:
    if query(connection, "SELECT 1 FROM polyglot.deleted_apps WHERE app_id = %s", (app.app_id,)).fetchone():
        raise Conflict(f"an app {app.app_id} was deleted and is still being erased: choose another id, or wait")
    if query(connection, "SELECT 1 FROM polyglot.apps WHERE app_id = %s", (app.app_id,)).fetchone():
        raise Conflict(f"there is an app {app.app_id} already: choose another id")
    query(
        connection,
        f"INSERT INTO polyglot.apps ({_APP}) VALUES (%s, %s, %s, %s::jsonb, %s::jsonb, %s)",
        (
            app.app_id,
            app.name,
            app.suspended,
            as_json(those_set(app.limits)),
            as_json(dict(app.kinds)),
            moment(app.created_us),
        ),
    )
    add_key(connection, key)
    add_secret(connection, secret)


def read_app(connection: Connection, app_id: str) -> App:
    row = query(connection, f"SELECT {_APP} FROM polyglot.apps WHERE app_id = %s", (app_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no app {app_id}")
    return _app(row)


def read_apps(connection: Connection, after: str, limit: int) -> Sequence[App]:
    rows = query(
        connection, f"SELECT {_APP} FROM polyglot.apps WHERE app_id > %s ORDER BY app_id LIMIT %s", (after, limit)
    )
    return [_app(row) for row in rows]


def rename_app(connection: Connection, app_id: str, name: str) -> App:
    query(connection, "UPDATE polyglot.apps SET name = %s WHERE app_id = %s", (name, app_id))
    return read_app(connection, app_id)


def suspend_app(connection: Connection, app_id: str, at_us: int) -> App:
    read_app(connection, app_id)
    query(connection, "UPDATE polyglot.apps SET suspended = true WHERE app_id = %s", (app_id,))
    revoke(connection, app_id, "app", app_id, at_us, at_us + NOTICE_KEPT_US)
    return read_app(connection, app_id)


def resume_app(connection: Connection, app_id: str) -> App:
    query(connection, "UPDATE polyglot.apps SET suspended = false WHERE app_id = %s", (app_id,))
    return read_app(connection, app_id)


def delete_app(connection: Connection, app_id: str, at_us: int) -> None:
    read_app(connection, app_id)
    query(connection, "DELETE FROM polyglot.apps WHERE app_id = %s", (app_id,))
    query(connection, "INSERT INTO polyglot.deleted_apps VALUES (%s, %s)", (app_id, moment(at_us)))
    revoke(connection, app_id, "app", app_id, at_us, at_us + NOTICE_KEPT_US)


def read_deleted_apps(connection: Connection) -> Sequence[str]:
    return [app_id for (app_id,) in query(connection, "SELECT app_id FROM polyglot.deleted_apps ORDER BY app_id")]


def app_erased(connection: Connection, app_id: str) -> None:
    query(connection, "DELETE FROM polyglot.deleted_apps WHERE app_id = %s", (app_id,))


def patch_limits(connection: Connection, app_id: str, patch: LimitsPatch) -> App:
    row = query(connection, "SELECT limits FROM polyglot.apps WHERE app_id = %s", (app_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no app {app_id}")
    limits = as_json(patched(msgspec.convert(row[0], dict[str, int]), patch))
    query(connection, "UPDATE polyglot.apps SET limits = %s::jsonb WHERE app_id = %s", (limits, app_id))
    return read_app(connection, app_id)


def set_kind(connection: Connection, app_id: str, kind: str, override: PolicyOverride | None) -> App:
    """Raises `Invalid` where the fields contradict each other."""
    kinds = dict(read_app(connection, app_id).kinds)
    if override is None:
        kinds.pop(kind, None)
    else:
        kinds[kind] = override
        policy_for(kind, kinds)
    query(connection, "UPDATE polyglot.apps SET kinds = %s::jsonb WHERE app_id = %s", (as_json(kinds), app_id))
    return read_app(connection, app_id)


def _app(row: tuple[Any, ...]) -> App:
    app_id, name, suspended, limits, kinds, created_us = row
    return App(
        app_id=app_id,
        name=name,
        suspended=suspended,
        limits=with_defaults(msgspec.convert(limits, dict[str, int])),
        kinds=msgspec.convert(kinds, dict[str, PolicyOverride]),
        created_us=created_us,
    )


# --- keys and secrets ---


def add_key(connection: Connection, key: ApiKey) -> None:
    read_app(connection, key.app_id)
    values = (
        key.key_id,
        key.app_id,
        key.digest,
        as_json(sorted(key.scopes)),
        key.name,
        moment(key.created_us),
        moment(key.expires_us),
        moment(key.revoked_us),
    )
    insert(
        connection,
        f"INSERT INTO polyglot.keys ({_KEY}) VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s)",
        values,
        f"key {key.key_id}",
    )


def read_keys(connection: Connection, app_id: str) -> Sequence[ApiKey]:
    read_app(connection, app_id)
    rows = query(
        connection,
        f"SELECT {_KEY} FROM polyglot.keys WHERE app_id = %s ORDER BY created DESC, key_id DESC",
        (app_id,),
    )
    return [
        ApiKey(key_id, app, digest, msgspec.convert(scopes, frozenset[Scope]), name, created, expires, revoked)
        for key_id, app, digest, scopes, name, created, expires, revoked in rows
    ]


def rotate_key(connection: Connection, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
    changed = query(
        connection,
        "UPDATE polyglot.keys SET expires = least(%s, expires) WHERE app_id = %s AND key_id = %s",
        (moment(old_expires_us), app_id, key_id),
    ).rowcount
    _found(changed, f"key {key_id}", app_id)
    add_key(connection, new)


def revoke_key(connection: Connection, app_id: str, key_id: str, at_us: int) -> None:
    changed = query(
        connection,
        "UPDATE polyglot.keys SET revoked = coalesce(revoked, %s) WHERE app_id = %s AND key_id = %s",
        (moment(at_us), app_id, key_id),
    ).rowcount
    _found(changed, f"key {key_id}", app_id)
    revoke(connection, app_id, "key", key_id, at_us, at_us + NOTICE_KEPT_US)


def add_secret(connection: Connection, secret: SigningSecret) -> None:
    read_app(connection, secret.app_id)
    values = (
        secret.secret_id,
        secret.app_id,
        secret.algorithm,
        secret.material,
        moment(secret.created_us),
        moment(secret.revoked_us),
    )
    insert(
        connection,
        f"INSERT INTO polyglot.secrets ({_SECRET}) VALUES (%s, %s, %s, %s, %s, %s)",
        values,
        f"secret {secret.secret_id}",
    )


def read_secrets(connection: Connection, app_id: str) -> Sequence[SigningSecret]:
    read_app(connection, app_id)
    rows = query(
        connection,
        f"SELECT {_SECRET} FROM polyglot.secrets WHERE app_id = %s ORDER BY created DESC, secret_id DESC",
        (app_id,),
    )
    return [SigningSecret(*row) for row in rows]


def revoke_secret(connection: Connection, app_id: str, secret_id: str, at_us: int) -> None:
    changed = query(
        connection,
        "UPDATE polyglot.secrets SET revoked = coalesce(revoked, %s) WHERE app_id = %s AND secret_id = %s",
        (moment(at_us), app_id, secret_id),
    ).rowcount
    _found(changed, f"secret {secret_id}", app_id)


def insert(connection: Connection, sql: LiteralString, values: Sequence[object], what: str) -> None:
    try:
        query(connection, sql, values)
    except errors.UniqueViolation as error:
        raise Conflict(f"there is a {what} already") from error


def _found(changed: int, what: str, app_id: str) -> None:
    if not changed:
        raise NotFound(f"app {app_id} has no {what}")


# --- revocations, admin tokens, version ---


def revoke(
    connection: Connection, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
) -> None:
    query(connection, "DELETE FROM polyglot.revocations WHERE keep_until < %s", (moment(at_us),))
    query(
        connection,
        "INSERT INTO polyglot.revocations (app_id, what, subject, at, keep_until) VALUES (%s, %s, %s, %s, %s)",
        (app_id, what, subject, moment(at_us), moment(keep_until_us)),
    )


def read_revocations(connection: Connection, after: int, limit: int) -> Sequence[Revocation]:
    rows = query(
        connection,
        "SELECT cursor, app_id, what, subject, at FROM polyglot.revocations WHERE cursor > %s "
        "ORDER BY cursor LIMIT %s",
        (after, limit),
    )
    return [Revocation(*row) for row in rows]


def add_admin_token(connection: Connection, digest: bytes, name: str, at_us: int) -> None:
    values = (digest, name, moment(at_us))
    insert(connection, "INSERT INTO polyglot.admin_tokens VALUES (%s, %s, %s)", values, "token like this")


def read_admin_tokens(connection: Connection) -> Mapping[bytes, str]:
    return dict(query(connection, "SELECT digest, name FROM polyglot.admin_tokens ORDER BY created").fetchall())


def read_version(connection: Connection) -> int:
    row = query(connection, "SELECT version FROM polyglot.registry_version").fetchone()
    assert row is not None
    return int(row[0])


def bump_version(connection: Connection) -> None:
    """First in a transaction that writes: until its end no other one can."""
    query(connection, "UPDATE polyglot.registry_version SET version = version + 1")
