"""The webhook queue's SQL of endpoints, messages, dead letters and tries. Called by `webhooks`."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from polyglotd.model.webhooks import message_body
from polyglotd.store.sqlite.webhook_items import ensure_app, read_contents
from polyglotd.store.webhooks import DeadLetter, EndpointState, Message, QueueStats, Runs, Try

TRIES_KEPT = 200  # an endpoint, at least; up to half as many more
DEAD_LETTERS_MAX = 1_000  # an endpoint; the newest are kept
REPLAY_MAX = 1_000

_MESSAGE = (
    "m.message_id, m.endpoint_id, a.app_id, m.runs, m.items, m.created_us, m.until_us, m.attempts, m.answered, "
    "m.replayed, m.next_us"
)
_runs = msgspec.json.Decoder(tuple[tuple[int, int], ...])


def begin(connection: sqlite3.Connection, app_id: str, endpoint_id: str) -> EndpointState:
    app_no, next_n, _ = ensure_app(connection, app_id)
    connection.execute(
        "INSERT INTO endpoints VALUES (?1, ?2, 1, ?3, 0, 0, 0) ON CONFLICT (endpoint_id) DO UPDATE "
        "SET active = 1, cursor = ?3, failures = 0, resume_us = 0 WHERE NOT active",
        (endpoint_id, app_no, next_n - 1),
    )
    return read_states(connection, app_id)[endpoint_id]


def pause(connection: sqlite3.Connection, endpoint_id: str, why: str, at_us: int) -> int:
    connection.execute("UPDATE endpoints SET active = 0 WHERE endpoint_id = ?", (endpoint_id,))
    return connection.execute(
        "UPDATE messages SET dead = 1, ended_us = ?, why = ? WHERE endpoint_id = ? AND NOT dead",
        (at_us, why, endpoint_id),
    ).rowcount


def retain(connection: sqlite3.Connection, endpoint_ids: Collection[str]) -> None:
    connection.execute(
        "DELETE FROM endpoints WHERE endpoint_id NOT IN (SELECT value FROM json_each(?))", (_json(endpoint_ids),)
    )


def read_states(connection: sqlite3.Connection, app_id: str) -> Mapping[str, EndpointState]:
    rows = connection.execute(
        "SELECT e.endpoint_id, e.cursor, e.failures, e.resume_us, e.lost, "
        "(SELECT count(*) FROM messages AS m WHERE m.endpoint_id = e.endpoint_id AND NOT m.dead), "
        "(SELECT count(*) FROM messages AS m WHERE m.endpoint_id = e.endpoint_id AND m.dead), "
        "CASE WHEN e.active THEN max(0, a.next_n - 1 - e.cursor) ELSE 0 END "
        "FROM endpoints AS e JOIN apps AS a USING (app_no) WHERE a.app_id = ?",
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
        for endpoint_id, cursor, failures, resume_us, lost, waiting, dead, behind in rows.fetchall()
    }


# --- messages on their way ---


def read_pending(connection: sqlite3.Connection, endpoint_id: str) -> Sequence[Message]:
    rows = connection.execute(
        f"SELECT {_MESSAGE} FROM messages AS m JOIN apps AS a USING (app_no) "
        "WHERE m.endpoint_id = ? AND NOT m.dead ORDER BY m.message_no",
        (endpoint_id,),
    ).fetchall()
    return [
        Message(
            message_id=message_id,
            endpoint_id=endpoint,
            app_id=app_id,
            runs=_runs.decode(runs),
            count=count,
            created_us=created_us,
            until_us=until_us,
            attempts=attempts,
            answered=bool(answered),
            replayed=bool(replayed),
            next_us=next_us,
        )
        for (
            message_id, endpoint, app_id, runs, count, created_us, until_us, attempts, answered, replayed, next_us
        ) in rows
    ]  # fmt: skip


def formed(connection: sqlite3.Connection, endpoint_id: str, cursor: int, messages: Iterable[Message]) -> None:
    """An endpoint that was removed or paused meanwhile gets none."""
    row = connection.execute(
        "UPDATE endpoints SET cursor = max(cursor, ?) WHERE endpoint_id = ? AND active RETURNING app_no",
        (cursor, endpoint_id),
    ).fetchone()
    if row is None:
        return
    for message in messages:
        connection.execute(
            "INSERT INTO messages (message_id, endpoint_id, app_no, dead, runs, first_n, items, created_us, "
            "until_us, attempts, answered, replayed, next_us) VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.message_id, endpoint_id, row[0], _json(message.runs), message.runs[0][0], message.count,
                message.created_us, message.until_us, message.attempts, message.answered, message.replayed,
                message.next_us,
            ),
        )  # fmt: skip


def sent(connection: sqlite3.Connection, endpoint_id: str, one: Try) -> None:
    connection.execute("DELETE FROM messages WHERE message_id = ? AND NOT dead", (one.message_id,))
    connection.execute(
        "UPDATE endpoints SET failures = 0, resume_us = 0 WHERE endpoint_id = ? AND failures", (endpoint_id,)
    )
    _note(connection, endpoint_id, one)


def failed(connection: sqlite3.Connection, message: Message, one: Try, failures: int, resume_us: int) -> None:
    connection.execute(
        "UPDATE messages SET attempts = ?, answered = ?, next_us = ? WHERE message_id = ?",
        (message.attempts, message.answered, message.next_us, message.message_id),
    )
    connection.execute(
        "UPDATE endpoints SET failures = ?, resume_us = ? WHERE endpoint_id = ?",
        (failures, resume_us, message.endpoint_id),
    )
    _note(connection, message.endpoint_id, one)


def _note(connection: sqlite3.Connection, endpoint_id: str, one: Try) -> None:
    row = connection.execute(
        "INSERT INTO tries (endpoint_id, message_id, at_us, attempt, items, duration_ms, status, error) "
        "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM endpoints WHERE endpoint_id = ?1) "
        "RETURNING try_no",
        (
            endpoint_id, one.message_id, one.at_us, one.attempt, one.items, one.duration_ms, one.status, one.error,
        ),
    ).fetchone()  # fmt: skip
    if row is not None and row[0] % (TRIES_KEPT // 2) == 0:
        _forget_old_tries(connection)


def _forget_old_tries(connection: sqlite3.Connection) -> None:
    connection.execute(
        "DELETE FROM tries WHERE try_no IN (SELECT try_no FROM (SELECT try_no, row_number() OVER "
        "(PARTITION BY endpoint_id ORDER BY try_no DESC) AS age FROM tries) WHERE age > ?)",
        (TRIES_KEPT,),
    )


def died(connection: sqlite3.Connection, message_id: str, why: str, at_us: int) -> None:
    row = connection.execute(
        "UPDATE messages SET dead = 1, ended_us = ?, why = ? WHERE message_id = ? AND NOT dead RETURNING endpoint_id",
        (at_us, why, message_id),
    ).fetchone()
    if row is not None:
        connection.execute(
            "DELETE FROM messages WHERE message_no IN (SELECT message_no FROM messages WHERE endpoint_id = ? "
            "AND dead ORDER BY message_no DESC LIMIT -1 OFFSET ?)",
            (row[0], DEAD_LETTERS_MAX),
        )


def drop(connection: sqlite3.Connection, message_id: str) -> None:
    connection.execute("DELETE FROM messages WHERE message_id = ?", (message_id,))


# --- for operators ---


def read_tries(connection: sqlite3.Connection, endpoint_id: str, limit: int) -> Sequence[Try]:
    rows = connection.execute(
        "SELECT message_id, at_us, attempt, items, duration_ms, status, error FROM tries "
        "WHERE endpoint_id = ? ORDER BY try_no DESC LIMIT ?",
        (endpoint_id, limit),
    ).fetchall()
    return [
        Try(message_id=m, at_us=at_us, attempt=a, items=i, duration_ms=d, status=s, error=e)
        for m, at_us, a, i, d, s, e in rows
    ]


def read_dead_letters(
    connection: sqlite3.Connection, endpoint_id: str, before: str | None, limit: int
) -> Sequence[DeadLetter]:
    rows = connection.execute(
        "SELECT message_id, items, created_us, ended_us, attempts, why FROM messages WHERE endpoint_id = ?1 "
        "AND dead AND (?2 IS NULL OR message_no < (SELECT message_no FROM messages WHERE message_id = ?2 AND "
        "endpoint_id = ?1)) ORDER BY message_no DESC LIMIT ?3",
        (endpoint_id, before, limit),
    ).fetchall()
    return [
        DeadLetter(message_id=m, items=i, created_us=c, ended_us=e, attempts=a, why=why)
        for m, i, c, e, a, why in rows
    ]


def read_dead_letter(connection: sqlite3.Connection, endpoint_id: str, message_id: str) -> bytes | None:
    row = connection.execute(
        "SELECT a.app_id, m.runs, m.created_us FROM messages AS m JOIN apps AS a USING (app_no) "
        "WHERE m.endpoint_id = ? AND m.message_id = ? AND m.dead",
        (endpoint_id, message_id),
    ).fetchone()
    if row is None:
        return None
    items = read_contents(connection, row[0], _runs.decode(row[1]))
    return None if items is None else message_body([item.body.encode() for item in items], row[2])


def replay(
    connection: sqlite3.Connection,
    endpoint_id: str,
    message_ids: Collection[str] | None,
    now_us: int,
    until_us: int,
) -> int:
    wanted = "" if message_ids is None else "AND message_id IN (SELECT value FROM json_each(?4))"
    count = connection.execute(
        "UPDATE messages SET dead = 0, replayed = 1, attempts = 0, answered = 0, next_us = ?1, until_us = ?2, "
        "ended_us = NULL, why = NULL WHERE message_no IN (SELECT message_no FROM messages WHERE endpoint_id = ?3 "
        f"AND dead {wanted} ORDER BY message_no LIMIT {REPLAY_MAX})",
        (now_us, until_us, endpoint_id, *([] if message_ids is None else [_json(message_ids)])),
    ).rowcount
    if count:
        connection.execute("UPDATE changes SET changes = changes + 1")
    return count


def read_changes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT changes FROM changes").fetchone()[0])


def read_stats(connection: sqlite3.Connection) -> QueueStats:
    (size,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM apps").fetchone()
    (items,) = connection.execute(
        "SELECT coalesce(sum(a.next_n - 1 - e.cursor), 0) FROM endpoints AS e JOIN apps AS a USING (app_no) "
        "WHERE e.active"
    ).fetchone()
    waiting, dead = connection.execute(
        "SELECT coalesce(sum(NOT dead), 0), coalesce(sum(dead), 0) FROM messages"
    ).fetchone()
    (lost,) = connection.execute("SELECT coalesce(sum(lost), 0) FROM endpoints").fetchone()
    return QueueStats(behind=items, item_bytes=size, waiting=waiting, dead=dead, lost=lost)


def _json(value: Runs | Collection[str]) -> str:
    return msgspec.json.encode(list(value)).decode()
