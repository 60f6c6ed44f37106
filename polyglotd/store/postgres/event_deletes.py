"""The event store's SQL that deletes: what is too old, what was of a forgotten app.

Called by `events` and `event_writes` in worker threads. What is deleted is counted as stored no more. Blocking;
errors are psycopg's own.
"""

from collections.abc import Mapping

from polyglotd.store.postgres.pool import Connection, Micros, one_row
from polyglotd.store.postgres.rows import TS_MAX_US


def prune(connection: Connection, app_id: str, kind: str, before_us: int, limit: int) -> int:
    """Delete at most `limit` of the oldest events of a kind that are older; how many."""
    before = Micros(max(0, min(before_us, TS_MAX_US)))
    row = connection.execute(
        "SELECT oldest FROM polyglot.kinds WHERE app_id = %s AND kind = %s AND oldest < %s",
        (app_id, kind, before),
        binary=True,
    ).fetchone()
    if row is None:
        return 0
    oldest = Micros(row[0])
    deleted = delete_events(
        connection,
        "SELECT app_id, channel, epoch, seq, ts FROM polyglot.events WHERE app_id = %(app)s AND ts >= %(oldest)s "
        "AND ts < %(before)s AND split_part(channel, ':', 1) = %(kind)s ORDER BY ts LIMIT %(limit)s",
        {"app": app_id, "oldest": oldest, "before": before, "kind": kind, "limit": limit},
    )
    if deleted < limit:
        # Not where an older event came meanwhile: the next round finds it.
        connection.execute(
            "UPDATE polyglot.kinds SET oldest = %s WHERE app_id = %s AND kind = %s AND oldest = %s",
            (before, app_id, kind, oldest),
        )
    return deleted


def forget_app(connection: Connection, app_id: str, batch: int | None = None) -> None:
    """Usage goes at once, events when `erase` is called. Those of later batches are not touched."""
    connection.execute("DELETE FROM polyglot.usage WHERE app_id = %s", (app_id,))
    connection.execute("DELETE FROM polyglot.quotas_reached WHERE app_id = %s", (app_id,))
    connection.execute(
        "INSERT INTO polyglot.forgotten AS f VALUES (%s, coalesce(%s, nextval('polyglot.batches'))) "
        "ON CONFLICT (app_id) DO UPDATE SET batch_max = greatest(f.batch_max, excluded.batch_max)",
        (app_id, batch),
    )


def erase(connection: Connection, app_id: str, limit: int) -> bool:
    """Delete at most `limit` events of what was forgotten; true when none is left."""
    deleted = delete_events(
        connection,
        "SELECT app_id, channel, epoch, seq, ts FROM polyglot.events WHERE app_id = %(app)s AND batch <= "
        "(SELECT batch_max FROM polyglot.forgotten WHERE app_id = %(app)s) ORDER BY ts LIMIT %(limit)s",
        {"app": app_id, "limit": limit},
    )
    return deleted < limit


def erased(connection: Connection, app_id: str) -> None:
    connection.execute(
        "DELETE FROM polyglot.forgotten f WHERE app_id = %s AND NOT EXISTS "
        "(SELECT FROM polyglot.events e WHERE e.app_id = f.app_id AND e.batch <= f.batch_max)",
        (app_id,),
    )
    # Whoever is storing events now has looked at `kinds` or waits here: none of its kinds is lost.
    connection.execute("LOCK TABLE polyglot.kinds IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(
        "DELETE FROM polyglot.kinds WHERE app_id = %s AND NOT EXISTS (SELECT FROM polyglot.events WHERE app_id = %s)",
        (app_id, app_id),
    )


def delete_events(connection: Connection, which: str, values: Mapping[str, object]) -> int:
    """Delete the events that this query names by their key, and count them as stored no more; how many."""
    (deleted,) = one_row(
        connection,
        f"""
        WITH gone AS (
            DELETE FROM polyglot.events e USING ({which}) o
            WHERE e.app_id = o.app_id AND e.channel = o.channel AND e.epoch = o.epoch AND e.seq = o.seq
            AND e.ts = o.ts RETURNING e.app_id, octet_length(e.data) AS size
        ), counted AS (
            UPDATE polyglot.stored s SET events = s.events - g.events, bytes = s.bytes - g.bytes
            FROM (SELECT app_id, count(*) AS events, sum(size) AS bytes FROM gone GROUP BY app_id) g
            WHERE s.app_id = g.app_id
        )
        SELECT count(*) FROM gone
        """,
        values,
    )
    return deleted
