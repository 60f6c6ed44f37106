"""The registry's SQL: apps, keys, secrets, revocations, admin tokens.

Called by `registry` within a transaction each. Blocking; errors are SQLite's own, `NotFound`, `Conflict`.
"""

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

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

NOTICE_KEPT_US = 86_400 * 1_000_000  # revocations that the registry itself also shows: only for who follows the log

_encode = msgspec.json.Encoder().encode
_kinds_decoder = msgspec.json.Decoder(dict[str, PolicyOverride])
_scopes_decoder = msgspec.json.Decoder(frozenset[Scope])
_APP = "app_id, name, suspended, limits, kinds, created_us"
_KEY = "key_id, app_id, digest, scopes, name, created_us, expires_us, revoked_us"
_SECRET = "secret_id, app_id, algorithm, material, created_us, revoked_us"


# --- apps ---


def create_app(connection: sqlite3.Connection, app: App, key: ApiKey, secret: SigningSecret) -> None:
    if connection.execute("SELECT 1 FROM deleted_apps WHERE app_id = ?", (app.app_id,)).fetchone():
        raise Conflict(f"an app {app.app_id} was deleted and is still being erased: choose another id, or wait")
    if connection.execute("SELECT 1 FROM apps WHERE app_id = ?", (app.app_id,)).fetchone():
        raise Conflict(f"there is an app {app.app_id} already: choose another id")
    connection.execute(
        f"INSERT INTO apps ({_APP}) VALUES (?, ?, ?, ?, ?, ?)",
        (app.app_id, app.name, app.suspended, _text(those_set(app.limits)), _text(dict(app.kinds)), app.created_us),
    )
    add_key(connection, key)
    add_secret(connection, secret)


