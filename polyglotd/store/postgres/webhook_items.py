"""The webhook queue's SQL of items in PostgreSQL: how they come, are read, erased, and go. Called by `webhooks`.

What changes which items there are takes one lock, `alone`: the processor's batches, sweeping, erasing, endpoints that
begin. Messages that are formed and sent meanwhile need none: whoever removes items looks at the endpoints' cursors
first and at their messages then, so that a message formed in between holds items behind those cursors.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import LiteralString

import msgspec

from polyglotd.log.interface import Erasure
from polyglotd.model import Event
from polyglotd.model.event import ERASED, tombstone
from polyglotd.model.webhooks import published_item
from polyglotd.store.interface import SetAside
from polyglotd.store.postgres.pool import Connection, Micros
from polyglotd.store.postgres.registry_tables import as_json, moment, query
from polyglotd.store.postgres.rows import as_text
from polyglotd.store.runs import gaps
from polyglotd.store.webhooks import Appended, Item, Presences, QueuedItem, Runs

DEAD_LETTER_KEPT_US = 7 * 86_400 * 1_000_000
SET_ASIDE_MAX = 10_000  # the newest are kept
SWEPT_MAX = 20_000  # items removed in one transaction, in which no batch is queued
INSERT_ROWS, INSERT_BYTES = 1_000, 1 << 20  # in one statement
PLAIN_ROWS, PLAIN_BYTES = 200, 32 << 10  # the same on a plain wire
_LOCK_KEY = 0x706F6C79776562  # "polyweb"

_QUEUED = "n, type, channel, event_type, ts, at, body"
_members = msgspec.json.Decoder(dict[str, str])


def alone(connection: Connection) -> None:
    """Until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))


def ensure_app(connection: Connection, app_id: str) -> tuple[int, int]:
    """Its next n, and bytes."""
    connection.execute("INSERT INTO polyglot.webhook_apps VALUES (%s, 1, 0) ON CONFLICT DO NOTHING", (app_id,))
    row = query(connection, "SELECT next_n, bytes FROM polyglot.webhook_apps WHERE app_id = %s", (app_id,)).fetchone()
    assert row is not None
    return row[0], row[1]


# --- from the log ---


def append(
    connection: Connection,
    log_id: str,
    end: int,
    batch: Appended,
    now_us: int,
    app_bytes_max: int,
    *,
    plain_wire: bool,
) -> None:
    alone(connection)
    if end <= read_cursor(connection, log_id):
        return
    for app_id in batch.forgotten:
        forget_app(connection, app_id)
    for erasure in batch.erasures:
        erase(connection, erasure)
    by_app: defaultdict[str, list[Item]] = defaultdict(list)
    for item in batch.items:
        by_app[item.app_id].append(item)
    for app_id, items in by_app.items():
        _append(connection, app_id, items, now_us, app_bytes_max, plain_wire=plain_wire)
    for step in batch.present:
        key = (step.app_id, step.channel, step.user_id)
        if step.generation is None:
            query(
                connection,
                "DELETE FROM polyglot.webhook_present WHERE app_id = %s AND channel = %s AND user_id = %s",
                key,
            )
        else:
            query(
                connection,
                "INSERT INTO polyglot.webhook_present VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (app_id, channel, user_id) DO UPDATE SET generation = excluded.generation",
                (*key, step.generation),
            )
    for generation in batch.generations.items():
        query(
            connection,
            "INSERT INTO polyglot.webhook_generations VALUES (%s, %s) "
            "ON CONFLICT (app_id) DO UPDATE SET generation = excluded.generation",
            generation,
        )
    for refused in batch.set_aside:
        _set_aside(connection, log_id, end, refused, now_us)
    query(
        connection,
        "INSERT INTO polyglot.webhook_cursors VALUES (%s, %s) "
        "ON CONFLICT (log_id) DO UPDATE SET position = excluded.position",
        (log_id, end),
    )


