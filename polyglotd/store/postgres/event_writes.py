"""The event store's SQL: what is written in a transaction, what is read.

Called by `events` in worker threads. Blocking; errors are psycopg's own, and `RecordRefused`.
"""

import logging
import struct
from collections.abc import Collection, Mapping, Sequence

from psycopg import errors

from polyglotd.log.interface import AppForgotten, Erasure, Meter, QuotaReached, ReadRecord
from polyglotd.model import Event
from polyglotd.store.event_page import page_of
from polyglotd.store.interface import ChannelEpochs, EventPage, HistoryQuery, RecordRefused, SetAside, Usage, Usages
from polyglotd.store.postgres.erasures import begin_erasure
from polyglotd.store.postgres.partitions import make_weeks, week_of
from polyglotd.store.postgres.pool import Connection, Micros
from polyglotd.store.postgres.rows import (
    COLUMNS,
    INTEGER_MAX,
    TS_MAX_US,
    Counts,
    Encoder,
    Oldest,
    Rows,
    as_text,
    month_of,
    refusal,
)
from polyglotd.store.set_aside import record_text

logger = logging.getLogger(__name__)

SET_ASIDE_MAX = 10_000  # the newest are kept
INSERT_ROWS, INSERT_BYTES = 200, 32 << 10  # in one statement, where there is no COPY

_BAD_DATA = (errors.DataError, errors.ProgramLimitExceeded)

_COPY = f"COPY polyglot.events ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_STAGED = f"COPY staged ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
_INSERT_STAGED = (
    f"INSERT INTO staged ({COLUMNS}) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], "
    "%s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])"
)
_TAKE_STAGED = f"""
    WITH new AS (
        INSERT INTO polyglot.events ({COLUMNS}) SELECT {COLUMNS} FROM staged ON CONFLICT DO NOTHING
        RETURNING app_id, channel, ts, octet_length(data) AS size
    )
    SELECT app_id, to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM'), split_part(channel, ':', 1),
           count(*), sum(size), min(ts)
    FROM new GROUP BY 1, 2, 3
"""
_BEGIN = """
    INSERT INTO polyglot.cursors AS c (log_id, position) VALUES (%s, 0)
    ON CONFLICT (log_id) DO UPDATE SET position = c.position RETURNING position, nextval('polyglot.batches')
"""
_FINISH = """
    WITH counted AS (
        INSERT INTO polyglot.usage AS u SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
        ON CONFLICT (app_id, month)
        DO UPDATE SET events = u.events + excluded.events, bytes = u.bytes + excluded.bytes
    ), stored AS (
        INSERT INTO polyglot.stored AS s SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
        ON CONFLICT (app_id) DO UPDATE SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes
    ), seen AS (
        INSERT INTO polyglot.kinds AS k SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[])
        ON CONFLICT (app_id, kind) DO UPDATE SET oldest = excluded.oldest WHERE k.oldest > excluded.oldest
    )
    UPDATE polyglot.cursors SET position = %s WHERE log_id = %s
"""


