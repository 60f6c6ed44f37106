"""The registry's SQL of webhooks' endpoints. See `registry_tables`, whose sibling it is."""

import sqlite3
from collections.abc import Sequence

import msgspec

from polyglotd.model import (
    WEBHOOK_TYPES,
    Conflict,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    NotFound,
    WebhookType,
)
from polyglotd.store.sqlite.registry_tables import read_app

_ENDPOINT = (
    "endpoint_id, app_id, url, types, channels, event_types, secrets, name, enabled, disabled_why, created_us, "
    "since_us"
)
_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...])
_secrets = msgspec.json.Decoder(tuple[EndpointSecret, ...])
_KNOWN: dict[str, WebhookType] = {name: name for name in WEBHOOK_TYPES}


def add(connection: sqlite3.Connection, endpoint: Endpoint, at_most: int) -> None:
    read_app(connection, endpoint.app_id)
    (there,) = connection.execute("SELECT count(*) FROM webhooks WHERE app_id = ?", (endpoint.app_id,)).fetchone()
    if there >= at_most:
        raise Conflict(f"the app has its {at_most} webhooks: remove one first")
    values = (
        endpoint.endpoint_id,
        endpoint.app_id,
        endpoint.url,
        _text(endpoint.types),
        _text(endpoint.channels),
        _text(endpoint.event_types),
        _text(endpoint.secrets),
        endpoint.name,
        endpoint.enabled,
        endpoint.disabled_why,
        endpoint.created_us,
        endpoint.since_us,
    )
    try:
        connection.execute(f"INSERT INTO webhooks ({_ENDPOINT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    except sqlite3.IntegrityError as error:
        raise Conflict(f"there is a webhook {endpoint.endpoint_id} already") from error


def read_of_app(connection: sqlite3.Connection, app_id: str) -> Sequence[Endpoint]:
    read_app(connection, app_id)
    rows = connection.execute(
        f"SELECT {_ENDPOINT} FROM webhooks WHERE app_id = ? ORDER BY created_us, endpoint_id", (app_id,)
    )
    return [_endpoint(row) for row in rows]


def read_all(connection: sqlite3.Connection) -> Sequence[Endpoint]:
    return [_endpoint(row) for row in connection.execute(f"SELECT {_ENDPOINT} FROM webhooks ORDER BY app_id")]


def change(connection: sqlite3.Connection, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
    before = _read(connection, app_id, endpoint_id)
    for name in EndpointPatch.__struct_fields__:
        value = getattr(patch, name)
        if value is msgspec.UNSET or (name == "since_us" and (before.enabled or patch.enabled is not True)):
            continue
        stored = _text(value) if isinstance(value, tuple) else value
        connection.execute(f"UPDATE webhooks SET {name} = ? WHERE endpoint_id = ?", (stored, endpoint_id))
    return _read(connection, app_id, endpoint_id)


def set_secrets(
    connection: sqlite3.Connection,
    app_id: str,
    endpoint_id: str,
    before: Sequence[EndpointSecret],
    now: Sequence[EndpointSecret],
) -> Endpoint:
    if _read(connection, app_id, endpoint_id).secrets != tuple(before):
        raise Conflict("the webhook's secret was changed by somebody else a moment ago: look at it and try again")
    connection.execute("UPDATE webhooks SET secrets = ? WHERE endpoint_id = ?", (_text(tuple(now)), endpoint_id))
    return _read(connection, app_id, endpoint_id)


def remove(connection: sqlite3.Connection, app_id: str, endpoint_id: str) -> None:
    _read(connection, app_id, endpoint_id)
    connection.execute("DELETE FROM webhooks WHERE endpoint_id = ?", (endpoint_id,))


def _read(connection: sqlite3.Connection, app_id: str, endpoint_id: str) -> Endpoint:
    row = connection.execute(
        f"SELECT {_ENDPOINT} FROM webhooks WHERE app_id = ? AND endpoint_id = ?", (app_id, endpoint_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"app {app_id} has no webhook {endpoint_id}")
    return _endpoint(row)


def _endpoint(row: tuple[str, str, str, str, str, str, str, str, int, str | None, int, int]) -> Endpoint:
    (
        endpoint_id,
        app_id,
        url,
        types,
        channels,
        event_types,
        secrets,
        name,
        enabled,
        disabled_why,
        created_us,
        since_us,
    ) = row
    return Endpoint(
        endpoint_id=endpoint_id,
        app_id=app_id,
        url=url,
        # A type of a later release is passed over: no reason to lose the endpoint.
        types=tuple(_KNOWN[found] for found in _texts.decode(types) if found in _KNOWN),
        channels=_texts.decode(channels),
        event_types=_texts.decode(event_types),
        secrets=_secrets.decode(secrets),
        name=name,
        enabled=bool(enabled),
        disabled_why=disabled_why,
        created_us=created_us,
        since_us=since_us,
    )


def _text(value: object) -> str:
    return _encode(value).decode()
