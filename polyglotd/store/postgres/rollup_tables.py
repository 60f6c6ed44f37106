"""The rollups' SQL: how deltas are added in a transaction, what is read, what is deleted.

Called by `rollups` in worker threads. Blocking; errors are psycopg's own. Keys and rows go in as arrays, a statement
for all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from polyglotd.model.latency import Latency
from polyglotd.store.analytics import AppKey, Cell, ChannelKey, Deltas, Progress, RollupRow, RollupSettings
from polyglotd.store.interface import SetAside
from polyglotd.store.postgres.arrays import BigintArray
from polyglotd.store.postgres.pool import Connection, Micros
from polyglotd.store.rollup_rows import Counts, added, channel_rows, counts_of, sought
from polyglotd.store.set_aside import record_text

# Whoever adds takes turns, also for different logs: rows are read, added to and written back.
ADD_LOCK = 0x706C675F726F6C6C
SET_ASIDE_MAX = 10_000  # the newest are kept
SLICE = 5_000  # rows deleted in one transaction

_APP_COUNTS = (
    "events, bytes, deliveries, connections_peak, latency_sum_us, latency::text, publishers, unique_users, users"
)
_CHANNEL_COUNTS = "events, bytes, 0, 0, 0, '{}', publishers, unique_users, users"
_TS = "extract(epoch FROM ts)::bigint"
_decode_buckets = msgspec.json.Decoder(dict[int, int]).decode

_KNOWN_APPS = f"""
    SELECT app_id, level, {_TS}, {_APP_COUNTS} FROM polyglot.app_rollups
    JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS k (a, l, t)
    ON app_id = k.a AND level = k.l AND ts = to_timestamp(k.t)
"""
_KNOWN_CHANNELS = f"""
    SELECT app_id, channel, level, {_TS}, {_CHANNEL_COUNTS} FROM polyglot.channel_rollups
    JOIN unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS k (a, c, l, t)
    ON app_id = k.a AND channel = k.c AND level = k.l AND ts = to_timestamp(k.t)
"""
_PUT_APPS = """
    INSERT INTO polyglot.app_rollups (app_id, level, ts, events, bytes, publishers, unique_users, users, deliveries,
        connections_peak, latency_sum_us, latency)
    SELECT a, l, to_timestamp(t), e, b, p, u, s, d, c, m, j::jsonb
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[])
        AS r (a, l, t, e, b, p, u, s, d, c, m, j)
    ON CONFLICT (app_id, level, ts) DO UPDATE SET events = excluded.events, bytes = excluded.bytes,
        publishers = excluded.publishers, unique_users = excluded.unique_users, users = excluded.users,
        deliveries = excluded.deliveries, connections_peak = excluded.connections_peak,
        latency_sum_us = excluded.latency_sum_us, latency = excluded.latency
"""
# Each name once, and all sketches as one: there are thousands of rows.
_PUT_CHANNELS = """
    INSERT INTO polyglot.channel_rollups (app_id, channel, level, ts, events, bytes, publishers, unique_users, users)
    SELECT a, c, l, to_timestamp(t), e, b, p, u, substring(%s::bytea FROM o::int FOR s::int)
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[]) AS r (n, l, t, e, b, p, u, o, s)
    JOIN unnest(%s::text[], %s::text[]) WITH ORDINALITY AS k (a, c, n) USING (n)
    ON CONFLICT (app_id, channel, level, ts) DO UPDATE SET events = excluded.events, bytes = excluded.bytes,
        publishers = excluded.publishers, unique_users = excluded.unique_users, users = excluded.users
"""
_COUNTS_OF = f"""
    SELECT app_id, level, {_TS}, channels FROM polyglot.channel_rollup_counts
    JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS k (a, l, t)
    ON app_id = k.a AND level = k.l AND ts = to_timestamp(k.t)
"""
_PUT_COUNTS = """
    INSERT INTO polyglot.channel_rollup_counts (app_id, level, ts, channels)
    SELECT a, l, to_timestamp(t), n
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) AS r (a, l, t, n)
    ON CONFLICT (app_id, level, ts) DO UPDATE SET channels = excluded.channels