class EventWrites:
    """Statements that write events, and what they remember between transactions. Used by several threads."""

    def __init__(self, *, partitioned: bool, plain_wire: bool) -> None:
        self._partitioned = partitioned
        self._plain_wire = plain_wire
        self._encoder = Encoder()
        self._weeks: frozenset[int] = frozenset()  # that have a partition; it may have been dropped since

    def append(
        self,
        connection: Connection,
        log_id: str,
        records: Sequence[ReadRecord],
        end: int,
        set_aside: Sequence[SetAside],
        now_us: int,
    ) -> None:
        batch = _Batch(log_id, records, end, set_aside, now_us)
        staged = self._plain_wire
        try:
            while True:
                try:
                    self._make_weeks(connection, records)
                    with connection.transaction():
                        self._append(connection, batch, staged=staged)
                    return
                except errors.UniqueViolation:  # some are there already
                    if staged:
                        raise
                    staged = True
                except errors.CheckViolation:  # a partition was dropped that was there before
                    if not self._weeks:
                        raise
                    self._weeks = frozenset()
        except (UnicodeError, struct.error, OverflowError, *_BAD_DATA) as error:
            refused = refusal(records)
            if refused is None and len(records) == 1 and isinstance(error, _BAD_DATA):
                refused = RecordRefused(0, str(error).partition("\n")[0])
            if refused is None:
                raise
            raise refused from error

    def _make_weeks(self, connection: Connection, records: Sequence[ReadRecord]) -> None:
        """Each week that is written to, and the one after it: at its beginning it is there already."""
        if not self._partitioned:
            return
        weeks = {week_of(r.ts_us) for r in records if isinstance(r, Event) and 0 <= r.ts_us <= TS_MAX_US}
        if missing := {later for week in weeks for later in (week, week + 1)} - self._weeks:
            make_weeks(connection, missing)
            self._weeks |= missing

    def _append(self, connection: Connection, batch: "_Batch", *, staged: bool) -> None:
        position, number = _one(connection, _BEGIN, (batch.log_id,))
        if batch.end <= position:
            return  # it was stored, and whoever stored it was not told
        events: list[Event] = []
        for index, record in enumerate(batch.records):
            if isinstance(record, Event):
                events.append(record)
            elif isinstance(record, Meter):
                if not 0 <= record.events <= INTEGER_MAX or not 0 <= record.bytes <= INTEGER_MAX:
                    raise RecordRefused(index, "a count is out of range")
                batch.count(record.app_id, month_of(record.ts_us), record.events, record.bytes)
            elif isinstance(record, QuotaReached):
                _note_reached(connection, record)
            elif isinstance(record, AppForgotten):
                self._store(connection, batch, events, number, staged=staged)
                events = []
                batch.forget(record.app_id)
                forget_app(connection, record.app_id, number)
                (number,) = _one(connection, "SELECT nextval('polyglot.batches')")
            elif isinstance(record, Erasure):
                self._store(connection, batch, events, number, staged=staged)
                events = []
                begin_erasure(connection, record, number)
                (number,) = _one(connection, "SELECT nextval('polyglot.batches')")
        self._store(connection, batch, events, number, staged=staged)
        for refused in batch.set_aside:
            _set_aside(connection, batch, refused)
        counts, oldest = batch.counts, batch.oldest
        connection.execute(
            _FINISH,
            (
                [app_id for app_id, _ in counts],
                [month for _, month in counts],
                [events for events, _ in counts.values()],
                [size for _, size in counts.values()],
                list(batch.stored),
                [events for events, _ in batch.stored.values()],
                [size for _, size in batch.stored.values()],
                [app_id for app_id, _ in oldest],
                [kind for _, kind in oldest],
                [as_text(ts_us) for ts_us in oldest.values()],
                batch.end,
                batch.log_id,
            ),
        )

    def _store(
        self, connection: Connection, batch: "_Batch", events: Sequence[Event], number: int, *, staged: bool
    ) -> None:
        if not events:
            return
        if not staged:
            rows = self._encoder.rows(events, number)
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(rows.copy)
            batch.add(rows)
            return
        connection.execute("CREATE TEMP TABLE staged (LIKE polyglot.events) ON COMMIT DROP")
        if self._plain_wire:
            _insert_staged(connection, events, number)
        else:
            rows = self._encoder.rows(events, number)
            with connection.cursor() as cursor, cursor.copy(_COPY_STAGED) as copy:
                copy.write(rows.copy)
        new = 0
        for app_id, month, kind, count, size, oldest_us in connection.cursor(binary=True).execute(_TAKE_STAGED):
            new += count
            batch.store(app_id, month, count, int(size))
            batch.saw(app_id, kind, oldest_us)
        if new < len(events):
            _tell_conflicts(connection)
        connection.execute("DROP TABLE staged")

    def prune(self, connection: Connection, app_id: str, kind: str, before_us: int, limit: int) -> int:
        before = Micros(max(0, min(before_us, TS_MAX_US)))
        row = connection.execute(
            "SELECT oldest FROM polyglot.kinds WHERE app_id = %s AND kind = %s AND oldest < %s",
            (app_id, kind, before),
            binary=True,
        ).fetchone()
        if row is None:
            return 0
        oldest = Micros(row[0])
        deleted = _delete(
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


class _Batch:
    """One call of `append`, and what is to be counted at its end."""

    def __init__(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside], now_us: int
    ) -> None:
        self.log_id = log_id
        self.records = records
        self.end = end
        self.set_aside = set_aside
        self.now_us = now_us
        self.counts: Counts = {}
        self.stored: dict[str, tuple[int, int]] = {}  # events and their bytes, by app
        self.oldest: Oldest = {}

    def count(self, app_id: str, month: str, events: int, size: int) -> None:
        had = self.counts.get((app_id, month), (0, 0))
        self.counts[app_id, month] = (had[0] + events, had[1] + size)

    def store(self, app_id: str, month: str, events: int, size: int) -> None:
        self.count(app_id, month, events, size)
        had = self.stored.get(app_id, (0, 0))
        self.stored[app_id] = (had[0] + events, had[1] + size)

    def saw(self, app_id: str, kind: str, ts_us: int) -> None:
        self.oldest[app_id, kind] = min(ts_us, self.oldest.get((app_id, kind), ts_us))

    def add(self, rows: Rows) -> None:
        for (app_id, month), (events, size) in rows.counts.items():
            self.store(app_id, month, events, size)
        for (app_id, kind), ts_us in rows.oldest.items():
            self.saw(app_id, kind, ts_us)

    def forget(self, app_id: str) -> None:
        """What was counted of the app so far in this batch goes with it."""
        self.counts = {key: value for key, value in self.counts.items() if key[0] != app_id}


