"""The webhook queue's SQL of items: how they come, are read, erased, and go. Called by `webhooks`."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain

import msgspec

from polyglotd.log.interface import Erasure
from polyglotd.model import Event
from polyglotd.model.event import ERASED, tombstone
from polyglotd.model.webhooks import published_item
from polyglotd.store.interface import SetAside
from polyglotd.store.runs import gaps
from polyglotd.store.webhooks import Appended, Item, Presences, QueuedItem, Runs

APP_SHIFT = 40  # see the migration
DEAD_LETTER_KEPT_US = 7 * 86_400 * 1_000_000
SET_ASIDE_MAX = 10_000  # the newest are kept
SWEPT_MAX = 20_000  # items removed in one transaction: some tens of ms in which nobody else writes

_COLUMNS = "item_no, type, channel, event_type, epoch, seq, user_id, ts_us, at_us, size, body"
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# As in `event_tables`: after each statement the writer's thread waits for the interpreter.
_INSERTS = {
    rows: f"INSERT INTO items ({_COLUMNS}) VALUES {', '.join([_VALUES] * rows)}"
    for rows in (256, 128, 64, 32, 16, 8, 4, 2, 1)
}
_Row = tuple[int, str, str | None, str | None, str | None, int | None, str | None, int, int, int, str]
_Waiting = tuple[int, str, int, str, str, int, int, str]  # item_no, type, size, channel, epoch, seq, ts_us, body
_queued = msgspec.json.Decoder(list[QueuedItem])
_runs = msgspec.json.Decoder(tuple[tuple[int, int], ...])
_members = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.Encoder().encode


def app_no_of(connection: sqlite3.Connection, app_id: str) -> int | None:
    row = connection.execute("SELECT app_no FROM apps WHERE app_id = ?", (app_id,)).fetchone()
    return None if row is None else int(row[0])


def ensure_app(connection: sqlite3.Connection, app_id: str) -> tuple[int, int, int]:
    """The app's number, next n, and bytes."""
    connection.execute("INSERT INTO apps (app_id, next_n, bytes) VALUES (?, 1, 0) ON CONFLICT DO NOTHING", (app_id,))
    row: tuple[int, int, int] = connection.execute(
        "SELECT app_no, next_n, bytes FROM apps WHERE app_id = ?", (app_id,)
    ).fetchone()
    return row


# --- from the log ---


def append(
    connection: sqlite3.Connection, log_id: str, end: int, batch: Appended, now_us: int, app_bytes_max: int
) -> None:
    row = connection.execute("SELECT position FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
    if row is not None and end <= row[0]:
        return
    for app_id in batch.forgotten:
        forget_app(connection, app_id)
    for erasure in batch.erasures:
        erase(connection, erasure)
    by_app: defaultdict[str, list[Item]] = defaultdict(list)
    for item in batch.items:
        by_app[item.app_id].append(item)
    for app_id, items in by_app.items():
        _append(connection, app_id, items, now_us, app_bytes_max)
    for step in batch.present:
        key = (step.app_id, step.channel, step.user_id)
        if step.generation is None:
            connection.execute("DELETE FROM present WHERE app_id = ? AND channel = ? AND user_id = ?", key)
        else:
            connection.execute("INSERT OR REPLACE INTO present VALUES (?, ?, ?, ?)", (*key, step.generation))
    for generation in batch.generations.items():
        connection.execute("INSERT OR REPLACE INTO generations VALUES (?, ?)", generation)
    for refused in batch.set_aside:
        _set_aside(connection, log_id, end, refused, now_us)
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (log_id) DO UPDATE SET position = excluded.position",
        (log_id, end),
    )


def _set_aside(connection: sqlite3.Connection, log_id: str, end: int, refused: SetAside, now_us: int) -> None:
    record = {"record": type(refused.record).__name__} | msgspec.structs.asdict(refused.record)
    (number,) = connection.execute(
        "INSERT INTO set_aside (log_id, batch_end, at_us, why, record) VALUES (?, ?, ?, ?, ?) RETURNING set_aside_no",
        (log_id, end, now_us, refused.why, msgspec.json.encode(record).decode()),
    ).fetchone()
    connection.execute("DELETE FROM set_aside WHERE set_aside_no <= ?", (number - SET_ASIDE_MAX,))


def _append(
    connection: sqlite3.Connection, app_id: str, items: Sequence[Item], now_us: int, app_bytes_max: int
) -> None:
    app_no, next_n, held = ensure_app(connection, app_id)
    rows = [_row((app_no << APP_SHIFT) + n, item, now_us) for n, item in enumerate(items, next_n)]
    done = 0
    for size, statement in _INSERTS.items():
        while done + size <= len(rows):
            connection.execute(statement, list(chain.from_iterable(rows[done : done + size])))
            done += size
    held += sum(row[9] for row in rows)
    connection.execute("UPDATE apps SET next_n = ?, bytes = ? WHERE app_no = ?", (next_n + len(rows), held, app_no))
    if held > app_bytes_max:
        _shrink(connection, app_no, held - app_bytes_max)


