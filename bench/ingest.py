"""The way from the log into the store, against what the database alone can take.

Promised: log to PostgreSQL at least 60 % of the rows a second of one bare binary COPY of the same rows into the same
table with the same indexes; log to SQLite at least 70 % of a bare `executemany` in one transaction per batch, into
the same table. The log's side is all of it: reading, decoding, counting, and a transaction per batch that moves the
cursor. Rounds of both kinds take turns, and each begins with an empty table.

    python -m bench ingest [--events N] [--rounds N] [--only postgresql|sqlite] [--url URL]

Without `--url` a PostgreSQL of the tests' package is started, which is durable here; with it the schema `polyglot` of
that database is emptied.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path
from statistics import median

import psycopg
import trio

from bench.log_segments import DATA
from bench.postgres_server import durable_postgres
from polyglotctl.bench.cpu_time import busy, others_busy
from polyglotd.log.interface import LogSettings
from polyglotd.log.native_log import open_native_segments
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import Event, now_us
from polyglotd.plane.native.library import NoDriver, load_library
from polyglotd.processor.feed import Feed
from polyglotd.processor.log_stage import BATCH_RECORDS_MAX, LogStage
from polyglotd.store.interface import EventStore
from polyglotd.store.postgres.events import open_postgres_events
from polyglotd.store.postgres.partitions import make_weeks, week_of
from polyglotd.store.postgres.pool import connect
from polyglotd.store.postgres.rows import COLUMNS, Encoder
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.files import EVENTS, migrate
from polyglotd.store.sqlite.files import connect as connect_sqlite

EVENTS_SHORT, EVENTS_LONG = 100_000, 1_000_000
ROUNDS = 5
CHANNELS = 200
USERS = 1_000
POSTGRES_MIN, SQLITE_MIN = 0.60, 0.70
CONSIDERED_BUSY = 0.15  # cores: above, the run says nothing

Measure = Callable[[], Awaitable[float]]
"""Seconds."""


def run(*, long: bool) -> bool:
    """Measure, print, and say whether both promises hold."""
    return _run(EVENTS_LONG if long else EVENTS_SHORT, ROUNDS, ("postgresql", "sqlite"), None)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench ingest", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS_SHORT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=["postgresql", "sqlite"])
    parser.add_argument("--url", help="a PostgreSQL to use")
    given = parser.parse_args(arguments)
    only = (given.only,) if given.only else ("postgresql", "sqlite")
    return 0 if _run(given.events, given.rounds, only, given.url) else 1


def _run(events: int, rounds: int, only: Sequence[str], url: str | None) -> bool:
    kept = True
    with tempfile.TemporaryDirectory(prefix="plg-bench") as directory:
        made = trio.run(_fill, Path(directory) / "log", events)
        print(f"ingest: {events:,} events of {CHANNELS} channels, {len(DATA)} bytes of data each, {rounds} rounds")
        if "postgresql" in only:
            with durable_postgres() if url is None else given_postgres(url) as (server, pids):
                kept &= trio.run(_postgres, Path(directory), server, made, rounds, pids)
        if "sqlite" in only:
            kept &= trio.run(_sqlite, Path(directory), made, rounds)
    return kept


@contextmanager
def given_postgres(url: str) -> Iterator[tuple[str, list[int]]]:
    yield url, []


async def _fill(directory: Path, events: int) -> list[Event]:
    async with open_segments(directory, _settings()) as log:
        made = []
        for first in range(0, events, 100):
            batch = _batch(log, first)
            log.append(batch)
            made += batch
        return made


def _settings() -> LogSettings:
    return LogSettings(sync="os", bytes_max=1 << 40)


def _batch(log: SegmentLog, first: int) -> list[Event]:
    """A hundred events of one app, one each of a hundred channels."""
    ts_us = now_us()
    half, turn = first // 100 % 2, first // 200
    return [
        Event(
            f"evt_{first + n:026d}",
            "chat-app",
            channel := f"room:bench-{half * 100 + n}",
            log.head("chat-app", channel).epoch,
            turn + 1,
            "message",
            DATA,
            f"user-{(first * 7 + n) % USERS}",
            ts_us + n,
        )
        for n in range(100)
    ]


async def _compare(
    what: str, events: int, rounds: int, bare: Measure, ours: Measure, least: float, pids: list[int]
) -> bool:
    before = busy(pids)
    ratios, bare_rates, our_rates = [], [], []
    for number in range(rounds):
        first, second = (bare, ours) if number % 2 else (ours, bare)
        took = {first: await first()}
        took[second] = await second()
        bare_rates.append(events / took[bare])
        our_rates.append(events / took[ours])
        ratios.append(took[bare] / took[ours])
    others = others_busy(before, busy(pids))
    print(f"  {what}: {median(our_rates):10,.0f} rows/s, bare {median(bare_rates):10,.0f}")
    print(f"    ratio {median(ratios):.2f} (at least {least:.2f}); rounds {' '.join(f'{r:.2f}' for r in ratios)}")
    print(
        f"    others kept {others:.2f} cores busy"
        + (": too many to say anything" if others > CONSIDERED_BUSY else "")
    )
    return median(ratios) >= least


def _open_log(directory: Path) -> AbstractAsyncContextManager[SegmentLog]:
    """As the daemon opens it: with the library, where it is there."""
    try:
        library = load_library()
    except NoDriver:
        return open_segments(directory, _settings())
    return open_native_segments(directory, _settings(), library.cdll)


async def _drain(directory: Path, store: EventStore) -> float:
    """Seconds until all of the log is in the store, as the processor brings it there."""
    async with _open_log(directory) as log:
        reader = Feed().reader(log.reader("bench", 0))
        stage = LogStage("store", log.id, reader, store)
        begin = time.perf_counter()
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.run)
            while stage.position < log.end:
                await trio.sleep(0.01)
            took = time.perf_counter() - begin
            nursery.cancel_scope.cancel()
        return took


# --- PostgreSQL ---


async def _postgres(directory: Path, url: str, made: list[Event], rounds: int, pids: list[int]) -> bool:
    stream = b"".join(Encoder().rows(made, 1).stream())
    async with open_postgres_events(url) as store:
        with connect(url) as admin:
            make_weeks(admin, {week_of(event.ts_us) for event in made})

            def empty() -> None:
                admin.execute("TRUNCATE polyglot.events, polyglot.cursors, polyglot.usage, polyglot.kinds")
                admin.execute("CHECKPOINT")

            async def bare() -> float:
                await trio.to_thread.run_sync(empty)
                return await trio.to_thread.run_sync(_copy, admin, stream)

            async def ours() -> float:
                await trio.to_thread.run_sync(empty)
                took = await _drain(directory / "log", store)
                row = admin.execute("SELECT count(*) FROM polyglot.events").fetchone()
                assert row == (len(made),), row
                return took

            return await _compare("log to PostgreSQL", len(made), rounds, bare, ours, POSTGRES_MIN, pids)


def _copy(connection: "psycopg.Connection[tuple[object, ...]]", stream: bytes) -> float:
    into = f"COPY polyglot.events ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
    begin = time.perf_counter()
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(into.encode()) as copy:
        copy.write(stream)
    return time.perf_counter() - begin


# --- SQLite ---


async def _sqlite(directory: Path, made: list[Event], rounds: int) -> bool:
    numbers = {channel: number for number, channel in enumerate(sorted({event.channel for event in made}), 1)}
    rows = [(numbers[e.channel], e.seq, 1, e.ts_us, e.id, e.type, e.user_id, e.data.decode()) for e in made]
    count = 0

    def fresh() -> Path:
        nonlocal count
        count += 1
        return directory / f"events{count}.db"

    async def bare() -> float:
        path = fresh()
        migrate(path, EVENTS)
        took = await trio.to_thread.run_sync(_executemany, path, numbers, made[0].epoch, rows)
        path.unlink()
        return took

    async def ours() -> float:
        path = fresh()
        async with open_sqlite_events(path) as store:
            took = await _drain(directory / "log", store)
        with closing(sqlite3.connect(path)) as check:
            assert check.execute("SELECT count(*) FROM events").fetchone() == (len(made),)
        path.unlink()
        return took

    return await _compare("log to SQLite", len(made), rounds, bare, ours, SQLITE_MIN, [])


def _executemany(path: Path, numbers: dict[str, int], epoch: str, rows: list[tuple[object, ...]]) -> float:
    with closing(connect_sqlite(path)) as connection:
        connection.execute("INSERT INTO kinds VALUES (1, 'chat-app', 'room')")
        connection.executemany(
            "INSERT INTO channels VALUES (?, 1, 'chat-app', ?, ?)",
            [(number, channel, epoch) for channel, number in numbers.items()],
        )
        begin = time.perf_counter()
        for first in range(0, len(rows), BATCH_RECORDS_MAX):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO events (channel_no, seq, kind_no, ts_us, id, type, user_id, data) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows[first : first + BATCH_RECORDS_MAX],
            )
            connection.execute("COMMIT")
        return time.perf_counter() - begin