def _insert_staged(connection: Connection, events: Sequence[Event], number: int) -> None:
    rows: list[tuple[object, ...]] = []
    size = 0
    for event in events:
        if not 0 <= event.ts_us <= TS_MAX_US or not 0 <= event.seq <= INTEGER_MAX:
            raise OverflowError("seq or time")
        rows.append(
            (
                event.app_id, event.channel, event.epoch, event.seq, as_text(event.ts_us), event.id, event.type,
                event.user_id, event.data.decode(), number,
            )
        )  # fmt: skip
        size += len(event.data)
        if len(rows) >= INSERT_ROWS or size >= INSERT_BYTES:
            connection.execute(_INSERT_STAGED, [list(column) for column in zip(*rows, strict=True)])
            rows, size = [], 0
    if rows:
        connection.execute(_INSERT_STAGED, [list(column) for column in zip(*rows, strict=True)])


def _tell_conflicts(connection: Connection) -> None:
    for seq, kept, refused in connection.execute(
        "SELECT s.seq, e.id, s.id FROM staged s JOIN polyglot.events e USING (app_id, channel, epoch, seq) "
        "WHERE e.id <> s.id LIMIT 10"
    ):  # what the log must never do
        logger.error("seq %d of a channel was given to %s and to %s; the first is kept", seq, kept, refused)


def _set_aside(connection: Connection, batch: _Batch, refused: SetAside) -> None:
    (number,) = _one(
        connection,
        "INSERT INTO polyglot.set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s) "
        "RETURNING set_aside_no",
        (
            batch.log_id,
            batch.end,
            Micros(batch.now_us),
            refused.why.replace("\0", " "),
            record_text(refused.record),
        ),
    )
    connection.execute("DELETE FROM polyglot.set_aside WHERE set_aside_no <= %s", (number - SET_ASIDE_MAX,))


def _note_reached(connection: Connection, record: QuotaReached) -> None:
    connection.execute(
        "INSERT INTO polyglot.quotas_reached VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (record.app_id, record.month, record.quota, record.percent, Micros(record.ts_us)),
    )


def _delete(connection: Connection, which: str, values: Mapping[str, object]) -> int:
    """Delete the events that this query names by their key, and count them as stored no more; how many."""
    (deleted,) = _one(
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


def _one(connection: Connection, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> tuple[int, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


# --- forgetting ---


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
    deleted = _delete(
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


# --- reading ---


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
    (size, set_aside) = _one(
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