def read_app(connection: sqlite3.Connection, app_id: str) -> App:
    row = connection.execute(f"SELECT {_APP} FROM apps WHERE app_id = ?", (app_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no app {app_id}")
    return _app(row)


def read_apps(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[App]:
    rows = connection.execute(f"SELECT {_APP} FROM apps WHERE app_id > ? ORDER BY app_id LIMIT ?", (after, limit))
    return [_app(row) for row in rows]


def rename_app(connection: sqlite3.Connection, app_id: str, name: str) -> App:
    connection.execute("UPDATE apps SET name = ? WHERE app_id = ?", (name, app_id))
    return read_app(connection, app_id)


def suspend_app(connection: sqlite3.Connection, app_id: str, at_us: int) -> App:
    read_app(connection, app_id)
    connection.execute("UPDATE apps SET suspended = 1 WHERE app_id = ?", (app_id,))
    revoke(connection, app_id, "app", app_id, at_us, at_us + NOTICE_KEPT_US)
    return read_app(connection, app_id)


def resume_app(connection: sqlite3.Connection, app_id: str) -> App:
    connection.execute("UPDATE apps SET suspended = 0 WHERE app_id = ?", (app_id,))
    return read_app(connection, app_id)


def delete_app(connection: sqlite3.Connection, app_id: str, at_us: int) -> None:
    read_app(connection, app_id)
    connection.execute("DELETE FROM apps WHERE app_id = ?", (app_id,))
    connection.execute("INSERT INTO deleted_apps VALUES (?, ?)", (app_id, at_us))
    revoke(connection, app_id, "app", app_id, at_us, at_us + NOTICE_KEPT_US)


def read_deleted_apps(connection: sqlite3.Connection) -> Sequence[str]:
    return [app_id for (app_id,) in connection.execute("SELECT app_id FROM deleted_apps ORDER BY app_id")]


def app_erased(connection: sqlite3.Connection, app_id: str) -> None:
    connection.execute("DELETE FROM deleted_apps WHERE app_id = ?", (app_id,))


def patch_limits(connection: sqlite3.Connection, app_id: str, patch: LimitsPatch) -> App:
    limits = patched(_set_limits(connection, app_id), patch)
    connection.execute("UPDATE apps SET limits = ? WHERE app_id = ?", (_text(limits), app_id))
    return read_app(connection, app_id)


def set_kind(connection: sqlite3.Connection, app_id: str, kind: str, override: PolicyOverride | None) -> App:
    """Raises `Invalid` where the fields contradict each other."""
    kinds = dict(read_app(connection, app_id).kinds)
    if override is None:
        kinds.pop(kind, None)
    else:
        kinds[kind] = override
        policy_for(kind, kinds)
    connection.execute("UPDATE apps SET kinds = ? WHERE app_id = ?", (_text(kinds), app_id))
    return read_app(connection, app_id)


def _set_limits(connection: sqlite3.Connection, app_id: str) -> dict[str, int]:
    row = connection.execute("SELECT limits FROM apps WHERE app_id = ?", (app_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no app {app_id}")
    return msgspec.json.decode(row[0], type=dict[str, int])


def _app(row: tuple[str, str, int, str, str, int]) -> App:
    app_id, name, suspended, limits, kinds, created_us = row
    return App(
        app_id=app_id,
        name=name,
        suspended=bool(suspended),
        limits=with_defaults(msgspec.json.decode(limits, type=dict[str, int])),
        kinds=_kinds_decoder.decode(kinds),
        created_us=created_us,
    )


# --- keys and secrets ---


def add_key(connection: sqlite3.Connection, key: ApiKey) -> None:
    read_app(connection, key.app_id)
    values = (
        key.key_id,
        key.app_id,
        key.digest,
        _text(sorted(key.scopes)),
        key.name,
        key.created_us,
        key.expires_us,
        key.revoked_us,
    )
    _insert(connection, f"INSERT INTO keys ({_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values, f"key {key.key_id}")


def read_keys(connection: sqlite3.Connection, app_id: str) -> Sequence[ApiKey]:
    read_app(connection, app_id)
    rows = connection.execute(
        f"SELECT {_KEY} FROM keys WHERE app_id = ? ORDER BY created_us DESC, key_id DESC", (app_id,)
    )
    return [
        ApiKey(key_id, app, digest, _scopes_decoder.decode(scopes), name, created_us, expires_us, revoked_us)
        for key_id, app, digest, scopes, name, created_us, expires_us, revoked_us in rows
    ]


def rotate_key(connection: sqlite3.Connection, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
    changed = connection.execute(
        "UPDATE keys SET expires_us = min(?, coalesce(expires_us, ?)) WHERE app_id = ? AND key_id = ?",
        (old_expires_us, old_expires_us, app_id, key_id),
    ).rowcount
    _found(changed, f"key {key_id}", app_id)
    add_key(connection, new)


def revoke_key(connection: sqlite3.Connection, app_id: str, key_id: str, at_us: int) -> None:
    changed = connection.execute(
        "UPDATE keys SET revoked_us = coalesce(revoked_us, ?) WHERE app_id = ? AND key_id = ?",
        (at_us, app_id, key_id),
    ).rowcount
    _found(changed, f"key {key_id}", app_id)
    revoke(connection, app_id, "key", key_id, at_us, at_us + NOTICE_KEPT_US)


def add_secret(connection: sqlite3.Connection, secret: SigningSecret) -> None:
    read_app(connection, secret.app_id)
    values = (
        secret.secret_id,
        secret.app_id,
        secret.algorithm,
        secret.material,
        secret.created_us,
        secret.revoked_us,
    )
    _insert(
        connection, f"INSERT INTO secrets ({_SECRET}) VALUES (?, ?, ?, ?, ?, ?)", values, f"secret {secret.secret_id}"
    )


def read_secrets(connection: sqlite3.Connection, app_id: str) -> Sequence[SigningSecret]:
    read_app(connection, app_id)
    rows = connection.execute(
        f"SELECT {_SECRET} FROM secrets WHERE app_id = ? ORDER BY created_us DESC, secret_id DESC", (app_id,)
    )
    return [SigningSecret(*row) for row in rows]


def revoke_secret(connection: sqlite3.Connection, app_id: str, secret_id: str, at_us: int) -> None:
    changed = connection.execute(
        "UPDATE secrets SET revoked_us = coalesce(revoked_us, ?) WHERE app_id = ? AND secret_id = ?",
        (at_us, app_id, secret_id),
    ).rowcount
    _found(changed, f"secret {secret_id}", app_id)


def _insert(connection: sqlite3.Connection, sql: str, values: tuple[object, ...], what: str) -> None:
    try:
        connection.execute(sql, values)
    except sqlite3.IntegrityError as error:
        raise Conflict(f"there is a {what} already") from error


def _found(changed: int, what: str, app_id: str) -> None:
    if not changed:
        raise NotFound(f"app {app_id} has no {what}")


# --- revocations and admin tokens ---


def revoke(
    connection: sqlite3.Connection,
    app_id: str,
    what: RevocationSubject,
    subject: str,
    at_us: int,
    keep_until_us: int,
) -> None:
    connection.execute("DELETE FROM revocations WHERE keep_until_us < ?", (at_us,))
    connection.execute(
        "INSERT INTO revocations (app_id, what, subject, at_us, keep_until_us) VALUES (?, ?, ?, ?, ?)",
        (app_id, what, subject, at_us, keep_until_us),
    )


def read_revocations(connection: sqlite3.Connection, after: int, limit: int) -> Sequence[Revocation]:
    rows = connection.execute(
        "SELECT cursor, app_id, what, subject, at_us FROM revocations WHERE cursor > ? ORDER BY cursor LIMIT ?",
        (after, limit),
    )
    return [Revocation(*row) for row in rows]


def add_admin_token(connection: sqlite3.Connection, digest: bytes, name: str, at_us: int) -> None:
    _insert(connection, "INSERT INTO admin_tokens VALUES (?, ?, ?)", (digest, name, at_us), "token like this")


def read_admin_tokens(connection: sqlite3.Connection) -> Mapping[bytes, str]:
    return dict(connection.execute("SELECT digest, name FROM admin_tokens ORDER BY created_us").fetchall())


def read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT version FROM version").fetchone()[0])


def bump_version(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE version SET version = version + 1")


def _text(value: object) -> str:
    return _encode(value).decode()