def _set_aside(connection: Connection, log_id: str, end: int, refused: SetAside, now_us: int) -> None:
    record = {"record": type(refused.record).__name__} | msgspec.structs.asdict(refused.record)
    row = query(
        connection,
        "INSERT INTO polyglot.webhook_set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s) "
        "RETURNING set_aside_no",
        (log_id, end, Micros(now_us), refused.why.replace("\0", " "), as_json(record)),
    ).fetchone()
    assert row is not None
    query(
        connection,
        "DELETE FROM polyglot.webhook_set_aside WHERE set_aside_no <= %s",
        (row[0] - SET_ASIDE_MAX,),
    )


def _append(
    connection: Connection,
    app_id: str,
    items: Sequence[Item],
    now_us: int,
    app_bytes_max: int,
    *,
    plain_wire: bool,
) -> None:
    next_n, held = ensure_app(connection, app_id)
    rows_max, bytes_max = (PLAIN_ROWS, PLAIN_BYTES) if plain_wire else (INSERT_ROWS, INSERT_BYTES)
    rows: list[tuple[object, ...]] = []
    waiting = 0
    for n, item in enumerate(items, next_n):
        size = len(item.body.encode())
        rows.append(
            (
                n, item.type, item.channel, item.event_type, item.epoch, item.seq, item.user_id,
                as_text(item.ts_us), size, item.body,
            )
        )  # fmt: skip
        held += size
        waiting += size
        if len(rows) >= rows_max or waiting >= bytes_max:
            _insert(connection, app_id, rows, now_us)
            rows, waiting = [], 0
    if rows:
        _insert(connection, app_id, rows, now_us)
    query(
        connection,
        "UPDATE polyglot.webhook_apps SET next_n = %s, bytes = %s WHERE app_id = %s",
        (next_n + len(items), held, app_id),
    )
    if held > app_bytes_max:
        _shrink(connection, app_id, held - app_bytes_max)


def _insert(connection: Connection, app_id: str, rows: Sequence[tuple[object, ...]], now_us: int) -> None:
    query(
        connection,
        "INSERT INTO polyglot.webhook_items "
        "(app_id, n, type, channel, event_type, epoch, seq, user_id, ts, size, body, at) "
        "SELECT %s, r.*, %s FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], "
        "%s::text[], %s::timestamptz[], %s::bigint[], %s::text[]) AS r",
        (app_id, Micros(now_us), *([*column] for column in zip(*rows, strict=True))),
    )


def _shrink(connection: Connection, app_id: str, excess: int) -> None:
    """The oldest items give way, and with them every message that holds one of them."""
    row = query(
        connection,
        "SELECT n FROM (SELECT n, sum(size) OVER (ORDER BY n) AS total FROM polyglot.webhook_items "
        "WHERE app_id = %s) AS i WHERE total >= %s ORDER BY n LIMIT 1",
        (app_id, excess),
    ).fetchone()
    assert row is not None
    n = row[0]
    # Whoever forms a message now waits, or is seen by what follows.
    query(connection, "SELECT FROM polyglot.webhook_endpoints WHERE app_id = %s FOR UPDATE", (app_id,))
    query(
        connection,
        "UPDATE polyglot.webhook_endpoints SET lost = lost + %(n)s - cursor, cursor = %(n)s "
        "WHERE app_id = %(app)s AND active AND cursor < %(n)s",
        {"n": n, "app": app_id},
    )
    query(
        connection,
        "UPDATE polyglot.webhook_endpoints AS e SET lost = lost + m.items FROM "
        "(SELECT endpoint_id, sum(items) AS items FROM polyglot.webhook_messages "
        "WHERE app_id = %s AND first_n <= %s GROUP BY endpoint_id) AS m WHERE m.endpoint_id = e.endpoint_id",
        (app_id, n),
    )
    query(connection, "DELETE FROM polyglot.webhook_messages WHERE app_id = %s AND first_n <= %s", (app_id, n))
    _delete(connection, app_id, [(1, n)], None)


