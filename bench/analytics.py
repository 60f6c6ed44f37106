"""The rollups: what the stage costs an event, and how long a question about a day by minute takes over many of them.

Promised: analytics of a day by minute over 10,000,000 events within 100 ms. `python -m bench analytics --events N`
sets their number; they are spread over a day, 500 channels and 20,000 users, and go through `RollupSink` into SQLite,
or with `--postgres` into a PostgreSQL of its own, in batches as the stage gathers them when it catches up. Their
making is not counted; CPU is this process's, and beside it the server's.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import trio

from bench.postgres_server import durable_postgres
from polyglotctl.bench.cpu_time import busy, cpu_s, others_busy
from polyglotd.gateway.analytics import AnalyticsReport, AnalyticsRequest
from polyglotd.gateway.http.analytics import encode_page
from polyglotd.gateway.time_steps import MINUTES
from polyglotd.log.interface import LogSettings, Meter, ReadRecord
from polyglotd.log.segments import open_segments
from polyglotd.model import Event
from polyglotd.model.latency import Latency
from polyglotd.processor.gathered import GATHER_RECORDS
from polyglotd.processor.rollups import RollupSink
from polyglotd.store.analytics import DAY, Rollups, RollupSettings
from polyglotd.store.postgres.rollups import open_postgres_rollups
from polyglotd.store.sqlite.rollups import open_sqlite_rollups

CHANNELS, USERS = 500, 20_000
BATCH = GATHER_RECORDS
DATA = b'{"text":"' + b"x" * 64 + b'"}'
BEGUN_S = 1_795_478_400  # a midnight, UTC
QUESTIONS = 50


def run(*, long: bool) -> bool:
    return trio.run(_run, 10_000_000 if long else 500_000, False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench analytics", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args(arguments)
    return 0 if trio.run(_run, given.events, given.postgres) else 1


@asynccontextmanager
async def _opened(
    directory: Path, settings: RollupSettings, now_us: int, *, postgres: bool
) -> AsyncIterator[Rollups]:
    if postgres:
        with durable_postgres() as (url, _):
            async with open_postgres_rollups(url, settings) as rollups:
                yield rollups
    else:
        async with open_sqlite_rollups(directory / "rollups.db", settings, clock=lambda: now_us) as rollups:
            yield rollups


def _servers_cpu_s() -> float:
    """Of all processes below this one, which are PostgreSQL's; they live as long as it does."""
    parents = {pid: parent for pid, parent in map(_parent, Path("/proc").glob("[0-9]*")) if pid}
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(cpu_s(pid) for pid in below - {os.getpid()})


def _parent(process: Path) -> tuple[int, int]:
    try:
        return int(process.name), int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0, 0  # it ended just now


async def _run(events: int, postgres: bool) -> bool:
    now_us = (BEGUN_S + DAY) * 1_000_000
    # Seconds are kept for the day too, which is more than a daemon does.
    settings = RollupSettings(second_keep_s=2 * DAY)
    before = busy([])
    with tempfile.TemporaryDirectory(prefix="pg-bench") as name:
        directory = Path(name)
        async with (
            open_segments(directory / "log", LogSettings()) as log,
            _opened(directory, settings, now_us, postgres=postgres) as rollups,
        ):
            sink = RollupSink(rollups, clock=lambda: now_us)
            spent = cpu = 0.0
            server = _servers_cpu_s()
            for end, batch in enumerate(_batches(events), 1):
                begin, cpu_begin = time.perf_counter(), time.process_time()
                await sink.append(log.id, batch, end)
                spent += time.perf_counter() - begin
                cpu += time.process_time() - cpu_begin
            server = _servers_cpu_s() - server
            size = (await rollups.stats()).file_bytes
            print(f"analytics: a day of {events:,} events, {CHANNELS} channels, {USERS:,} users, {BATCH:,} a batch")
            print(f"  the stage takes {spent / events * 1e6:6.2f} µs an event, {cpu / events * 1e6:.2f} µs of CPU")
            if postgres:
                print(f"  PostgreSQL took {server / events * 1e6:6.2f} µs of CPU an event")
            print(f"  the tables have {size / 1e6:6.1f} MB")
            report = AnalyticsReport(rollups, log, lambda: now_us)
            whole = {"from_us": BEGUN_S * 1_000_000, "to_us": now_us, "step": MINUTES}
            slowest = 0.0
            for what, request in (
                ("the app", AnalyticsRequest(**whole)),
                ("a channel", AnalyticsRequest(channel="room:bench-7", **whole)),
            ):
                times = []
                for _ in range(QUESTIONS):
                    begin = time.perf_counter()
                    page = await report.of("bench", request)
                    encode_page("bench", request.channel, page)
                    times.append(time.perf_counter() - begin)
                slowest = max(slowest, median(times))
                assert len(page.series) == 1_440
                assert request.channel is not None or page.total.events == events
                print(
                    f"  a day by minute of {what}: median {median(times) * 1e3:.1f} ms, slowest"
                    f" {max(times) * 1e3:.1f} ms, {page.total.unique_users:,} users"
                )
    print(f"  others kept {others_busy(before, busy([])):.2f} cores busy")
    return slowest <= 0.1


def _batches(events: int) -> Iterator[list[ReadRecord]]:
    """Spread evenly over the day; with each batch the second's meter."""
    dice = random.Random(1)
    users = [f"user-{number}" for number in range(USERS)]
    channels = [f"room:bench-{number}" for number in range(CHANNELS)]
    step_us = DAY * 1_000_000 / events
    for first in range(0, events, BATCH):
        many = min(BATCH, events - first)
        batch: list[ReadRecord] = [
            Event(
                f"evt_{at:026}",
                "bench",
                channels[int(dice.random() ** 2 * CHANNELS)],
                "e",
                at + 1,
                "message",
                DATA,
                users[int(dice.random() ** 2 * USERS)],
                BEGUN_S * 1_000_000 + int(at * step_us),
            )
            for at in range(first, first + many)
        ]
        latency = Latency(many * 300, dict.fromkeys(range(20, 40), many // 20))
        batch.append(Meter("bench", BEGUN_S * 1_000_000 + int(first * step_us), 0, 0, many * 20, 900, latency))
        yield batch
