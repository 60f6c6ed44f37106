"""Move what a data directory's SQLite databases hold into a PostgreSQL database: registry, events, usage, cursors,
the webhooks' queue, analytics.

Called by `upkeep` for `polyglotd migrate --from`, while no daemon runs on the directory. Events go in steps of a
transaction each, which also keeps how far they came: a move that was interrupted goes on there. All the rest follows
in one last transaction, the logs' cursors with it; until that is through, `refuse_unfinished` keeps daemons
from the database. The directory is only read, and its event log stays where it is. Blocking.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from polyglotd.model import Event, Unavailable
from polyglotd.store.interface import StoreFault
from polyglotd.store.moved_tables import REGISTRY_TABLES, ROLLUP_TABLES, STORE_TABLES, WEBHOOK_TABLES, Moved
from polyglotd.store.postgres.faults import translate
from polyglotd.store.postgres.partitions import make_weeks, week_of
from polyglotd.store.postgres.pool import Connection, Micros, connect, where
from polyglotd.store.postgres.rows import COLUMNS, Encoder, as_text, refusal
from polyglotd.store.postgres.schema import Schema, migrate
from polyglotd.store.sqlite import files

STEP_ROWS, STEP_BYTES = 5_000, 8 << 20
TELL_EVERY_ROWS = 100_000
_LOCK_KEY = 0x706F6C796D6F76  # "polymov": one move at a time

Tell = Callable[[str], None]
"""Takes a line about how it goes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data directory's databases; one that is not there has nothing in it."""

    directory: Path
    registry: Path
    events: Path
    webhooks: Path
    rollups: Path


def refuse_unfinished(connection: Connection) -> None:
    """Raises `StoreFault` where a directory is only half moved into this database."""
    row = connection.execute("SELECT source FROM polyglot.moves WHERE finished IS NULL").fetchone()
    if row is not None:
        raise StoreFault(
            f"{row[0]} is only half moved into this database: run `polyglotd migrate --from {row[0]}` again"
        )