def _delete(connection: Connection, app_id: str, runs: Runs | Sequence[tuple[int, int]], limit: int | None) -> int:
    """Delete items in these runs, at most `limit`; how many."""
    row = query(
        connection,
        "WITH doomed AS ("
        "  SELECT i.n FROM unnest(%(first)s::bigint[], %(last)s::bigint[]) AS r (first, last)"
        "  JOIN polyglot.webhook_items AS i ON i.app_id = %(app)s AND i.n BETWEEN r.first AND r.last"
        "  LIMIT %(limit)s"
        "), gone AS ("
        "  DELETE FROM polyglot.webhook_items AS i USING doomed WHERE i.app_id = %(app)s AND i.n = doomed.n"
        "  RETURNING i.size"
        "), less AS ("
        "  UPDATE polyglot.webhook_apps SET bytes = bytes - (SELECT coalesce(sum(size), 0) FROM gone)"
        "  WHERE app_id = %(app)s"
        ") SELECT count(*) FROM gone",
        {"first": [first for first, _ in runs], "last": [last for _, last in runs], "app": app_id, "limit": limit},
    ).fetchone()
    assert row is not None
    return int(row[0])


# --- reading ---


def read_cursor(connection: Connection, log_id: str) -> int:
    row = query(connection, "SELECT position FROM polyglot.webhook_cursors WHERE log_id = %s", (log_id,)).fetchone()
    return 0 if row is None else int(row[0])


def read_presences(connection: Connection) -> Presences:
    rows = query(connection, "SELECT app_id, channel, user_id, generation FROM polyglot.webhook_present").fetchall()
    generations = query(connection, "SELECT app_id, generation FROM polyglot.webhook_generations").fetchall()
    return Presences(rows={row[:3]: row[3] for row in rows}, generations=dict(generations))


def read_items(connection: Connection, app_id: str, after: int, limit: int, bytes_max: int) -> Sequence[QueuedItem]:
    rows = query(
        connection,
        f"SELECT {_QUEUED} FROM (SELECT *, sum(size) OVER (ORDER BY n) AS total FROM "
        "(SELECT * FROM polyglot.webhook_items WHERE app_id = %s AND n > %s ORDER BY n LIMIT %s) AS i) AS t "
        "WHERE total <= %s OR total = size ORDER BY n",
        (app_id, after, limit, bytes_max),
    )
    return [QueuedItem(*row) for row in rows]


def read_contents(connection: Connection, app_id: str, runs: Runs) -> Sequence[QueuedItem] | None:
    rows = query(
        connection,
        f"SELECT {_QUEUED} FROM unnest(%s::bigint[], %s::bigint[]) AS r (first, last) "
        "JOIN polyglot.webhook_items AS i ON i.app_id = %s AND i.n BETWEEN r.first AND r.last ORDER BY n",
        ([first for first, _ in runs], [last for _, last in runs], app_id),
    )
    found = [QueuedItem(*row) for row in rows]
    return found if len(found) == sum(last - first + 1 for first, last in runs) else None


# --- going ---


def sweep(connection: Connection, now_us: int) -> bool:
    alone(connection)
    query(
        connection,
        "DELETE FROM polyglot.webhook_messages WHERE dead AND ended < %s",
        (moment(now_us - DEAD_LETTER_KEPT_US),),
    )
    left = SWEPT_MAX
    for app_id, next_n in query(
        connection, "SELECT app_id, next_n FROM polyglot.webhook_apps WHERE bytes > 0 ORDER BY app_id"
    ).fetchall():
        left -= _sweep_app(connection, app_id, next_n, left)
        if left <= 0:
            return True
    return False


