"""The event log in segment files: appends a second, and how long a daemon takes to start on a long log.

Promised: at least 200,000 events a second in batches of 100 with `log.sync = os`; with 1,000,000 events in the log
the daemon is ready within 5 s of its start.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import trio

from bench.daemon import polyglotd
from polyglotctl.bench.cpu_time import busy, others_busy
from polyglotd.log.interface import LogSettings
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import Event, now_us

EVENTS = 1_000_000
BATCH = 100
CHANNELS = 100
ROUNDS = 5
DATA = b'{"text":"' + b"x" * 64 + b'"}'


def run(*, long: bool) -> bool:
    """Measure, print, and say whether both promises hold."""
    events = 200_000 * (5 if long else 1)
    before = busy([])
    rates = [_append_rate(events) for _ in range(ROUNDS)]
    after = busy([])
    print(f"log_segments: {ROUNDS} rounds of {events:,} events in batches of {BATCH}, sync = os")
    print(f"  appended        {median(rates):12,.0f} events/s   rounds: {' '.join(f'{rate:,.0f}' for rate in rates)}")
    print(f"  others kept {others_busy(before, after):.2f} cores busy")
    starts = [_start_s() for _ in range(ROUNDS if long else 1)]
    print(f"  ready with {EVENTS:,} events in the log after {median(starts):.2f} s")
    return median(rates) >= 200_000 and median(starts) < 5


def _append_rate(events: int) -> float:
    with tempfile.TemporaryDirectory(prefix="pg-bench") as directory:
        return trio.run(_append, Path(directory), events)


async def _append(directory: Path, events: int) -> float:
    """Appends a second. The events are made before the clock runs: in a daemon the plane makes them."""
    settings = LogSettings(sync="os", bytes_max=1 << 40)
    async with open_segments(directory, settings) as log:
        batches = [_batch(log, first) for first in range(0, events, BATCH)]
        begin = time.perf_counter()
        for batch in batches:
            log.append(batch)
        return events / (time.perf_counter() - begin)


def _batch(log: SegmentLog, first: int) -> list[Event]:
    """`BATCH` events of one channel, which is another one for each of `CHANNELS` batches in a row."""
    number = first // BATCH
    channel = f"room:bench-{number % CHANNELS}"
    seq = number // CHANNELS * BATCH
    epoch = log.head("chat-app", channel).epoch
    ts_us = now_us()
    return [
        Event(f"evt_{first + n:026d}", "chat-app", channel, epoch, seq + n + 1, "message", DATA, "user", ts_us)
        for n in range(BATCH)
    ]


def _start_s() -> float:
    """Seconds from the start of the process to its ready line, with nothing of the log in the store yet."""
    with tempfile.TemporaryDirectory(prefix="pg-bench") as directory:
        trio.run(_append, Path(directory) / "log", EVENTS)
        begin = time.perf_counter()
        with polyglotd(Path(directory)):
            return time.perf_counter() - begin
