"""A page of history out of a store of many events, in PostgreSQL and in SQLite.

Promised: a page of 100 out of 10 million events within 10 ms for 99 of 100. Events are spread over five weeks, so
over all partitions that a month's retention leaves, and over channels of which one has a tenth of all. Pages are
asked for one after the other, as the gateway asks: the newest, and those before any seq, of any channel.

    python -m bench history_page [--events N] [--pages N] [--only postgresql|sqlite] [--url URL]
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from bench.ingest import given_postgres
from bench.log_segments import DATA
from bench.postgres_server import durable_postgres
from polyglotctl.bench.cpu_time import busy, others_busy
from polyglotd.model import Event, now_us
from polyglotd.store.interface import EventStore, HistoryQuery
from polyglotd.store.postgres.events import open_postgres_events
from polyglotd.store.postgres.pool import connect
from polyglotd.store.sqlite.events import open_sqlite_events

EVENTS_SHORT, EVENTS_LONG = 300_000, 10_000_000
PAGES = 2_000
CHANNELS = 1_000
P99_MAX_MS = 10.0
SPAN_US = 34 * 86_400_000_000
BATCH = 10_000
EPOCH = "epoch00001"


def run(*, long: bool) -> bool:
    """Measure, print, and say whether the promise holds."""
    return _run(EVENTS_LONG if long else EVENTS_SHORT, PAGES, ("postgresql", "sqlite"), None)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench history_page", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS_SHORT)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--only", choices=["postgresql", "sqlite"])
    parser.add_argument("--url", help="a PostgreSQL to use; its schema polyglot gets these events")
    given = parser.parse_args(arguments)
    only = (given.only,) if given.only else ("postgresql", "sqlite")
    return 0 if _run(given.events, given.pages, only, given.url) else 1


def _run(events: int, pages: int, only: Sequence[str], url: str | None) -> bool:
    kept = True
    print(f"history_page: pages of 100 out of {events:,} events of {CHANNELS:,} channels over five weeks")
    if "postgresql" in only:
        with durable_postgres() if url is None else given_postgres(url) as (server, pids):
            kept &= trio.run(_postgres, server, events, pages, pids)
    if "sqlite" in only:
        with tempfile.TemporaryDirectory(prefix="plg-bench") as directory:
            kept &= trio.run(_sqlite, Path(directory) / "events.db", events, pages)
    return kept


async def _postgres(url: str, events: int, pages: int, pids: list[int]) -> bool:
    async with open_postgres_events(url) as store:
        last = await _fill(store, events)
        with connect(url) as admin:
            await trio.to_thread.run_sync(admin.execute, "VACUUM ANALYZE polyglot.events")
        return await _measure("PostgreSQL", store, last, pages, pids)


async def _sqlite(path: Path, events: int, pages: int) -> bool:
    async with open_sqlite_events(path) as store:
        return await _measure("SQLite", store, await _fill(store, events), pages, [])


async def _fill(store: EventStore, events: int) -> dict[str, int]:
    """The last seq of each channel."""
    last: dict[str, int] = {}
    for end, batch in enumerate(_batches(events, last), 1):
        await store.append("bench", batch, end)
    return last


def _batches(events: int, last: dict[str, int]) -> Iterator[list[Event]]:
    begin_us = now_us() - SPAN_US
    for first in range(0, events, BATCH):
        batch = []
        for number in range(first, min(first + BATCH, events)):
            channel = "room:large" if number % 10 == 0 else f"room:{number * 7 % (CHANNELS - 1)}"
            seq = last[channel] = last.get(channel, 0) + 1
            ts_us = begin_us + SPAN_US * number // events
            batch.append(
                Event(
                    f"evt_{number:026d}",
                    "chat-app",
                    channel,
                    EPOCH,
                    seq,
                    "message",
                    DATA,
                    f"user-{number % 5000}",
                    ts_us,
                )
            )
        yield batch


async def _measure(what: str, store: EventStore, last: dict[str, int], pages: int, pids: list[int]) -> bool:
    chance = random.Random(1)
    channels = sorted(last)
    took: list[float] = []
    before = busy(pids)
    for number in range(pages):
        channel = "room:large" if number % 2 else chance.choice(channels)
        bound = None if number % 4 < 2 else chance.randint(1, last[channel] + 1)
        query = HistoryQuery(app_id="chat-app", channel=channel, epoch=EPOCH, before=bound)
        begin = time.perf_counter()
        page = await store.history(query)
        took.append(time.perf_counter() - begin)
        expected = last[channel] if bound is None else bound - 1
        assert len(page.events) == min(100, expected), (channel, bound, len(page.events))
    others = others_busy(before, busy(pids))
    took.sort()
    p50, p99 = took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000
    print(f"  {what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms (at most {P99_MAX_MS:g}), of {pages:,} pages")
    print(f"    others kept {others:.2f} cores busy")
    return p99 <= P99_MAX_MS