def _sweep_app(connection: Connection, app_id: str, next_n: int, limit: int) -> int:
    row = query(
        connection,
        "SELECT (SELECT min(n) FROM polyglot.webhook_items WHERE app_id = %(app)s), "
        "(SELECT min(cursor) FROM polyglot.webhook_endpoints WHERE app_id = %(app)s AND active)",
        {"app": app_id},
    ).fetchone()
    assert row is not None
    oldest, cursor = row
    if oldest is None:
        return 0
    free = gaps(_kept(connection, app_id), oldest, next_n - 1 if cursor is None else cursor)
    return _delete(connection, app_id, free, limit) if free else 0


def _kept(connection: Connection, app_id: str) -> list[tuple[int, int]]:
    rows = query(connection, "SELECT DISTINCT runs FROM polyglot.webhook_messages WHERE app_id = %s", (app_id,))
    return sorted((first, last) for (runs,) in rows for first, last in runs)


def forget_app(connection: Connection, app_id: str) -> None:
    """Endpoints and messages go with the app."""
    for sql in (
        "DELETE FROM polyglot.webhook_present WHERE app_id = %s",
        "DELETE FROM polyglot.webhook_generations WHERE app_id = %s",
        "DELETE FROM polyglot.webhook_items WHERE app_id = %s",
        "DELETE FROM polyglot.webhook_apps WHERE app_id = %s",
    ):
        connection.execute(sql, (app_id,))


# --- erasure ---


_COVERED: dict[str, LiteralString] = {
    "event": "channel = %(channel)s AND epoch = %(epoch)s AND seq BETWEEN %(first_seq)s AND %(last_seq)s",
    "history": "channel = %(channel)s AND CASE WHEN epoch = %(epoch)s "
    "THEN seq BETWEEN %(first_seq)s AND %(last_seq)s ELSE ts <= %(ts)s END",
    "user": "user_id = %(user_id)s AND ts <= %(ts)s",
}  # as `Erasure.covers`


def erase(connection: Connection, erasure: Erasure) -> int:
    """In a transaction that is `alone`."""
    app_id = erasure.app_id
    values = msgspec.structs.asdict(erasure) | {"ts": moment(erasure.ts_us)}
    if erasure.what == "user":
        query(
            connection,
            "DELETE FROM polyglot.webhook_present WHERE app_id = %(app_id)s AND user_id = %(user_id)s",
            values,
        )
    if query(connection, "SELECT FROM polyglot.webhook_apps WHERE app_id = %s", (app_id,)).fetchone() is None:
        return 0
    found = query(
        connection,
        "SELECT n, type, size, channel, epoch, seq, ts, body FROM polyglot.webhook_items "
        f"WHERE app_id = %(app_id)s AND {_COVERED[erasure.what]}",
        values,
    ).fetchall()
    grown = 0
    for n, type_, size, channel, epoch, seq, ts_us, body in found:
        if type_ == "event.published":
            event_type, erased = ERASED, _tombstone(app_id, channel, epoch, seq, ts_us, body)
        else:  # a coming or going stays in its message, without the name
            event_type, erased = None, as_json(_members.decode(body) | {"user_id": None})
        new_size = len(erased.encode())
        query(
            connection,
            "UPDATE polyglot.webhook_items SET event_type = %s, user_id = NULL, size = %s, body = %s "
            "WHERE app_id = %s AND n = %s",
            (event_type, new_size, erased, app_id, n),
        )
        grown += new_size - size
    query(connection, "UPDATE polyglot.webhook_apps SET bytes = bytes + %s WHERE app_id = %s", (grown, app_id))
    query(connection, "UPDATE polyglot.webhook_changes SET changes = changes + 1")
    return len(found)


class _Envelope(msgspec.Struct):
    id: str


class _Published(msgspec.Struct):
    id: str
    event: _Envelope


_decode_published: Callable[[str], _Published] = msgspec.json.Decoder(_Published).decode


def _tombstone(app_id: str, channel: str, epoch: str, seq: int, ts_us: int, body: str) -> str:
    item = _decode_published(body)
    event = Event(item.event.id, app_id, channel, epoch, seq, "", b"", None, ts_us)
    return published_item(tombstone(event), item.id).decode()
