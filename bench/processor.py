"""`python -m bench processor [--rounds N] [--seconds S]`: what the store's ingesting costs the gateway.

First the store's own maximum: a backlog in the log, and how long a processor takes for it. Then the same chat in
rooms at half of that rate on three daemons by turns: one without a processor (events wait in the log: the quiet one),
one whose processor is a child, one whose processor is in its own process. Latencies are the server's own histogram,
CPU that of the daemon's process; what is compared are medians of the rounds' ratios.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import driver_runs
from bench.daemon import Pair, Server, started
from bench.driver_runs import Ours, ours_on
from bench.machine import describe, process_clock_s
from bench.server_histogram import buckets, percentile_us
from polyglotctl.bench.figures import broken_promises
from polyglotctl.bench.plan import Connect, Publish, Published

P99_OF_QUIET_MAX = 2.0
CPU_OF_QUIET_MAX = 1.05
BACKLOG_BATCHES, BATCH = 40, 1_000
ROOMS, MEMBERS = 100, 2
RATE_MAX = 20_000.0  # publishes a second: beyond, two cores are full without any processor
WHERE = ("absent", "own", "shared")


@dataclass(frozen=True)
class Sample:
    p50_us: float
    p99_us: float
    cpu_us: float  # of the daemon's process, for a delivery
    processor_us: float  # of the child, for a publish
    per_s: float
    generator_busy: float


def main(arguments: list[str]) -> int:
    """Exit code 0 where the child kept what is promised."""
    parser = argparse.ArgumentParser(prog="python -m bench processor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    asked = parser.parse_args(arguments)
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {describe()}", flush=True)
    return 0 if _measure(asked.rounds, asked.seconds) else 1


def run(*, long: bool) -> bool:
    return main(["--seconds", "20"] if long else []) == 0


def _measure(rounds: int, seconds: float) -> bool:
    maximum = store_maximum()
    rate = min(maximum / 2, RATE_MAX)
    print(f"the store takes {maximum:,.0f} events/s; rooms of {MEMBERS} get {rate:,.0f} events/s\n", flush=True)
    samples: dict[str, list[Sample]] = {where: [] for where in WHERE}
    with ExitStack() as stack:
        servers = {where: stack.enter_context(_ours(where)) for where in WHERE}
        for number in range(rounds):
            for place in range(len(WHERE)):
                where = WHERE[(number + place) % len(WHERE)]
                samples[where].append(_sample(servers[where], rate, seconds))
                if where != "absent":
                    servers[where].wait_until_quiet()
    kept = True
    for where in WHERE:
        its = samples[where]
        p99 = _of_quiet(its, samples["absent"], "p99_us")
        cpu = _of_quiet(its, samples["absent"], "cpu_us")
        median = {name: statistics.median(getattr(one, name) for one in its) for name in Sample.__annotations__}
        print(
            f"{where:>6}: p50 {median['p50_us']:.0f} µs, p99 {median['p99_us']:.0f} µs ({p99:.2f} × quiet); daemon "
            f"{median['cpu_us']:.2f} µs a delivery ({cpu:.2f} × quiet), child {median['processor_us']:.1f} µs an "
            f"event; {median['per_s']:,.0f} publishes/s, generator {median['generator_busy']:.2f} of a core"
        )
        if where == "own":
            kept = p99 <= P99_OF_QUIET_MAX and cpu <= CPU_OF_QUIET_MAX
    print(f"\npromised of a child: p99 ≤ {P99_OF_QUIET_MAX:g} × quiet, CPU a delivery ≤ {CPU_OF_QUIET_MAX:g} × quiet")
    return kept


def _of_quiet(its: list[Sample], quiet: list[Sample], name: str) -> float:
    return statistics.median(getattr(a, name) / getattr(b, name) for a, b in zip(its, quiet, strict=True))


def store_maximum() -> float:
    """Events a second that a processor brings from the log into its stores, with nothing else to do."""
    with tempfile.TemporaryDirectory(prefix="pg-bench") as temporary:
        serve = ["-m", "polyglotd.cli", "serve", "--port", "0", "--data", temporary]
        with started([*serve, "--role", "gateway"], "ready http://") as (pid, line):
            gateway = Server(pid, *_address(line), Path(temporary))
            with ours_on(Pair(gateway, pid, Path(temporary))) as ours:
                _fill(ours)
                with started([*serve, "--role", "processor"], "ready processor"):
                    began = time.monotonic()
                    while "polyglot_store_behind_bytes 0.0" not in ours.metrics():
                        time.sleep(0.05)
                    return BACKLOG_BATCHES * BATCH / (time.monotonic() - began)


def _fill(ours: Ours) -> None:
    data = {"text": "x" * 100, "n": 1}
    for batch in range(BACKLOG_BATCHES):
        events = [{"channel": f"room:{(batch + n) % ROOMS}", "type": "message", "data": data} for n in range(BATCH)]
        answer = ours.client.call("POST", f"/apps/{ours.app.app_id}/publish", {"events": events})
        if refused := [one for one in answer["results"] if "seq" not in one]:
            raise SystemExit(f"the backlog was refused: {refused[0]}")


@contextmanager
def _ours(where: str) -> Iterator[Ours]:
    """A daemon with its processor there."""
    with tempfile.TemporaryDirectory(prefix="pg-bench") as temporary:
        role = "gateway" if where == "absent" else "all"
        process = "own" if where == "absent" else where
        arguments = ["-m", "polyglotd.cli", "serve", "--port", "0", "--data", temporary, "--role", role]
        with started(arguments, "ready http://", {"POLYGLOTD_PROCESSOR__PROCESS": process}) as (pid, line):
            data = Path(temporary)
            processor = _child(data) if where == "own" else pid
            with ours_on(Pair(Server(pid, *_address(line), data), processor, data)) as ours:
                yield ours


def _child(data: Path) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            return int(msgspec.json.decode((data / "processor.json").read_bytes())["pid"])
        time.sleep(0.05)
    raise SystemExit("the processor's process did not come up")


def _address(line: str) -> tuple[str, int]:
    host, _, port = line.partition("ready http://")[2].rpartition(":")
    return host, int(port)


def _sample(ours: Ours, rate: float, seconds: float) -> Sample:
    labels = {"app_id": ours.app.app_id}
    gateway, processor = ours.pair.gateway.pid, ours.pair.processor_pid
    before, processor_s = buckets(ours.metrics(), **labels), process_clock_s(processor)
    publish = Publish(rate=rate, publishers=MEMBERS, seconds=seconds)
    result = driver_runs.run(ours.target(), Connect(rooms=ROOMS, members=MEMBERS), publish)[-1]
    assert isinstance(result, Published)
    if broken := broken_promises(result):
        raise SystemExit(f"{broken}; {result.reasons}")
    after = buckets(ours.metrics(), **labels)
    p50, p99 = (percentile_us(before, after, share) for share in (0.5, 0.99))
    if p50 is None or p99 is None:
        raise SystemExit("the daemon has no histogram of its latencies: it serves without its driver")
    usage = result.usage
    child_s = process_clock_s(processor) - processor_s if processor != gateway else 0.0
    return Sample(
        p50_us=p50,
        p99_us=p99,
        cpu_us=usage.processes_cpu_s[0] / max(result.delivered, 1) * 1e6,
        processor_us=child_s / max(result.acknowledged, 1) * 1e6,
        per_s=result.acknowledged / usage.seconds,
        generator_busy=usage.generator_cpu_s / usage.seconds,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