"""


def add(
    connection: Connection,
    settings: RollupSettings,
    log_id: str,
    deltas: Deltas,
    end: int,
    set_aside: Sequence[SetAside],
    now_us: int,
) -> None:
    """Within a transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADD_LOCK,))
    before = read_progress(connection, log_id)
    if end <= before.position:
        return  # it was counted, and whoever counted it was not told
    for app_id in deltas.forgotten:
        _forget(connection, app_id)
    if deltas.apps:
        begun = _add_apps(connection, deltas.apps)
        if deltas.channels:
            _add_channels(connection, settings, deltas.channels, begun)
    for refused in set_aside:
        connection.execute(
            "INSERT INTO polyglot.rollups_set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s)",
            (log_id, end, Micros(now_us), refused.why, record_text(refused.record).replace("\\u0000", "\ufffd")),
        )
        connection.execute(
            "DELETE FROM polyglot.rollups_set_aside WHERE set_aside_no <= (SELECT max(set_aside_no) - %s"
            " FROM polyglot.rollups_set_aside)",
            (SET_ASIDE_MAX,),
        )
    connection.execute(
        "INSERT INTO polyglot.rollup_cursors AS c VALUES (%s, %s, %s) ON CONFLICT (log_id)"
        " DO UPDATE SET position = excluded.position, newest = greatest(c.newest, excluded.newest)",
        (log_id, end, deltas.newest_us),
    )


def _forget(connection: Connection, app_id: str) -> None:
    for table in ("app_rollups", "channel_rollups", "channel_rollup_counts"):
        connection.execute(f"DELETE FROM polyglot.{table} WHERE app_id = %s".encode(), (app_id,))
    connection.execute("INSERT INTO polyglot.rollups_forgotten VALUES (%s) ON CONFLICT DO NOTHING", (app_id,))


def _add_apps(connection: Connection, cells: Mapping[AppKey, Cell]) -> Collection[AppKey]:
    """Those buckets that had a row."""
    known = {
        (app_id, level, ts): _row(ts, counts)
        for app_id, level, ts, *counts in _fetch(connection, _KNOWN_APPS, list(cells), 3)
    }
    rows = []
    for key, cell in cells.items():
        row = added(known.get(key), key[2], cell)
        buckets = msgspec.json.encode(row.latency.buckets).decode()
        more = (row.deliveries, row.connections_peak, row.latency.sum_us, buckets)
        rows.append((*key, *counts_of(row), *more))
    _put(connection, _PUT_APPS, rows, 12)
    return known.keys()


def _add_channels(
    connection: Connection, settings: RollupSettings, cells: Mapping[ChannelKey, Cell], begun: Collection[AppKey]
) -> None:
    """`begun`: the buckets that their app had a row in before."""
    known: dict[ChannelKey, RollupRow] = {}
    channels: dict[AppKey, int] = {}
    if old := sought(cells, begun):
        for app_id, channel, level, ts, *counts in _fetch(connection, _KNOWN_CHANNELS, old, 4):
            known[app_id, channel, level, ts] = _row(ts, counts)
        buckets = list({(app_id, level, ts) for app_id, _, level, ts in old})
        channels = {(a, level, ts): n for a, level, ts, n in _fetch(connection, _COUNTS_OF, buckets, 3)}
    rows, grown = channel_rows(cells, known, channels, settings)
    if rows:
        _put_channels(connection, rows)
    _put(connection, _PUT_COUNTS, [(*bucket, count) for bucket, count in grown.items()], 4)


def _put_channels(connection: Connection, rows: Sequence[tuple[ChannelKey, Counts]]) -> None:
    keys, counts = zip(*sorted(rows), strict=True)  # neighbours share pages
    apps, channels, levels, ts = zip(*keys, strict=True)
    *numbers, sketches = zip(*counts, strict=True)
    names = {name: number for number, name in enumerate(dict.fromkeys(zip(apps, channels, strict=True)), 1)}
    named = [names[name] for name in zip(apps, channels, strict=True)]
    sizes = [len(sketch) for sketch in sketches]
    columns = [named, levels, ts, *numbers, list(accumulate(sizes, initial=1))[:-1], sizes]
    connection.execute(
        _PUT_CHANNELS.encode(),
        [b"".join(sketches), *map(BigintArray.of, columns), [a for a, _ in names], [c for _, c in names]],
    )


