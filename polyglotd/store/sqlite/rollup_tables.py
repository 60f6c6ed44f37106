"""The rollups' SQL: how deltas are added in a transaction, what is read, what is deleted.

Called by `rollups`, writes in its writer's thread only. Blocking; errors are SQLite's own. Keys go in and rows come
out as one JSON text: after every step of a statement the thread may wait for the interpreter, for up to 5 ms where
the daemon is busy, so that a statement or a row of the result for each key would take for ever.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from polyglotd.model.latency import Latency
from polyglotd.store.analytics import AppKey, Cell, ChannelKey, Deltas, Progress, RollupRow, RollupSettings
from polyglotd.store.interface import SetAside
from polyglotd.store.rollup_rows import added, channel_rows, counts_of, sought
from polyglotd.store.sqlite.set_aside import keep_set_aside

INSERTED_AT_ONCE = 256  # rows; SQLite takes 32,766 parameters
SLICE = 2_000  # rows deleted in one transaction: a few ms in which nobody else writes

_APP_FIELDS = (
    "ts, events, bytes, deliveries, connections_peak, json(latency), publishers, unique_users, length(users)"
)
_CHANNEL_FIELDS = "ts, events, bytes, 0, 0, json('[0,{}]'), publishers, unique_users, length(users)"

_Bucket = tuple[int, int, int]  # app_no or channel_no, level, ts
_Read = tuple[int, int, int, int, int, Latency, int, int, int]  # at last the bytes of the sketch
# Sketches one after the other: as text in JSON they would be most of the work.
_SKETCHES = "CAST(group_concat(users, '') AS BLOB)"
_decode_rows = msgspec.json.Decoder(list[_Read]).decode
_decode_keyed = msgspec.json.Decoder(list[tuple[int, int, _Read]]).decode
_decode_app_numbers = msgspec.json.Decoder(list[tuple[str, int]]).decode
_decode_channel_numbers = msgspec.json.Decoder(list[tuple[str, str, int]]).decode
_decode_counts = msgspec.json.Decoder(list[tuple[str, int, int, int]]).decode
_encode = msgspec.json.encode
_name_of = itemgetter(0, 1)  # of a ChannelKey: app and channel


def add(
    connection: sqlite3.Connection,
    settings: RollupSettings,
    log_id: str,
    deltas: Deltas,
    end: int,
    set_aside: Sequence[SetAside],
    now_us: int,
) -> None:
    before = read_progress(connection, log_id)
    if end <= before.position:
        return  # it was counted, and whoever counted it was not told
    for app_id in deltas.forgotten:
        connection.execute("DELETE FROM apps WHERE app_id = ?", (app_id,))
        connection.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (app_id,))
    if deltas.apps:
        numbers = _number_apps(connection, {key[0] for key in deltas.apps})
        begun = _add_apps(connection, numbers, deltas.apps)
        if deltas.channels:
            _add_channels(connection, settings, numbers, deltas.channels, begun)
    for refused in set_aside:
        keep_set_aside(connection, log_id, end, refused, now_us)
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT (log_id) DO UPDATE SET position = excluded.position,"
        " newest_us = max(newest_us, excluded.newest_us)",
        (log_id, end, deltas.newest_us),
    )


def _number_apps(connection: sqlite3.Connection, app_ids: Collection[str]) -> Mapping[str, int]:
    wanted = _encode(list(app_ids)).decode()
    connection.execute("INSERT OR IGNORE INTO apps (app_id) SELECT value FROM json_each(?)", (wanted,))
    (text,) = connection.execute(
        "SELECT json_group_array(json_array(app_id, app_no)) FROM json_each(?) CROSS JOIN apps ON app_id = value",
        (wanted,),
    ).fetchone()
    return dict(_decode_app_numbers(text))


def _add_apps(
    connection: sqlite3.Connection, numbers: Mapping[str, int], cells: Mapping[AppKey, Cell]
) -> Collection[AppKey]:
    """Those buckets that had a row."""
    keyed = {(numbers[app_id], level, ts): cell for (app_id, level, ts), cell in cells.items()}
    known = _rows_of(connection, "app_rollups", "app_no", _APP_FIELDS, keyed)
    rows = []
    for key, cell in keyed.items():
        row = added(known.get(key), key[2], cell)
        rows.append((*key, *counts_of(row), row.deliveries, row.connections_peak, _encode(row.latency).decode()))
    names = "app_no, level, ts, events, bytes, publishers, unique_users, users, deliveries, connections_peak, latency"
    _put(connection, "app_rollups", names, rows)
    return [key for key in cells if (numbers[key[0]], *key[1:]) in known]


def _add_channels(
    connection: sqlite3.Connection,
    settings: RollupSettings,
    app_numbers: Mapping[str, int],
    cells: Mapping[ChannelKey, Cell],
    begun: Collection[AppKey],
) -> None:
    """`begun`: the buckets that their app had a row in before."""
    names = set(map(_name_of, cells))
    numbers = _channel_numbers(connection, app_numbers, names)
    known: dict[ChannelKey, RollupRow] = {}
    channels: dict[AppKey, int] = {}
    if old := sought(cells, begun):
        keyed = {(numbers[key[:2]], *key[2:]): key for key in old if key[:2] in numbers}
        found = _rows_of(connection, "channel_rollups", "channel_no", _CHANNEL_FIELDS, keyed)
        known = {keyed[bucket]: row for bucket, row in found.items()}
        channels = _channel_counts(connection, app_numbers, {(app_id, level, ts) for app_id, _, level, ts in old})
    rows, grown = channel_rows(cells, known, channels, settings)
    unnumbered = sorted(name for name in {key[:2] for key, _ in rows} if name not in numbers)
    if unnumbered:
        connection.execute(
            "INSERT INTO channels (app_no, channel) SELECT value ->> 0, value ->> 1 FROM json_each(?)",
            (_encode([(app_numbers[app_id], channel) for app_id, channel in unnumbered]).decode(),),
        )
        numbers = {**numbers, **_channel_numbers(connection, app_numbers, unnumbered)}
    _put(
        connection,
        "channel_rollups",
        "channel_no, level, ts, events, bytes, publishers, unique_users, users",
        [(numbers[app_id, channel], level, ts, *counts) for (app_id, channel, level, ts), counts in rows],
    )
    _put(
        connection,
        "channel_counts",
        "app_no, level, ts, channels",
        [(app_numbers[app_id], level, ts, count) for (app_id, level, ts), count in grown.items()],
    )


def _channel_numbers(
    connection: sqlite3.Connection, app_numbers: Mapping[str, int], names: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], int]:
    (text,) = connection.execute(
        "SELECT json_group_array(json_array(value ->> 0, channel, channel_no)) FROM json_each(?)"
        " CROSS JOIN channels ON app_no = value ->> 1 AND channel = value ->> 2",
        (_encode([(app_id, app_numbers[app_id], channel) for app_id, channel in names]).decode(),),
    ).fetchone()
    return {(app_id, channel): number for app_id, channel, number in _decode_channel_numbers(text)}


def _channel_counts(
    connection: sqlite3.Connection, app_numbers: Mapping[str, int], buckets: Collection[AppKey]
) -> dict[AppKey, int]:
    wanted = [(app_id, app_numbers[app_id], level, ts) for app_id, level, ts in buckets]
    (text,) = connection.execute(
        "SELECT json_group_array(json_array(value ->> 0, level, ts, channels)) FROM json_each(?)"
        " CROSS JOIN channel_counts ON app_no = value ->> 1 AND level = value ->> 2 AND ts = value ->> 3",
        (_encode(wanted).decode(),),
    ).fetchone()
    return {(app_id, level, ts): channels for app_id, level, ts, channels in _decode_counts(text)}


def _rows_of(
    connection: sqlite3.Connection, table: str, number: str, fields: str, keys: Collection[_Bucket]
) -> Mapping[_Bucket, RollupRow]:
    text, sketches = connection.execute(
        f"SELECT json_group_array(json_array({number}, level, json_array({fields}))), {_SKETCHES} FROM json_each(?)"
        f" CROSS JOIN {table} ON {number} = value ->> 0 AND level = value ->> 1 AND ts = value ->> 2",
        (_encode(list(keys)).decode(),),
    ).fetchone()
    keyed = _decode_keyed(text)
    rows = _rows([read for _, _, read in keyed], sketches)
    return {(owner, level, row.ts): row for (owner, level, _), row in zip(keyed, rows, strict=True)}


def _rows(reads: Sequence[_Read], sketches: bytes | None) -> list[RollupRow]:
    rows, begin = [], 0
    for read in reads:
        end = begin + read[8]
        rows.append(RollupRow(*read[:8], b"" if sketches is None else sketches[begin:end]))
        begin = end
    return rows


def _put(connection: sqlite3.Connection, table: str, names: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    rows = sorted(rows)  # neighbours share pages: in any other order this takes three times as long
    values = f"({', '.join('?' * len(rows[0]))})"
    for first in range(0, len(rows), INSERTED_AT_ONCE):
        some = rows[first : first + INSERTED_AT_ONCE]
        connection.execute(
            f"INSERT OR REPLACE INTO {table} ({names}) VALUES {', '.join([values] * len(some))}",
            list(chain.from_iterable(some)),
        )


# --- deleting: each a slice, true when there may be more ---


def prune_apps(connection: sqlite3.Connection, level: int, before_s: int) -> int:
    return connection.execute(
        "DELETE FROM app_rollups WHERE (app_no, level, ts) IN (SELECT r.app_no, r.level, r.ts FROM apps"
        " JOIN app_rollups r ON r.app_no = apps.app_no AND r.level = ? AND r.ts < ? LIMIT ?)",
        (level, before_s, SLICE),
    ).rowcount


def prune_counts(connection: sqlite3.Connection, level: int, before_s: int) -> int:
    return connection.execute(
        "DELETE FROM channel_counts WHERE (app_no, level, ts) IN (SELECT r.app_no, r.level, r.ts FROM apps"
        " JOIN channel_counts r ON r.app_no = apps.app_no AND r.level = ? AND r.ts < ? LIMIT ?)",
        (level, before_s, SLICE),
    ).rowcount


def prune_channels(
    connection: sqlite3.Connection, before_s: Mapping[int, int], after_no: int
) -> tuple[int, int | None]:
    """Of the next channels after this number; how many rows went, and the last number that was looked at."""
    numbers = [
        number
        for (number,) in connection.execute(
            "SELECT channel_no FROM channels WHERE channel_no > ? ORDER BY channel_no LIMIT 200", (after_no,)
        ).fetchall()
    ]
    if not numbers:
        return 0, None
    inside = (numbers[0], numbers[-1])
    deleted = 0
    for level, before in before_s.items():
        deleted += connection.execute(
            "DELETE FROM channel_rollups WHERE (channel_no, level, ts) IN (SELECT r.channel_no, r.level, r.ts"
            " FROM channels c JOIN channel_rollups r ON r.channel_no = c.channel_no AND r.level = ? AND r.ts < ?"
            " WHERE c.channel_no BETWEEN ? AND ?)",
            (level, before, *inside),
        ).rowcount
    connection.execute(
        "DELETE FROM channels WHERE channel_no BETWEEN ? AND ?"
        " AND NOT EXISTS (SELECT 1 FROM channel_rollups r WHERE r.channel_no = channels.channel_no)",
        inside,
    )
    return deleted, numbers[-1]


def erase_forgotten(connection: sqlite3.Connection) -> bool:
    """Some rows of apps that have no number any more."""
    orphan = "NOT EXISTS (SELECT 1 FROM apps WHERE apps.app_no = {0}.app_no)"
    for table in ("app_rollups", "channel_counts"):
        row = connection.execute(f"SELECT app_no FROM {table} WHERE {orphan.format(table)} LIMIT 1").fetchone()
        if row is not None:
            connection.execute(
                f"DELETE FROM {table} WHERE (app_no, level, ts) IN"
                f" (SELECT app_no, level, ts FROM {table} WHERE app_no = ? LIMIT ?)",
                (row[0], SLICE),
            )
            return True
    row = connection.execute(f"SELECT channel_no FROM channels WHERE {orphan.format('channels')} LIMIT 1").fetchone()
    if row is None:
        return False
    rows = connection.execute(
        "DELETE FROM channel_rollups WHERE (channel_no, level, ts) IN"
        " (SELECT channel_no, level, ts FROM channel_rollups WHERE channel_no = ? LIMIT ?)",
        (row[0], SLICE),
    ).rowcount
    if rows < SLICE:
        connection.execute("DELETE FROM channels WHERE channel_no = ?", (row[0],))
    return True


def erased(connection: sqlite3.Connection, app_id: str) -> None:
    connection.execute("DELETE FROM forgotten WHERE app_id = ?", (app_id,))


# --- reading ---


def read_progress(connection: sqlite3.Connection, log_id: str) -> Progress:
    row = connection.execute("SELECT position, newest_us FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
    return Progress() if row is None else Progress(*row)


def read_app_rows(connection: sqlite3.Connection, app_id: str, level: int, from_s: int, to_s: int) -> list[RollupRow]:
    text, sketches = connection.execute(
        f"SELECT json_group_array(json_array({_APP_FIELDS})), {_SKETCHES} FROM (SELECT * FROM app_rollups"
        " WHERE app_no = (SELECT app_no FROM apps WHERE app_id = ?)"
        " AND level = ? AND ts >= ? AND ts < ? ORDER BY ts)",
        (app_id, level, from_s, to_s),
    ).fetchone()
    return _rows(_decode_rows(text), sketches)


def read_channel_rows(
    connection: sqlite3.Connection, app_id: str, channel: str, level: int, from_s: int, to_s: int
) -> list[RollupRow]:
    text, sketches = connection.execute(
        f"SELECT json_group_array(json_array({_CHANNEL_FIELDS})), {_SKETCHES} FROM (SELECT * FROM channel_rollups"
        " WHERE channel_no = (SELECT channel_no FROM channels JOIN apps USING (app_no)"
        " WHERE app_id = ? AND channel = ?) AND level = ? AND ts >= ? AND ts < ? ORDER BY ts)",
        (app_id, channel, level, from_s, to_s),
    ).fetchone()
    return _rows(_decode_rows(text), sketches)


def read_forgotten(connection: sqlite3.Connection) -> list[str]:
    return [app_id for (app_id,) in connection.execute("SELECT app_id FROM forgotten ORDER BY app_id").fetchall()]