def _row(item_no: int, item: Item, now_us: int) -> _Row:
    return (
        item_no, item.type, item.channel, item.event_type, item.epoch, item.seq, item.user_id, item.ts_us, now_us,
        len(item.body.encode()), item.body,
    )  # fmt: skip


def _shrink(connection: sqlite3.Connection, app_no: int, excess: int) -> None:
    """The oldest items give way, and with them every message that holds one of them."""
    low = app_no << APP_SHIFT
    cut, freed = low, 0
    while freed < excess:
        row = connection.execute(
            "SELECT item_no, total FROM (SELECT item_no, sum(size) OVER (ORDER BY item_no) AS total FROM "
            "(SELECT item_no, size FROM items WHERE item_no > ? AND item_no < ? ORDER BY item_no LIMIT 10000)) "
            "ORDER BY total >= ? DESC, CASE WHEN total >= ? THEN total ELSE -total END LIMIT 1",
            (cut, low + (1 << APP_SHIFT), excess - freed, excess - freed),
        ).fetchone()
        if row is None:
            break
        cut, freed = row[0], freed + row[1]
    n = cut - low
    connection.execute(
        "UPDATE endpoints SET lost = lost + ?1 - cursor, cursor = ?1 WHERE app_no = ?2 AND active AND cursor < ?1",
        (n, app_no),
    )
    connection.execute(
        "UPDATE endpoints SET lost = lost + (SELECT coalesce(sum(items), 0) FROM messages AS m WHERE "
        "m.endpoint_id = endpoints.endpoint_id AND m.app_no = ?2 AND m.first_n <= ?1) WHERE app_no = ?2",
        (n, app_no),
    )
    connection.execute("DELETE FROM messages WHERE app_no = ? AND first_n <= ?", (app_no, n))
    _delete(connection, app_no, 1, n)


def _delete(connection: sqlite3.Connection, app_no: int, first: int, last: int) -> int:
    low = app_no << APP_SHIFT
    between = (low + first, low + last)
    (size,) = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM items WHERE item_no BETWEEN ? AND ?", between
    ).fetchone()
    deleted = connection.execute("DELETE FROM items WHERE item_no BETWEEN ? AND ?", between).rowcount
    connection.execute("UPDATE apps SET bytes = bytes - ? WHERE app_no = ?", (size, app_no))
    return deleted


# --- reading ---


