"""The event store's SQL that writes what the log brings, in one transaction a batch.

Called by `events` in worker threads. Blocking; errors are psycopg's own, and `RecordRefused`.
"""

import logging
import struct
from collections.abc import Sequence

from psycopg import errors

from polyglotd.log.interface import AppForgotten, Erasure, Meter, QuotaReached, ReadRecord
from polyglotd.model import Event
from polyglotd.store.interface import RecordRefused, SetAside
from polyglotd.store.postgres.erasures import begin_erasure
from polyglotd.store.postgres.event_deletes import forget_app
from polyglotd.store.postgres.partitions import make_weeks, week_of
from polyglotd.store.postgres.pool import Connection, Micros, one_row
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
        times = [r.ts_us for r in records if isinstance(r, Event)]
        if times and week_of(first := min(times)) == week_of(max(times)):  # nearly always
            times = [first]
        weeks = {week_of(ts_us) for ts_us in times if 0 <= ts_us <= TS_MAX_US}
        if missing := {later for week in weeks for later in (week, week + 1)} - self._weeks:
            make_weeks(connection, missing)
            self._weeks |= missing

    def _append(self, connection: Connection, batch: "_Batch", *, staged: bool) -> None:
        position, number = one_row(connection, _BEGIN, (batch.log_id,))
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
                (number,) = one_row(connection, "SELECT nextval('polyglot.batches')")
            elif isinstance(record, Erasure):
                self._store(connection, batch, events, number, staged=staged)
                events = []
                begin_erasure(connection, record, number)
                (number,) = one_row(connection, "SELECT nextval('polyglot.batches')")
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
            batch.add(self._copy(connection, _COPY, events, number))
            return
        connection.execute("CREATE TEMP TABLE staged (LIKE polyglot.events) ON COMMIT DROP")
        if self._plain_wire:
            _insert_staged(connection, events, number)
        else:
            self._copy(connection, _COPY_STAGED, events, number)
        new = 0
        for app_id, month, kind, count, size, oldest_us in connection.cursor(binary=True).execute(_TAKE_STAGED):
            new += count
            batch.store(app_id, month, count, int(size))
            batch.saw(app_id, kind, oldest_us)
        if new < len(events):
            _tell_conflicts(connection)
        connection.execute("DROP TABLE staged")

    def _copy(self, connection: Connection, statement: str, events: Sequence[Event], number: int) -> Rows:
        rows = self._encoder.rows(events, number)
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for piece in rows.stream():
                copy.write(piece)
        return rows


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
    (number,) = one_row(
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
