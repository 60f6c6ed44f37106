"""The event store's SQL that reads.

Called by `events` in worker threads. Blocking; errors are psycopg's own.
"""

from collections.abc import Collection

from polyglotd.store.event_page import page_of
from polyglotd.store.interface import ChannelEpochs, EventPage, HistoryQuery, Usage, Usages
from polyglotd.store.postgres.pool import Connection, Micros, one_row
from polyglotd.store.postgres.rows import INTEGER_MAX, TS_MAX_US


def read_cursor(connection: Connection, log_id: str) -> int:
    row = connection.execute("SELECT position FROM polyglot.cursors WHERE log_id = %s", (log_id,)).fetchone()
    return 0 if row is None else int(row[0])


def read_usage(connection: Connection, app_id: str, month: str) -> Usage:
    return read_usages(connection, "", [app_id], month).by_app[app_id]


def read_usages(connection: Connection, log_id: str, app_ids: Collection[str], month: str) -> Usages:
    """In one statement, so of one moment."""
    rows = connection.execute(
        """
        SELECT coalesce((SELECT position FROM polyglot.cursors WHERE log_id = %(log)s), 0), a.app_id,
               coalesce(u.events, 0), coalesce(u.bytes, 0), coalesce(s.bytes, 0), q.quotas, q.percents
        FROM unnest(%(apps)s::text[] || NULL::text) AS a (app_id)
        LEFT JOIN polyglot.usage u ON u.app_id = a.app_id AND u.month = %(month)s
        LEFT JOIN polyglot.stored s ON s.app_id = a.app_id
        LEFT JOIN (
            SELECT app_id, array_agg(quota) AS quotas, array_agg(percent) AS percents FROM polyglot.quotas_reached
            WHERE month = %(month)s AND app_id = ANY (%(apps)s::text[]) GROUP BY app_id
        ) q ON q.app_id = a.app_id
        """,
        {"log": log_id, "apps": list(app_ids), "month": month},
    ).fetchall()
    by_app = {
        app_id: Usage(
            events=events,
            bytes=size,
            stored_bytes=stored,
            reached=frozenset(zip(quotas or (), percents or (), strict=True)),
        )
        for _, app_id, events, size, stored, quotas, percents in rows
        if app_id is not None  # the row that is there where no app is asked for
    }
    return Usages(rows[0][0], by_app)


def read_channels(connection: Connection, app_id: str, prefix: str, first: str, limit: int) -> list[ChannelEpochs]:
    """From one name to the next along the index of the channels' seqs, however many events lie between them."""
    named = {"app": app_id, "first": max(first, prefix), "end": prefix + "\U0010ffff"}
    next_name = (
        "SELECT channel FROM polyglot.events WHERE app_id = %(app)s AND channel < %(end)s AND channel {} "
        "ORDER BY channel LIMIT 1"
    )
    next_epoch = (
        "SELECT epoch FROM polyglot.events WHERE app_id = %(app)s AND channel = names.channel {} "
        "ORDER BY epoch LIMIT 1"
    )
    rows = connection.execute(
        "WITH RECURSIVE names AS ("
        f"({next_name.format('>= %(first)s')}) UNION ALL "
        f"SELECT ({next_name.format('> names.channel')}) FROM names WHERE channel IS NOT NULL), "
        f"page AS (SELECT channel FROM names WHERE channel IS NOT NULL LIMIT {limit:d}) "
        "SELECT names.channel, epochs.epoch, first_event.batch "
        "FROM page names CROSS JOIN LATERAL (WITH RECURSIVE epochs AS ("
        f"({next_epoch.format('')}) UNION ALL "
        f"SELECT ({next_epoch.format('AND epoch > epochs.epoch')}) FROM epochs WHERE epoch IS NOT NULL) "
        "SELECT epoch FROM epochs WHERE epoch IS NOT NULL) epochs "
        "CROSS JOIN LATERAL (SELECT batch, ts FROM polyglot.events e WHERE app_id = %(app)s "
        "AND e.channel = names.channel AND e.epoch = epochs.epoch ORDER BY seq LIMIT 1) first_event "
        "ORDER BY names.channel, first_event.batch, first_event.ts, epochs.epoch".encode(),
        named,
    )
    found: dict[str, list[str]] = {}
    forgotten = connection.execute("SELECT batch_max FROM polyglot.forgotten WHERE app_id = %s", (app_id,)).fetchone()
    for channel, epoch, batch in rows:
        if forgotten is None or batch > forgotten[0]:
            found.setdefault(channel, []).append(epoch)
    return [ChannelEpochs(channel, epochs) for channel, epochs in found.items()]


def read_kinds(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT app_id, kind FROM polyglot.kinds k WHERE EXISTS (SELECT FROM polyglot.events e "
        "WHERE e.app_id = k.app_id AND e.channel >= k.kind || ':' AND e.channel < k.kind || ';')"
    )
    return [(app_id, kind) for app_id, kind in rows]


def read_forgotten(connection: Connection) -> list[str]:
    return [app_id for (app_id,) in connection.execute("SELECT app_id FROM polyglot.forgotten ORDER BY app_id")]


def read_size(connection: Connection, *, partitioned: bool) -> tuple[int, int]:
    """Bytes of all tables, and how many records were set aside."""
    chunks = "0" if partitioned else "coalesce(hypertable_size('polyglot.events'), 0)"
    (size, set_aside) = one_row(
        connection,
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint + "
        f"{chunks}, (SELECT count(*) FROM polyglot.set_aside) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'polyglot' "
        "AND c.relkind IN ('r', 'm')",
    )
    return size, set_aside


def read_history(connection: Connection, query: HistoryQuery) -> EventPage:
    conditions = ["app_id = %s", "channel = %s", "epoch = %s"]
    values: list[object] = [query.app_id, query.channel, query.epoch]
    for condition, bound in (("seq > %s", query.after), ("seq < %s", query.before)):
        if bound is not None:
            conditions.append(condition)
            values.append(max(-INTEGER_MAX, min(bound, INTEGER_MAX)))
    if query.type is not None:
        conditions.append("type = %s")
        values.append(query.type)
    for condition, ts_us in (("ts >= %s", query.from_us), ("ts < %s", query.to_us)):
        if ts_us is not None:
            conditions.append(condition)
            values.append(Micros(max(0, min(ts_us, TS_MAX_US + 1))))
    order = "DESC" if query.after is None else "ASC"
    rows = connection.cursor(binary=True).execute(
        # A limit that the planner sees: it then reads along the index of the channel's seqs, also for a type.
        "SELECT seq, id, type, user_id, ts, convert_to(data, 'UTF8') FROM polyglot.events "
        f"WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT {query.limit + 1:d}".encode(),
        values,
    )
    return page_of(query, rows)
