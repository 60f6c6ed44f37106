"""The registry's SQL of webhooks' endpoints in PostgreSQL. See `registry_tables`, whose sibling it is."""

from collections.abc import Sequence
from typing import Any, LiteralString

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
from polyglotd.store.postgres.pool import Connection
from polyglotd.store.postgres.registry_tables import as_json, insert, moment, query, read_app

_ENDPOINT = (
    "endpoint_id, app_id, url, types, channels, event_types, secrets, name, enabled, disabled_why, created, since"
)
_KNOWN: dict[str, WebhookType] = {name: name for name in WEBHOOK_TYPES}
_SET: dict[str, LiteralString] = {
    "url": "url = %s",
    "types": "types = %s::jsonb",
    "channels": "channels = %s::jsonb",
    "event_types": "event_types = %s::jsonb",
    "name": "name = %s",
    "enabled": "enabled = %s",
    "disabled_why": "disabled_why = %s",
}
"""By field of `EndpointPatch`, but for `since_us`."""


def add(connection: Connection, endpoint: Endpoint, at_most: int) -> None:
    read_app(connection, endpoint.app_id)
    row = query(connection, "SELECT count(*) FROM polyglot.webhooks WHERE app_id = %s", (endpoint.app_id,)).fetchone()
    assert row is not None
    if row[0] >= at_most:
        raise Conflict(f"the app has its {at_most} webhooks: remove one first")
    put(connection, endpoint)


def put(connection: Connection, endpoint: Endpoint) -> None:
    values = (
        endpoint.endpoint_id,
        endpoint.app_id,
        endpoint.url,
        as_json(endpoint.types),
        as_json(endpoint.channels),
        as_json(endpoint.event_types),
        as_json(endpoint.secrets),
        endpoint.name,
        endpoint.enabled,
        endpoint.disabled_why,
        moment(endpoint.created_us),
        moment(endpoint.since_us),
    )
    insert(
        connection,
        f"INSERT INTO polyglot.webhooks ({_ENDPOINT}) VALUES "
        "(%s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s)",
        values,
        f"webhook {endpoint.endpoint_id}",
    )


def read_of_app(connection: Connection, app_id: str) -> Sequence[Endpoint]:
    read_app(connection, app_id)
    rows = query(
        connection,
        f"SELECT {_ENDPOINT} FROM polyglot.webhooks WHERE app_id = %s ORDER BY created, endpoint_id",
        (app_id,),
    )
    return [_endpoint(row) for row in rows]


def read_all(connection: Connection) -> Sequence[Endpoint]:
    return [_endpoint(row) for row in query(connection, f"SELECT {_ENDPOINT} FROM polyglot.webhooks ORDER BY app_id")]


def change(connection: Connection, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
    before = _read(connection, app_id, endpoint_id)
    if patch.since_us is not msgspec.UNSET and patch.enabled is True and not before.enabled:
        query(
            connection,
            "UPDATE polyglot.webhooks SET since = %s WHERE endpoint_id = %s",
            (moment(patch.since_us), endpoint_id),
        )
    for name, assignment in _SET.items():
        value = getattr(patch, name)
        if value is msgspec.UNSET:
            continue
        stored = as_json(value) if isinstance(value, tuple) else value
        query(connection, f"UPDATE polyglot.webhooks SET {assignment} WHERE endpoint_id = %s", (stored, endpoint_id))
    return _read(connection, app_id, endpoint_id)


def set_secrets(
    connection: Connection,
    app_id: str,
    endpoint_id: str,
    before: Sequence[EndpointSecret],
    now: Sequence[EndpointSecret],
) -> Endpoint:
    if _read(connection, app_id, endpoint_id).secrets != tuple(before):
        raise Conflict("the webhook's secret was changed by somebody else a moment ago: look at it and try again")
    query(
        connection,
        "UPDATE polyglot.webhooks SET secrets = %s::jsonb WHERE endpoint_id = %s",
        (as_json(tuple(now)), endpoint_id),
    )
    return _read(connection, app_id, endpoint_id)


def remove(connection: Connection, app_id: str, endpoint_id: str) -> None:
    _read(connection, app_id, endpoint_id)
    query(connection, "DELETE FROM polyglot.webhooks WHERE endpoint_id = %s", (endpoint_id,))


def _read(connection: Connection, app_id: str, endpoint_id: str) -> Endpoint:
    row = query(
        connection,
        f"SELECT {_ENDPOINT} FROM polyglot.webhooks WHERE app_id = %s AND endpoint_id = %s",
        (app_id, endpoint_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"app {app_id} has no webhook {endpoint_id}")
    return _endpoint(row)


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
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
        types=tuple(_KNOWN[found] for found in types if found in _KNOWN),
        channels=tuple(channels),
        event_types=tuple(event_types),
        secrets=msgspec.convert(secrets, tuple[EndpointSecret, ...]),
        name=name,
        enabled=enabled,
        disabled_why=disabled_why,
        created_us=created_us,
        since_us=since_us,
    )
