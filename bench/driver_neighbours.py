"""Rooms that chat while something loud comes and goes beside them: what does it do to their latency?

Two load generators run at once, on a machine with few cores, so latencies are the server's own: from a publish to the
last byte handed to the kernel, read from its metrics at the ends of quiet and loud times.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.attacks import ATTACKS, Front, attackers
from bench.driver_promises import Neighbours
from bench.driver_runs import Ours, Sample
from bench.server_histogram import Buckets, buckets, percentile_us
from polyglotctl.bench.bench_app import bench_app
from polyglotctl.bench.plan import Connect, Idle, Plan, Progress, Publish, Step, Target
from polyglotctl.bench.runner import run_plan

ROOMS, MEMBERS, ROOMS_RATE = 100, 10, 500.0  # publishes a second in all
CROWD, CROWD_RATE = 10_000, 10.0
# With more the machine would be full, the load generator with it. Who is refused 100 times a second is sent away.
APP_LIMIT = 1_000
FLOODERS, FLOOD = 500, 10.0 * APP_LIMIT
EDGE_S = 0.3  # of a quiet or loud time, that belongs to neither


class _Enough(Exception):
    """The rooms have chatted as long as they were wanted to."""


@dataclass
class _Readings:
    """At the beginning and the end of every step of the loud side."""

    begun: dict[int, Buckets] = field(default_factory=dict)
    ended: dict[int, Buckets] = field(default_factory=dict)

    def p99_us(self, step: int) -> float | None:
        if step not in self.ended:
            return None
        return percentile_us(self.begun[step], self.ended[step], 0.99)


def neighbours_samples(row: Neighbours, ours: Ours, seconds: float, rounds: int) -> list[Sample]:
    """A sample a pair, a quiet time and a loud one; none where the server tells no latencies."""
    limits = {"publishes_per_app": APP_LIMIT, "publishes_per_connection": 1_000} if row.loud == "flood" else None
    with bench_app(ours.client, None, limits) as other:
        labels = {"kind": "room"} if row.loud == "post" else {"app_id": ours.app.app_id}
        readings = _Readings()
        with _chatting(ours.target(), seconds * rounds * 2 + 120):
            if not buckets(ours.metrics(), **labels):
                return []
            target = ours.target("post" if row.loud == "post" else "room", other)
            if row.loud in ATTACKS:
                front = Front(target.address, target.port, other.app_id, other.secret)
                _be_attacked(row, front, seconds, rounds, lambda: buckets(ours.metrics(), **labels), readings)
            else:
                _be_loud(row, target, seconds, rounds, lambda: buckets(ours.metrics(), **labels), readings)
    samples: list[Sample] = []
    for pair in range(rounds):
        quiet, loud = readings.p99_us(1 + 2 * pair), readings.p99_us(2 + 2 * pair)
        if quiet and loud:
            samples.append(Sample(p99_us=loud, quiet_p99_us=quiet, p99_of_quiet=loud / quiet))
    return samples


@contextmanager
def _chatting(target: Target, seconds_max: float) -> Iterator[None]:
    """Rooms chat as long as the block lasts; it begins when they do."""
    begun, enough = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def look(progress: Progress) -> None:
        if progress.step == 1 and progress.elapsed_s > 1:
            begun.set()
        if enough.is_set():
            raise _Enough

    def chat() -> None:
        steps = (
            Connect(rooms=ROOMS, members=MEMBERS),
            Publish(rate=ROOMS_RATE, publishers=MEMBERS, seconds=seconds_max),
        )
        try:
            run_plan(Plan(target=target, steps=steps), look)
        except _Enough:
            pass
        except BaseException as error:
            failed.append(error)
        begun.set()

    chatting = threading.Thread(target=chat, daemon=True)
    chatting.start()
    begun.wait()
    try:
        if not failed:
            yield
    finally:
        enough.set()
        chatting.join()
    if failed:
        raise failed[0]


def _be_loud(
    row: Neighbours, target: Target, seconds: float, rounds: int, read: Callable[[], Buckets], readings: _Readings
) -> None:
    """By turns nothing and much of it; `readings` gets what the server said at the ends of each."""
    if row.loud == "post":
        crowd, loud = Connect(rooms=1, members=CROWD), Publish(rate=CROWD_RATE, warm_up_s=0, seconds=seconds)
    else:
        crowd = Connect(rooms=FLOODERS // MEMBERS, members=MEMBERS)
        loud = Publish(rate=FLOOD, publishers=MEMBERS, warm_up_s=0, seconds=seconds, tolerant=True)

    def look(progress: Progress) -> None:
        step = progress.step
        if step == 0:
            return
        if step not in readings.begun and progress.elapsed_s >= EDGE_S:
            readings.begun[step] = read()
        elif step not in readings.ended and progress.elapsed_s >= seconds - EDGE_S:
            readings.ended[step] = read()

    pairs: tuple[Step, ...] = (Idle(seconds=seconds), loud) * rounds
    run_plan(Plan(target=target, steps=(crowd, *pairs)), look)


def _be_attacked(
    row: Neighbours, front: Front, seconds: float, rounds: int, read: Callable[[], Buckets], readings: _Readings
) -> None:
    """The same, by clients that misuse the server: step 1 is quiet, 2 loud, and so on."""
    with attackers(row.loud, front) as be:
        for step in range(1, 2 * rounds + 1):
            be("quiet" if step % 2 else "loud")
            time.sleep(EDGE_S)
            readings.begun[step] = read()
            time.sleep(max(0.0, seconds - 2 * EDGE_S))
            readings.ended[step] = read()
