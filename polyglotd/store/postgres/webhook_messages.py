"""The webhook queue's SQL of endpoints, messages, dead letters and tries in PostgreSQL. Called by `webhooks`."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from polyglotd.model.webhooks import message_body
from polyglotd.store.postgres.pool import Connection
from polyglotd.store.postgres.registry_tables import as_json, moment, query
from polyglotd.store.postgres.webhook_items import alone, ensure_app, read_contents
from polyglotd.store.webhooks import DeadLetter, EndpointState, Message, QueueStats, Runs, Try

TRIES_KEPT = 200  # an endpoint, at least; up to half as many more
DEAD_LETTERS_MAX = 1_000  # an endpoint; the newest are kept
REPLAY_MAX = 1_000

_MESSAGE = "message_id, endpoint_id, app_id, runs, items, created, until, attempts, answered, replayed, next_us"


def begin(connection: Connection, app_id: str, endpoint_id: str) -> EndpointState:
    alone(connection)
    next_n, _ = ensure_app(connection, app_id)
    query(
        connection,
        "INSERT INTO polyglot.webhook_endpoints AS e VALUES (%s, %s, true, %s, 0, 0, 0) "
        "ON CONFLICT (endpoint_id) DO UPDATE "
        "SET active = true, cursor = excluded.cursor, failures = 0, resume_us = 0 WHERE NOT e.active",
        (endpoint_id, app_id, next_n - 1),
    )
    return read_states(connection, app_id)[endpoint_id]


def pause(connection: Connection, endpoint_id: str, why: str, at_us: int) -> int:
    query(connection, "UPDATE polyglot.webhook_endpoints SET active = false WHERE endpoint_id = %s", (endpoint_id,))
    return query(
        connection,
        "UPDATE polyglot.webhook_messages SET dead = true, ended = %s, why = %s WHERE endpoint_id = %s AND NOT dead",
        (moment(at_us), why, endpoint_id),
    ).rowcount


def retain(connection: Connection, endpoint_ids: Collection[str]) -> None:
    alone(connection)
    query(
        connection,
        "DELETE FROM polyglot.webhook_endpoints WHERE endpoint_id <> ALL (%s::text[])",
        (list(endpoint_ids),),
    )


def read_states(connection: Connection, app_id: str) -> Mapping[str, EndpointState]:
    rows = query(
        connection,
        "SELECT e.endpoint_id, e.cursor, e.failures, e.resume_us, e.lost, m.waiting, m.dead, "
        "CASE WHEN e.active THEN greatest(0, a.next_n - 1 - e.cursor) ELSE 0 END "
        "FROM polyglot.webhook_endpoints AS e JOIN polyglot.webhook_apps AS a USING (app_id), LATERAL "
        "(SELECT count(*) FILTER (WHERE NOT m.dead) AS waiting, count(*) FILTER (WHERE m.dead) AS dead "
        "FROM polyglot.webhook_messages AS m WHERE m.endpoint_id = e.endpoint_id) AS m WHERE a.app_id = %s",
        (app_id,),
    )
    return {
        endpoint_id: EndpointState(
            cursor=cursor,
            failures=failures,
            resume_us=resume_us,
            lost=lost,
            waiting=waiting,
            dead=dead,
            behind=behind,
        )
        for endpoint_id, cursor, failures, resume_us, lost, waiting, dead, behind in rows
    }


# --- messages on their way ---


def read_pending(connection: Connection, endpoint_id: str) -> Sequence[Message]:
    rows = query(
        connection,
        f"SELECT {_MESSAGE} FROM polyglot.webhook_messages WHERE endpoint_id = %s AND NOT dead ORDER BY message_no",
        (endpoint_id,),
    )
    return [
        Message(
            message_id=message_id,
            endpoint_id=endpoint,
            app_id=app_id,
            runs=msgspec.convert(runs, Runs),
            count=count,
            created_us=created_us,
            until_us=until_us,
            attempts=attempts,
            answered=answered,
            replayed=replayed,
            next_us=next_us,
        )
        for (
            message_id, endpoint, app_id, runs, count, created_us, until_us, attempts, answered, replayed, next_us
        ) in rows
    ]  # fmt: skip


def formed(connection: Connection, endpoint_id: str, cursor: int, messages: Iterable[Message]) -> None:
    """An endpoint that was removed or paused meanwhile gets none."""
    row = query(
        connection,
        "UPDATE polyglot.webhook_endpoints SET cursor = greatest(cursor, %s) WHERE endpoint_id = %s AND active "
        "RETURNING app_id",
        (cursor, endpoint_id),
    ).fetchone()
    if row is None:
        return
    for message in messages:
        query(
            connection,
            "INSERT INTO polyglot.webhook_messages (message_id, endpoint_id, app_id, dead, runs, first_n, items, "
            "created, until, attempts, answered, replayed, next_us) "
            "VALUES (%s, %s, %s, false, %s::jsonb, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                message.message_id, endpoint_id, row[0], as_json(message.runs), message.runs[0][0], message.count,
                moment(message.created_us), moment(message.until_us), message.attempts, message.answered,
                message.replayed, message.next_us,
            ),
        )  # fmt: skip


def sent(connection: Connection, endpoint_id: str, one: Try) -> None:
    query(
        connection,
        "DELETE FROM polyglot.webhook_messages WHERE message_id = %s AND NOT dead",
        (one.message_id,),
    )
    query(
        connection,
        "UPDATE polyglot.webhook_endpoints SET failures = 0, resume_us = 0 WHERE endpoint_id = %s AND failures <> 0",
        (endpoint_id,),
    )
    _note(connection, endpoint_id, one)


def failed(connection: Connection, message: Message, one: Try, failures: int, resume_us: int) -> None:
    query(
        connection,
        "UPDATE polyglot.webhook_messages SET attempts = %s, answered = %s, next_us = %s WHERE message_id = %s",
        (message.attempts, message.answered, message.next_us, message.message_id),
    )
    query(
        connection,
        "UPDATE polyglot.webhook_endpoints SET failures = %s, resume_us = %s WHERE endpoint_id = %s",
        (failures, resume_us, message.endpoint_id),
    )
    _note(connection, message.endpoint_id, one)


def _note(connection: Connection, endpoint_id: str, one: Try) -> None:
    row = query(
        connection,
        "INSERT INTO polyglot.webhook_tries "
        "(endpoint_id, message_id, at, attempt, items, duration_ms, status, error) "
        "SELECT e.endpoint_id, %s, %s, %s, %s, %s, %s, %s FROM polyglot.webhook_endpoints AS e "
        "WHERE e.endpoint_id = %s RETURNING try_no",
        (
            one.message_id, moment(one.at_us), one.attempt, one.items, one.duration_ms, one.status,
            None if one.error is None else one.error.replace("\0", " "), endpoint_id,
        ),
    ).fetchone()  # fmt: skip
    if row is not None and row[0] % (TRIES_KEPT // 2) == 0:
        query(
            connection,
            "DELETE FROM polyglot.webhook_tries WHERE try_no IN (SELECT try_no FROM (SELECT try_no, "
            "row_number() OVER (PARTITION BY endpoint_id ORDER BY try_no DESC) AS age FROM polyglot.webhook_tries) "
            "AS t WHERE age > %s)",
            (TRIES_KEPT,),
        )


def died(connection: Connection, message_id: str, why: str, at_us: int) -> None:
    row = query(
        connection,
        "UPDATE polyglot.webhook_messages SET dead = true, ended = %s, why = %s WHERE message_id = %s AND NOT dead "
        "RETURNING endpoint_id",
        (moment(at_us), why.replace("\0", " "), message_id),
    ).fetchone()
    if row is not None:
        query(
            connection,
            "DELETE FROM polyglot.webhook_messages WHERE message_no IN (SELECT message_no FROM "
            "polyglot.webhook_messages WHERE endpoint_id = %s AND dead ORDER BY message_no DESC OFFSET %s)",
            (row[0], DEAD_LETTERS_MAX),
        )


def drop(connection: Connection, message_id: str) -> None:
    query(connection, "DELETE FROM polyglot.webhook_messages WHERE message_id = %s", (message_id,))


# --- for operators ---


def read_tries(connection: Connection, endpoint_id: str, limit: int) -> Sequence[Try]:
    rows = query(
        connection,
        "SELECT message_id, at, attempt, items, duration_ms, status, error FROM polyglot.webhook_tries "
        "WHERE endpoint_id = %s ORDER BY try_no DESC LIMIT %s",
        (endpoint_id, limit),
    )
    return [
        Try(message_id=m, at_us=at_us, attempt=a, items=i, duration_ms=d, status=s, error=e)
        for m, at_us, a, i, d, s, e in rows
    ]


def read_dead_letters(
    connection: Connection, endpoint_id: str, before: str | None, limit: int
) -> Sequence[DeadLetter]:
    rows = query(
        connection,
        "SELECT message_id, items, created, ended, attempts, why FROM polyglot.webhook_messages "
        "WHERE endpoint_id = %(endpoint)s AND dead AND (%(before)s::text IS NULL OR message_no < (SELECT message_no "
        "FROM polyglot.webhook_messages WHERE message_id = %(before)s::text AND endpoint_id = %(endpoint)s)) "
        "ORDER BY message_no DESC LIMIT %(limit)s",
        {"endpoint": endpoint_id, "before": before, "limit": limit},
    )
    return [
        DeadLetter(message_id=m, items=i, created_us=c, ended_us=e, attempts=a, why=why)
        for m, i, c, e, a, why in rows
    ]


def read_dead_letter(connection: Connection, endpoint_id: str, message_id: str) -> bytes | None:
    row = query(
        connection,
        "SELECT app_id, runs, created FROM polyglot.webhook_messages "
        "WHERE endpoint_id = %s AND message_id = %s AND dead",
        (endpoint_id, message_id),
    ).fetchone()
    if row is None:
        return None
    items = read_contents(connection, row[0], msgspec.convert(row[1], Runs))
    return None if items is None else message_body([item.body.encode() for item in items], row[2])


def replay(
    connection: Connection,
    endpoint_id: str,
    message_ids: Collection[str] | None,
    now_us: int,
    until_us: int,
) -> int:
    count = query(
        connection,
        "UPDATE polyglot.webhook_messages SET dead = false, replayed = true, attempts = 0, answered = false, "
        "next_us = %s, until = %s, ended = NULL, why = NULL WHERE message_no IN (SELECT message_no FROM "
        "polyglot.webhook_messages WHERE endpoint_id = %s AND dead AND (%s OR message_id = ANY (%s::text[])) "
        f"ORDER BY message_no LIMIT {REPLAY_MAX} FOR UPDATE)",
        (now_us, moment(until_us), endpoint_id, message_ids is None, list(message_ids or ())),
    ).rowcount
    if count:
        query(connection, "UPDATE polyglot.webhook_changes SET changes = changes + 1")
    return count


def read_changes(connection: Connection) -> int:
    row = query(connection, "SELECT changes FROM polyglot.webhook_changes").fetchone()
    assert row is not None
    return int(row[0])


def read_stats(connection: Connection) -> QueueStats:
    row = query(
        connection,
        "SELECT (SELECT coalesce(sum(a.next_n - 1 - e.cursor), 0)::bigint FROM polyglot.webhook_endpoints AS e "
        "  JOIN polyglot.webhook_apps AS a USING (app_id) WHERE e.active), "
        "(SELECT coalesce(sum(bytes), 0)::bigint FROM polyglot.webhook_apps), "
        "(SELECT count(*) FROM polyglot.webhook_messages WHERE NOT dead), "
        "(SELECT count(*) FROM polyglot.webhook_messages WHERE dead), "
        "(SELECT coalesce(sum(lost), 0)::bigint FROM polyglot.webhook_endpoints)",
    ).fetchone()
    assert row is not None
    behind, item_bytes, waiting, dead, lost = row
    return QueueStats(behind=behind, item_bytes=item_bytes, waiting=waiting, dead=dead, lost=lost)
