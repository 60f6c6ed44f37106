"""The weeks that the table of events is made of, on a PostgreSQL without TimescaleDB.

Called by `event_writes` before it writes, and by retention. A partition is made beside the table and then attached,
which holds up nobody who reads or writes the others.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from polyglotd.store.postgres.pool import Connection, table_exists

WEEK_US = 7 * 86_400 * 1_000_000
_MONDAY_US = 4 * 86_400 * 1_000_000  # 1970-01-05
_LOCK_KEY = 0x706F6C79706172  # one makes or drops partitions at a time


def week_of(ts_us: int) -> int:
    """Weeks since the Monday after 1970 began."""
    return (ts_us - _MONDAY_US) // WEEK_US


def make_weeks(connection: Connection, weeks: Iterable[int]) -> None:
    """Make what is missing, each in a transaction of its own."""
    for week in sorted(weeks):
        name = _name(week)
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            if table_exists(connection, name):
                continue
            connection.execute(
                f"CREATE TABLE polyglot.{name} (LIKE polyglot.events INCLUDING DEFAULTS INCLUDING INDEXES)".encode()
            )
            connection.execute(
                f"ALTER TABLE polyglot.events ATTACH PARTITION polyglot.{name} "
                f"FOR VALUES FROM ('{_monday(week)}') TO ('{_monday(week + 1)}')".encode()
            )


def drop_empty_weeks(connection: Connection, before_us: int) -> int:
    """Drop partitions that end before this time and hold nothing any more; how many."""
    dropped = 0
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)).fetchone()
    if row is None or not row[0]:
        return 0
    try:
        for (name,) in connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = 'polyglot.events'::regclass AND c.relname < %s ORDER BY c.relname",
            (_name(week_of(before_us)),),
        ).fetchall():
            row = connection.execute(f"SELECT EXISTS (SELECT FROM polyglot.{name})".encode()).fetchone()
            if row is None or row[0]:
                continue
            connection.execute(f"ALTER TABLE polyglot.events DETACH PARTITION polyglot.{name} CONCURRENTLY".encode())
            # Between the look and the detaching somebody may have written to it.
            row = connection.execute(f"SELECT EXISTS (SELECT FROM polyglot.{name})".encode()).fetchone()
            if row is not None and not row[0]:
                connection.execute(f"DROP TABLE polyglot.{name}".encode())
                dropped += 1
            else:
                first = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
                connection.execute(
                    f"ALTER TABLE polyglot.events ATTACH PARTITION polyglot.{name} "
                    f"FOR VALUES FROM ('{first:%Y-%m-%d}') TO ('{first + timedelta(days=7):%Y-%m-%d}')".encode()
                )
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))
    return dropped


def _monday(week: int) -> str:
    return f"{datetime(1970, 1, 5, tzinfo=UTC) + timedelta(weeks=week):%Y-%m-%d}"


def _name(week: int) -> str:
    return f"events_{_monday(week).replace('-', '')}"