def read_cursor(connection: sqlite3.Connection, log_id: str) -> int:
    row = connection.execute("SELECT position FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
    return 0 if row is None else int(row[0])


def read_presences(connection: sqlite3.Connection) -> Presences:
    rows = connection.execute("SELECT app_id, channel, user_id, generation FROM present").fetchall()
    generations = connection.execute("SELECT app_id, generation FROM generations").fetchall()
    return Presences(rows={row[:3]: row[3] for row in rows}, generations=dict(generations))


def read_items(
    connection: sqlite3.Connection, app_id: str, after: int, limit: int, bytes_max: int
) -> Sequence[QueuedItem]:
    app_no = app_no_of(connection, app_id)
    if app_no is None:
        return []
    low = app_no << APP_SHIFT
    # One row comes back: after each the reading thread would wait for the interpreter.
    return _read(
        connection,
        low,
        "SELECT * FROM (SELECT *, sum(size) OVER (ORDER BY item_no) AS total FROM "
        "(SELECT * FROM items WHERE item_no > ? AND item_no < ? ORDER BY item_no LIMIT ?)) "
        "WHERE total <= ? OR total = size",
        (low + after, low + (1 << APP_SHIFT), limit, bytes_max),
    )


def read_contents(connection: sqlite3.Connection, app_id: str, runs: Runs) -> Sequence[QueuedItem] | None:
    app_no = app_no_of(connection, app_id)
    if app_no is None:
        return None
    low = app_no << APP_SHIFT
    found: list[QueuedItem] = []
    for first, last in runs:
        query = "SELECT * FROM items WHERE item_no BETWEEN ? AND ? ORDER BY item_no"
        found += _read(connection, low, query, (low + first, low + last))
    return found if len(found) == sum(last - first + 1 for first, last in runs) else None


def _read(connection: sqlite3.Connection, low: int, query: str, values: tuple[int, ...]) -> Sequence[QueuedItem]:
    (text,) = connection.execute(
        "SELECT json_group_array(json_array(item_no - ?, type, channel, event_type, ts_us, at_us, body)) "
        f"FROM ({query})",
        (low, *values),
    ).fetchone()
    return _queued.decode(text)


# --- going ---


def sweep(connection: sqlite3.Connection, now_us: int) -> bool:
    connection.execute("DELETE FROM messages WHERE dead AND ended_us < ?", (now_us - DEAD_LETTER_KEPT_US,))
    left = SWEPT_MAX
    for app_no, next_n in connection.execute("SELECT app_no, next_n FROM apps WHERE bytes > 0").fetchall():
        left -= _sweep_app(connection, app_no, next_n, left)
        if left <= 0:
            return True
    return False


def _sweep_app(connection: sqlite3.Connection, app_no: int, next_n: int, limit: int) -> int:
    low = app_no << APP_SHIFT
    (oldest,) = connection.execute(
        "SELECT min(item_no) - ? FROM items WHERE item_no > ? AND item_no < ?", (low, low, low + (1 << APP_SHIFT))
    ).fetchone()
    if oldest is None:
        return 0
    (cursor,) = connection.execute(
        "SELECT min(cursor) FROM endpoints WHERE app_no = ? AND active", (app_no,)
    ).fetchone()
    last = next_n - 1 if cursor is None else cursor
    deleted = 0
    for first, end in gaps(_kept(connection, app_no), oldest, last):
        deleted += _delete(connection, app_no, first, min(end, first + limit - deleted - 1))
        if deleted >= limit:
            break
    return deleted


def _kept(connection: sqlite3.Connection, app_no: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for (text,) in connection.execute("SELECT DISTINCT runs FROM messages WHERE app_no = ?", (app_no,)):
        runs += _runs.decode(text)
    return sorted(runs)


def forget_app(connection: sqlite3.Connection, app_id: str) -> None:
    connection.execute("DELETE FROM present WHERE app_id = ?", (app_id,))
    connection.execute("DELETE FROM generations WHERE app_id = ?", (app_id,))
    app_no = app_no_of(connection, app_id)
    if app_no is not None:
        low = app_no << APP_SHIFT
        connection.execute("DELETE FROM items WHERE item_no > ? AND item_no < ?", (low, low + (1 << APP_SHIFT)))
        connection.execute("DELETE FROM apps WHERE app_no = ?", (app_no,))  # endpoints and messages go with it


# --- erasure ---


_COVERED = {
    "event": ("channel = ? AND epoch = ? AND seq BETWEEN ? AND ?", ("channel", "epoch", "first_seq", "last_seq")),
    "history": (
        "channel = ? AND CASE WHEN epoch = ? THEN seq BETWEEN ? AND ? ELSE ts_us <= ? END",
        ("channel", "epoch", "first_seq", "last_seq", "ts_us"),
    ),
    "user": ("user_id = ? AND ts_us <= ?", ("user_id", "ts_us")),
}  # as `Erasure.covers`


def erase(connection: sqlite3.Connection, erasure: Erasure) -> int:
    app_no = app_no_of(connection, erasure.app_id)
    if erasure.what == "user":
        who = (erasure.app_id, erasure.user_id)
        connection.execute("DELETE FROM present WHERE app_id = ? AND user_id = ?", who)
    if app_no is None:
        return 0
    condition, names = _COVERED[erasure.what]
    found = _matching(connection, app_no, condition, [getattr(erasure, name) for name in names])
    grown = 0
    for row in found:
        item_no, type_, size, *_, body = row
        if type_ == "event.published":
            event_type, erased = ERASED, _tombstone(erasure.app_id, row)
        else:  # a coming or going stays in its message, without the name
            event_type, erased = None, _encode(_members.decode(body) | {"user_id": None})
        connection.execute(
            "UPDATE items SET event_type = ?, user_id = NULL, size = ?, body = ? WHERE item_no = ?",
            (event_type, len(erased), erased.decode(), item_no),
        )
        grown += len(erased) - size
    connection.execute("UPDATE apps SET bytes = bytes + ? WHERE app_no = ?", (grown, app_no))
    connection.execute("UPDATE changes SET changes = changes + 1")
    return len(found)


def _matching(
    connection: sqlite3.Connection, app_no: int, condition: str, values: Sequence[object]
) -> list[_Waiting]:
    low = app_no << APP_SHIFT
    return connection.execute(
        "SELECT item_no, type, size, channel, epoch, seq, ts_us, body FROM items "
        f"WHERE item_no > ? AND item_no < ? AND {condition}",
        (low, low + (1 << APP_SHIFT), *values),
    ).fetchall()


class _Envelope(msgspec.Struct):
    id: str


class _Published(msgspec.Struct):
    id: str
    event: _Envelope


_decode_published: Callable[[str], _Published] = msgspec.json.Decoder(_Published).decode


def _tombstone(app_id: str, row: _Waiting) -> bytes:
    _, _, _, channel, epoch, seq, ts_us, body = row
    item = _decode_published(body)
    event = Event(item.event.id, app_id, channel, epoch, seq, "", b"", None, ts_us)
    return published_item(tombstone(event), item.id)