def has_something(connection: Connection) -> bool:
    """Whether anybody used the database yet."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM polyglot.apps) OR EXISTS (SELECT FROM polyglot.cursors) "
        "OR EXISTS (SELECT FROM polyglot.events)"
    ).fetchone()
    return row is None or bool(row[0])


def move(source: Source, url: str, tell: Tell) -> str:
    """Bring the database to this release's schema and move everything into it, or what is missing yet; what was done.

    Raises `StoreFault`: where the database holds something else already, or one of the two can't be read or written.
    """
    if not source.registry.exists() and not source.events.exists():
        raise StoreFault(f"{source.directory} has neither {source.registry.name} nor {source.events.name}")
    schema = migrate(url)
    name = str(source.directory.resolve())
    place = where(url)
    with ExitStack() as opened, _faults(place):
        target = opened.enter_context(connect(url))
        row = target.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)).fetchone()
        if row is None or not row[0]:
            raise StoreFault(f"another process is moving a data directory into {place}")
        if (done := _begin(target, name, place)) is not None:
            return f"{name} was moved into {place} already, at {done}"
        events = opened.enter_context(_reading(source.events, files.EVENTS))
        if events is not None:
            _refuse_erasures(events, source.events)
            _Events(target, events, schema, name, tell).move()
        webhooks = opened.enter_context(_reading(source.webhooks, files.WEBHOOKS))
        rollups = opened.enter_context(_reading(source.rollups, files.ROLLUPS))
        registry = opened.enter_context(_reading(source.registry, files.REGISTRY))
        with target.transaction():
            for database, tables in (
                (registry, REGISTRY_TABLES),
                (webhooks, WEBHOOK_TABLES),
                (rollups, ROLLUP_TABLES),
                (events, STORE_TABLES),
            ):
                if database is not None:
                    for table in tables:
                        _copy_table(target, database, table)
            row = target.execute(
                "UPDATE polyglot.moves SET finished = now() WHERE source = %s RETURNING events, "
                "(SELECT count(*) FROM polyglot.apps)",
                (name,),
            ).fetchone()
        assert row is not None
    return f"{name}: {row[1]} apps and {row[0]} events are in {place}"


def _begin(target: Connection, name: str, place: str) -> str | None:
    """When it was finished, if it was."""
    with target.transaction():
        moves = target.execute(
            "SELECT source, to_char(finished AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') FROM polyglot.moves"
        ).fetchall()
        for source, finished in moves:
            if source == name:
                return None if finished is None else str(finished)
        for source, finished in moves:
            if finished is None:
                raise StoreFault(f"{source} is only half moved into {place}: run that move again, to its end")
        if has_something(target):
            raise StoreFault(
                f"{place} has apps or events of its own: a data directory is moved into an empty database only. "
                "Create another one, and name it in [store] url"
            )
        target.execute("INSERT INTO polyglot.moves (source, event_no, events) VALUES (%s, 0, 0)", (name,))
    return None


class _Events:
    """The largest table, in steps. Events of apps that were forgotten stay behind."""

    def __init__(self, target: Connection, source: sqlite3.Connection, schema: Schema, name: str, tell: Tell) -> None:
        self._target = target
        self._source = source
        self._partitioned = schema.variant == "plain"
        self._name = name
        self._tell = tell
        self._encoder = Encoder()

    def move(self) -> None:
        row = self._target.execute(
            "SELECT event_no, events FROM polyglot.moves WHERE source = %s", (self._name,)
        ).fetchone()
        assert row is not None
        after, moved = row
        (total,) = self._source.execute("SELECT count(*) FROM events").fetchone()
        if after:
            self._tell(f"going on after {moved} of {total} events")
        told = moved
        while rows := self._step(after):
            after = rows[-1][0]
            events = [
                Event(id_, app_id, channel, epoch, seq, type_, data.encode(), user_id, ts_us)
                for _, app_id, channel, epoch, seq, ts_us, id_, type_, user_id, data in rows
            ]
            moved += self._put(events, after)
            if moved - told >= TELL_EVERY_ROWS:
                told = moved
                self._tell(f"{moved} of {total} events")

    def _step(self, after: int) -> list[tuple[Any, ...]]:
        cursor = self._source.execute(
            "SELECT e.event_no, c.app_id, c.channel, c.epoch, e.seq, e.ts_us, e.id, e.type, e.user_id, e.data "
            "FROM events AS e CROSS JOIN channels AS c USING (channel_no) LEFT JOIN forgotten AS f USING (app_id) "
            "WHERE e.event_no > ? AND (f.channel_no_max IS NULL OR c.channel_no > f.channel_no_max) "
            "ORDER BY e.event_no LIMIT ?",
            (after, STEP_ROWS),
        )
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in cursor:
            rows.append(row)
            size += len(row[9])
            if size >= STEP_BYTES:
                break
        cursor.close()
        return rows

    def _put(self, events: list[Event], event_no: int) -> int:
        refused: list[tuple[Event, str]] = []
        while True:
            try:
                self._put_all(events, refused, event_no)
                return len(events)
            except (psycopg.DataError, UnicodeError, struct.error, OverflowError):
                found = refusal(events)
                if found is None:
                    raise
                refused.append((events.pop(found.index), found.why))

    def _put_all(self, events: Sequence[Event], refused: Sequence[tuple[Event, str]], event_no: int) -> None:
        if self._partitioned:
            make_weeks(self._target, {week_of(event.ts_us) for event in events})
        with self._target.transaction():
            row = self._target.execute("SELECT nextval('polyglot.batches')").fetchone()
            assert row is not None
            if events:
                rows = self._encoder.rows(events, row[0])
                with (
                    self._target.cursor() as cursor,
                    cursor.copy(f"COPY polyglot.events ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy,
                ):
                    for piece in rows.stream():
                        copy.write(piece)
                counts, oldest = rows.counts, rows.oldest
                self._target.execute(
                    "INSERT INTO polyglot.kinds AS k SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) "
                    "ON CONFLICT (app_id, kind) DO UPDATE SET oldest = least(k.oldest, excluded.oldest)",
                    (
                        [app_id for app_id, _ in oldest],
                        [kind for _, kind in oldest],
                        [as_text(ts_us) for ts_us in oldest.values()],
                    ),
                )
                self._target.execute(
                    "INSERT INTO polyglot.stored AS s SELECT app_id, sum(events), sum(bytes) "
                    "FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS c (app_id, events, bytes) "
                    "GROUP BY app_id ON CONFLICT (app_id) DO UPDATE "
                    "SET events = s.events + excluded.events, bytes = s.bytes + excluded.bytes",
                    (
                        [app_id for app_id, _ in counts],
                        [count for count, _ in counts.values()],
                        [size for _, size in counts.values()],
                    ),
                )
            for event, why in refused:
                self._target.execute(
                    "INSERT INTO polyglot.set_aside (log_id, batch_end, at, why, record) "
                    "VALUES ('', 0, now(), %s, %s)",
                    (why, repr(event).replace("\0", "\\0")),
                )
            self._target.execute(
                "UPDATE polyglot.moves SET event_no = %s, events = events + %s WHERE source = %s",
                (event_no, len(events), self._name),
            )


def _refuse_erasures(events: sqlite3.Connection, path: Path) -> None:
    """What is to be erased must not come to life again."""
    if events.execute("SELECT 1 FROM sqlite_master WHERE name = 'erasures'").fetchone() is None:
        return
    (waiting,) = events.execute("SELECT count(*) FROM erasures WHERE NOT finished").fetchone()
    if waiting:
        raise StoreFault(
            f"{path}: {waiting} erasures are under way. Start the daemon on this store once more, wait until "
            "they are through, stop it, and move then"
        )


# --- tables that go as a whole ---


def _copy_table(target: Connection, source: sqlite3.Connection, table: Moved) -> None:
    with target.cursor() as cursor:
        rows = source.execute(table.select)
        try:
            while chunk := rows.fetchmany(STEP_ROWS):
                cursor.executemany(table.insert, [_values(table.moments, row) for row in chunk])
        except psycopg.DataError as error:
            raise StoreFault(
                f"what SQLite has for `{table.insert.partition('(')[0].strip()}` can't be stored: {error}. Change it "
                "there (a NUL character in a name?), and run the move again"
            ) from error
    if table.after:
        target.execute(table.after)


def _values(moments: Sequence[int], row: Sequence[Any]) -> list[object]:
    values = list(row)
    for index in moments:
        if values[index] is not None:
            values[index] = Micros(values[index])
    return values


@contextmanager
def _reading(path: Path, schema: files.Schema) -> Iterator[sqlite3.Connection | None]:
    if not path.exists():
        yield None
        return
    files.migrate(path, schema)
    with files.sqlite_errors(path), closing(files.connect(path)) as connection:
        yield connection


@contextmanager
def _faults(place: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translate(place, error) from error
    except Unavailable as error:
        raise StoreFault(f"{error.message}. What was moved is kept: run the move again") from error
