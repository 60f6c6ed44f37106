"""How many bytes an event takes, in the log and in each store, with indexes: for docs/scale.md.

    python -m bench.row_sizes --events 200000 --postgres URL --timescaledb URL

Real inserts through the stores' own code, into a new SQLite file, an empty PostgreSQL and an empty TimescaleDB (each
given by its URL; with `--plain-wire` for one that knows no COPY). Events are of 400 channels of 4 apps, with 2,000
users, spread over a week, and hold sentences of words that repeat as those of a chat do.
"""

import argparse
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import trio

from polyglotd.log.interface import LogSettings
from polyglotd.log.segments import open_segments
from polyglotd.model import Event
from polyglotd.processor.rollups import RollupSink
from polyglotd.store.analytics import RollupSettings
from polyglotd.store.interface import EventStore
from polyglotd.store.postgres.events import open_postgres_events
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.rollups import open_sqlite_rollups

APPS, CHANNELS, USERS = 4, 400, 2_000
BEGIN_US, SPAN_US = 1_793_577_600_000_000, 7 * 86_400_000_000  # the week of 2026-11-02
BATCH = 1_000
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LOG_ID = "log_sizes"


def events(count: int) -> Iterator[list[Event]]:
    """In batches, in the order of time; the same ones every time."""
    chance = random.Random(5)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(2_000)]
    seqs = [0] * CHANNELS
    batch: list[Event] = []
    for number in range(count):
        ts_us = BEGIN_US + SPAN_US * number // count
        channel = min(int(chance.expovariate(8 / CHANNELS)), CHANNELS - 1)  # a few are busy, many are not
        seqs[channel] += 1
        text = " ".join(chance.choices(words, k=chance.randint(3, 16)))
        batch.append(
            Event(
                id="evt_" + _base32(ts_us // 1_000, 10) + _base32(chance.getrandbits(80), 16),
                app_id=f"app-{channel % APPS}",
                channel=f"room:{channel:04d}",
                epoch=f"epoch{channel:05d}",
                seq=seqs[channel],
                type="message",
                data=b'{"text":"%b"}' % text.encode(),
                user_id=f"user{chance.randrange(USERS):05d}",
                ts_us=ts_us,
            )
        )
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _base32(value: int, digits: int) -> str:
    return "".join(ALPHABET[value >> 5 * place & 31] for place in reversed(range(digits)))


def _at_the_end() -> int:
    return BEGIN_US + SPAN_US


def _tell(what: str, size: int, count: int) -> None:
    print(f"{what:44s} {size / count:8.1f} bytes/event   {size / 2**20:8.1f} MiB")


async def _fill(store: EventStore, count: int) -> None:
    end = 0
    for batch in events(count):
        end += len(batch)
        await store.append(LOG_ID, batch, end)


async def _log(directory: Path, count: int) -> None:
    async with open_segments(
        directory / "log", LogSettings(sync="os", sync_interval_ms=100, bytes_max=1 << 34)
    ) as log:
        before = log.end
        for batch in events(count):
            log.append(batch)
            await trio.lowlevel.checkpoint()
        _tell("event log", log.end - before, count)


async def _sqlite(directory: Path, count: int) -> None:
    path = directory / "events.db"
    async with open_sqlite_events(path) as store:
        await _fill(store, count)
    _tell("SQLite, events.db with its indexes", path.stat().st_size, count)


async def _rollups(directory: Path, count: int) -> None:
    path = directory / "rollups.db"
    async with open_sqlite_rollups(path, RollupSettings(), clock=_at_the_end) as rollups:
        sink = RollupSink(rollups, clock=_at_the_end)
        end = 0
        for batch in events(count):
            end += len(batch)
            await sink.append(LOG_ID, batch, end)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("app_rollups", "channel_rollups"):
            for level, rows in connection.execute(f"SELECT level, count(*) FROM {table} GROUP BY level"):
                print(f"  {table}, rows of {level} s: {rows}")
        (total,) = connection.execute(
            "SELECT (SELECT count(*) FROM app_rollups) + (SELECT count(*) FROM channel_rollups)"
        ).fetchone()
    print(f"rollups.db: {total} rows, {path.stat().st_size / max(total, 1):.0f} bytes each")


async def _postgres(url: str, count: int, *, plain_wire: bool) -> None:
    async with open_postgres_events(url, plain_wire=plain_wire, connections_max=1) as store:
        await _fill(store, count)
        name = store.name
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("VACUUM ANALYZE polyglot.events")
        if name == "timescaledb":
            _timescaledb(connection, count)
            return
        rows = connection.execute(
            "SELECT sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'polyglot.events'::regclass"
        ).fetchone()
        assert rows is not None
        _tell("PostgreSQL, rows", rows[0], count)
        _tell("PostgreSQL, indexes", rows[1], count)
        for index, size in connection.execute(
            "SELECT regexp_replace(indexrelid::regclass::text, '^polyglot.events_[0-9]+_', ''), "
            "sum(pg_relation_size(indexrelid))::bigint FROM pg_index x JOIN pg_inherits i ON i.inhrelid = x.indrelid "
            "WHERE i.inhparent = 'polyglot.events'::regclass GROUP BY 1 ORDER BY 2 DESC"
        ):
            _tell(f"  {index}", size, count)


def _timescaledb(connection: psycopg.Connection, count: int) -> None:
    row = connection.execute("SELECT hypertable_size('polyglot.events')").fetchone()
    assert row is not None
    _tell("TimescaleDB, chunks as they are written", row[0], count)
    chunks = connection.execute("SELECT show_chunks('polyglot.events')::text").fetchall()
    for (chunk,) in chunks:
        connection.execute("SELECT compress_chunk(%s::regclass)", (chunk,))
    row = connection.execute("SELECT hypertable_size('polyglot.events')").fetchone()
    assert row is not None
    _tell(f"TimescaleDB, its {len(chunks)} chunks compressed", row[0], count)


async def _measure(arguments: argparse.Namespace) -> None:
    count = arguments.events
    data = sum(len(event.data) for batch in events(count) for event in batch)
    print(f"{count:,} events, {data / count:.1f} bytes of data each")
    with tempfile.TemporaryDirectory() as directory:
        await _log(Path(directory), count)
        await _sqlite(Path(directory), count)
        await _rollups(Path(directory), count)
    if arguments.postgres:
        await _postgres(arguments.postgres, count, plain_wire=False)
    if arguments.timescaledb:
        await _postgres(arguments.timescaledb, count, plain_wire=arguments.plain_wire)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.row_sizes")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--postgres", help="an empty database")
    parser.add_argument("--timescaledb", help="an empty database with the extension")
    parser.add_argument("--plain-wire", action="store_true", help="of --timescaledb")
    trio.run(_measure, parser.parse_args())


if __name__ == "__main__":
    main()
