"""The embedded event store: one SQLite file, `DATA/events.db`.

A row is an event that a person can read in `sqlite3`: `data` is the publisher's own JSON text. The unique index
(app, channel, epoch, seq) serves a channel's history and makes a repeated batch change nothing. `place` tells what
was there when an app was forgotten from what came after. A batch, the counts
of the month that it adds to and the log's cursor move in one transaction, so a crash between them can't be seen.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from polyglotd.log.interface import AppForgotten, Meter, ReadRecord
from polyglotd.model import Event, encode_event, kind_of
from polyglotd.store.interface import EventPage, HistoryQuery, RecordRefused, SetAside, StoreStats, Usage
from polyglotd.store.sqlite_database import Database, open_database

MIGRATIONS = (
    """
    CREATE TABLE events (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        app_id TEXT NOT NULL, channel TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
        id TEXT NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL, user_id TEXT, ts_us INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX events_of_channel ON events (app_id, channel, epoch, seq);
    CREATE INDEX events_by_time ON events (app_id, ts_us);
    CREATE TABLE kinds (app_id TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (app_id, kind)) WITHOUT ROWID;
    CREATE TABLE cursors (log_id TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE usage (
        app_id TEXT NOT NULL, month TEXT NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (app_id, month)
    ) WITHOUT ROWID;
    CREATE TABLE set_aside (record TEXT NOT NULL, why TEXT NOT NULL, at_us INTEGER NOT NULL);
    CREATE TABLE forgotten (app_id TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
    """,
)

_INSERT = """
    INSERT INTO events (app_id, channel, epoch, seq, id, type, data, user_id, ts_us)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_COLUMNS = "id, app_id, channel, epoch, seq, type, data, user_id, ts_us"


@asynccontextmanager
async def open_sqlite_events(path: Path) -> AsyncIterator["SqliteEvents"]:
    """Raises `StoreFault` where the file can't be used."""
    async with open_database(path, MIGRATIONS) as database:
        yield SqliteEvents(database)


class SqliteEvents:
    """An `EventStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        await self._database.write(lambda connection: _append(connection, log_id, records, end, set_aside))

    async def cursor(self, log_id: str) -> int:
        return await self._database.read(lambda connection: _cursor(connection, log_id))

    async def history(self, query: HistoryQuery) -> EventPage:
        return await self._database.read(lambda connection: _history(connection, query))

    async def usage(self, app_id: str, month: str) -> Usage:
        def read(connection: sqlite3.Connection) -> Usage:
            row = connection.execute(
                "SELECT events, bytes FROM usage WHERE app_id = ? AND month = ?", (app_id, month)
            ).fetchone()
            return Usage(*row) if row else Usage()

        return await self._database.read(read)

    async def prune(self, app_id: str, channel_prefix: str, before_us: int, limit: int) -> int:
        def write(connection: sqlite3.Connection) -> int:
            deleted = connection.execute(
                "DELETE FROM events WHERE place IN (SELECT place FROM events INDEXED BY events_by_time"
                " WHERE app_id = ? AND ts_us < ? AND substr(channel, 1, ?) = ? ORDER BY ts_us LIMIT ?)",
                (app_id, before_us, len(channel_prefix), channel_prefix, limit),
            )
            return deleted.rowcount

        return await self._database.write(write)

    async def apps_and_kinds(self) -> Collection[tuple[str, str]]:
        def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            return connection.execute("SELECT app_id, kind FROM kinds").fetchall()

        return await self._database.read(read)

    async def forget_app(self, app_id: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            for table in ("events", "kinds", "usage"):
                connection.execute(f"DELETE FROM {table} WHERE app_id = ?", (app_id,))

        await self._database.write(write)

    async def forgotten_apps(self) -> Collection[str]:
        def read(connection: sqlite3.Connection) -> list[str]:
            return [app_id for (app_id,) in connection.execute("SELECT app_id FROM forgotten")]

        return await self._database.read(read)

    async def erase_forgotten(self, app_id: str, limit: int) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT place FROM forgotten WHERE app_id = ?", (app_id,)).fetchone()
            if row is None:
                return True
            deleted = connection.execute(
                "DELETE FROM events WHERE place IN"
                " (SELECT place FROM events WHERE app_id = ? AND place <= ? LIMIT ?)",
                (app_id, row[0], limit),
            )
            if deleted.rowcount:
                return False
            connection.execute("DELETE FROM forgotten WHERE app_id = ?", (app_id,))
            return True

        return await self._database.write(write)

    async def stats(self) -> StoreStats:
        def read(connection: sqlite3.Connection) -> int:
            (count,) = connection.execute("SELECT count(*) FROM set_aside").fetchone()
            return int(count)

        file_bytes, wal_bytes = self._database.file_sizes()
        return StoreStats(file_bytes=file_bytes, wal_bytes=wal_bytes, set_aside=await self._database.read(read))


def _append(
    connection: sqlite3.Connection,
    log_id: str,
    records: Sequence[ReadRecord],
    end: int,
    set_aside: Sequence[SetAside],
) -> None:
    if end <= _cursor(connection, log_id):
        return  # the whole batch was stored before
    events: Counter[tuple[str, str]] = Counter()  # by app and month
    sizes: Counter[tuple[str, str]] = Counter()
    kinds: set[tuple[str, str]] = set()
    for index, record in enumerate(records):
        match record:
            case Event():
                if _insert(connection, index, record):
                    month = (record.app_id, _month(record.ts_us))
                    events[month] += 1
                    sizes[month] += len(record.data)
                    kinds.add((record.app_id, kind_of(record.channel)))
            case Meter():
                month = (record.app_id, _month(record.ts_us))
                events[month] += record.events
                sizes[month] += record.bytes
            case AppForgotten():
                for counts in (events, sizes):  # of before: they are not to be counted
                    for month in [month for month in counts if month[0] == record.app_id]:
                        del counts[month]
                kinds = {kind for kind in kinds if kind[0] != record.app_id}
                _forget(connection, record.app_id)
    connection.executemany(
        "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " events = events + excluded.events, bytes = bytes + excluded.bytes",
        [(app_id, month, count, sizes[app_id, month]) for (app_id, month), count in events.items()],
    )
    connection.executemany("INSERT INTO kinds VALUES (?, ?) ON CONFLICT DO NOTHING", sorted(kinds))
    connection.executemany(
        "INSERT INTO set_aside VALUES (?, ?, ?)",
        [(repr(item.record), item.why, time.time_ns() // 1000) for item in set_aside],
    )
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?) ON CONFLICT DO UPDATE SET position = excluded.position", (log_id, end)
    )


def _insert(connection: sqlite3.Connection, index: int, event: Event) -> bool:
    """Whether the event is new. A row at a time, so that a record which can't be stored is known by its index."""
    try:
        row = (
            event.app_id, event.channel, event.epoch, event.seq,
            event.id, event.type, event.data.decode(), event.user_id, event.ts_us,
        )  # fmt: skip
        return connection.execute(_INSERT, row).rowcount == 1
    except (sqlite3.IntegrityError, sqlite3.DataError, UnicodeError, OverflowError) as error:
        raise RecordRefused(index, str(error)) from error


def _forget(connection: sqlite3.Connection, app_id: str) -> None:
    (place,) = connection.execute("SELECT coalesce(max(place), 0) FROM events").fetchone()
    connection.execute(
        "INSERT INTO forgotten VALUES (?, ?) ON CONFLICT DO UPDATE SET place = excluded.place", (app_id, place)
    )
    for table in ("kinds", "usage"):
        connection.execute(f"DELETE FROM {table} WHERE app_id = ?", (app_id,))


def _cursor(connection: sqlite3.Connection, log_id: str) -> int:
    row = connection.execute("SELECT position FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
    return int(row[0]) if row else 0


def _history(connection: sqlite3.Connection, query: HistoryQuery) -> EventPage:
    where = ["app_id = ?", "channel = ?", "epoch = ?"]
    values: list[object] = [query.app_id, query.channel, query.epoch]
    for condition, value in (
        ("seq > ?", query.after),
        ("seq < ?", query.before),
        ("type = ?", query.type),
        ("ts_us >= ?", query.from_us),
        ("ts_us < ?", query.to_us),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    order = "ASC" if query.after is not None else "DESC"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events INDEXED BY events_of_channel"
        f" WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT ?",
        (*values, query.limit + 1),
    )
    events: list[Event] = []
    size = 0
    more = False
    for id_, app_id, channel, epoch, seq, type_, data, user_id, ts_us in rows:
        event = Event(id_, app_id, channel, epoch, seq, type_, data.encode(), user_id, ts_us)
        size += len(encode_event(event))
        if len(events) >= query.limit or (events and size > query.bytes_max):
            more = True
            break
        events.append(event)
    if order == "DESC":
        events.reverse()
    return EventPage(events, more=more)


def _month(ts_us: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(ts_us // 1_000_000))