def _fetch(connection: Connection, query: str, keys: Sequence[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), _columns(keys, width)).fetchall()


def _put(connection: Connection, query: str, rows: Sequence[tuple[Any, ...]], width: int) -> None:
    if rows:
        connection.execute(query.encode(), _columns(sorted(rows), width))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[Any]:
    columns = [[row[at] for row in rows] for at in range(width)]
    return [BigintArray.of(column) if column and isinstance(column[0], int) else column for column in columns]


def _row(ts: int, counts: Sequence[Any]) -> RollupRow:
    events, size, deliveries, peak, sum_us, buckets, publishers, unique_users, users = counts
    latency = Latency(sum_us, _decode_buckets(buckets))
    return RollupRow(ts, events, size, deliveries, peak, latency, publishers, unique_users, bytes(users))


# --- deleting ---

# A bucket's channels go before its app: where an app has no row, none is looked for of its channels.
_OLD = {
    "channel_rollups": "app_id, channel, level, ts",
    "channel_rollup_counts": "app_id, level, ts",
    "app_rollups": "app_id, level, ts",
}
PRUNED = tuple(_OLD)


def prune(connection: Connection, table: str, level: int, before_s: int) -> int:
    """A slice; how many rows."""
    key = _OLD[table]
    return connection.execute(
        f"DELETE FROM polyglot.{table} WHERE ({key}) IN (SELECT {key} FROM polyglot.{table}"
        f" WHERE level = %s AND ts < to_timestamp(%s) LIMIT {SLICE})".encode(),
        (level, before_s),
    ).rowcount


def erased(connection: Connection, app_id: str) -> None:
    connection.execute("DELETE FROM polyglot.rollups_forgotten WHERE app_id = %s", (app_id,))


# --- reading ---


def read_progress(connection: Connection, log_id: str) -> Progress:
    row = connection.execute(
        "SELECT position, newest FROM polyglot.rollup_cursors WHERE log_id = %s", (log_id,)
    ).fetchone()
    return Progress() if row is None else Progress(*row)


def read_app_rows(connection: Connection, app_id: str, level: int, from_s: int, to_s: int) -> list[RollupRow]:
    rows = connection.execute(
        f"SELECT {_TS}, {_APP_COUNTS} FROM polyglot.app_rollups WHERE app_id = %s AND level = %s"
        " AND ts >= to_timestamp(%s) AND ts < to_timestamp(%s) ORDER BY ts".encode(),
        (app_id, level, from_s, to_s),
    ).fetchall()
    return [_row(ts, counts) for ts, *counts in rows]


def read_channel_rows(
    connection: Connection, app_id: str, channel: str, level: int, from_s: int, to_s: int
) -> list[RollupRow]:
    rows = connection.execute(
        f"SELECT {_TS}, {_CHANNEL_COUNTS} FROM polyglot.channel_rollups WHERE app_id = %s AND channel = %s"
        " AND level = %s AND ts >= to_timestamp(%s) AND ts < to_timestamp(%s) ORDER BY ts".encode(),
        (app_id, channel, level, from_s, to_s),
    ).fetchall()
    return [_row(ts, counts) for ts, *counts in rows]


def read_forgotten(connection: Connection) -> Collection[str]:
    return [app_id for (app_id,) in connection.execute("SELECT app_id FROM polyglot.rollups_forgotten ORDER BY 1")]


def read_size(connection: Connection) -> tuple[int, int]:
    """Bytes of the tables, and how many records are set aside."""
    tables = ", ".join(f"('polyglot.{table}')" for table in _OLD)
    row = connection.execute(
        f"SELECT (SELECT sum(pg_total_relation_size(t::regclass)) FROM (VALUES {tables}) AS v (t))::bigint,"
        " (SELECT count(*) FROM polyglot.rollups_set_aside)".encode()
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
