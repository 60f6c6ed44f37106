"""One measurement of each kind of row: plans for the load generator, samples out of its results."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import msgspec

from bench.daemon import Pair, Server
from bench.driver_promises import Connects, IdleCrowd, Traffic
from bench.machine import process_clock_s
from polyglotctl.bench.bench_app import BenchApp, bench_app
from polyglotctl.bench.commands_run import polyglot_target
from polyglotctl.bench.figures import broken_promises
from polyglotctl.bench.plan import Connect, Connected, Dialect, Idle, Idled, Plan, Publish, Published, Step, Target
from polyglotctl.bench.runner import run_plan
from polyglotctl.http_client import HttpClient
from polyglotctl.server_address import ServerAddress

QUIET_CORES = 0.03
QUIET_WITHIN_S = 120.0
QUIET_LOOK_S = 0.25
METRICS_WITHIN_S = 30.0
MEMBERS_OF_A_ROOM = 10
WARM_UP_ROOMS = 20


class Sample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one run gave. Busy: cores."""

    cpu_us: float | None = None
    per_s: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    bytes: float | None = None
    core_percent: float | None = None
    p99_of_quiet: float | None = None
    quiet_p99_us: float | None = None
    server_busy: float = 0.0
    generator_busy: float = 0.0
    others_busy: float = 0.0
    processor_busy: float = 0.0


@dataclass(frozen=True)
class Ours:
    """Our server, with an app to load."""

    pair: Pair
    client: HttpClient
    app: BenchApp

    def target(self, kind: str = "room", app: BenchApp | None = None) -> Target:
        gateway = self.pair.gateway
        processes = (gateway.pid, self.pair.processor_pid)
        return polyglot_target(gateway.host, gateway.port, app or self.app, kind=kind, processes=processes)

    def metrics(self) -> str:
        transport = httpx.HTTPTransport(uds=str(self.pair.data / "admin.sock"))
        with httpx.Client(transport=transport, timeout=METRICS_WITHIN_S) as client:
            return client.get("http://polyglot.local/metrics").text

    def wait_until_quiet(self) -> float:
        """Until both processes have nothing to do any more; how long that took. A minute or two, then we go on."""
        began = time.monotonic()
        before = self._cpu_s()
        while (waited := time.monotonic() - began) < QUIET_WITHIN_S:
            time.sleep(QUIET_LOOK_S)
            now = self._cpu_s()
            if now - before < QUIET_CORES * QUIET_LOOK_S:
                break
            before = now
        return waited

    def processor_cpu_s(self) -> float:
        return process_clock_s(self.pair.processor_pid)

    def _cpu_s(self) -> float:
        return process_clock_s(self.pair.gateway.pid) + process_clock_s(self.pair.processor_pid)


@contextmanager
def ours_on(pair: Pair) -> Iterator[Ours]:
    """With an app that has no limits which matter, as long as the block lasts."""
    address = ServerAddress("http://polyglot.local", pair.data / "admin.sock", None, None, "the bench")
    with HttpClient(address) as client, bench_app(client, None) as app:
        yield Ours(pair, client, app)


def peer_target(row: Traffic, server: Server, frames: "FrameSizes") -> Target:
    """Messages as long as ours: a publish in, an event out; an echo is of an event's length both ways."""
    size = frames.event if row.echo else frames.publish
    return Target(
        address=server.host,
        port=server.port,
        host=f"{server.host}:{server.port}",
        request="/echo" if row.echo else "/",
        dialect=Dialect.RAW,
        payload_bytes=size,
        processes=(server.pid,),
    )


@dataclass(frozen=True)
class FrameSizes:
    """Of our frames' payloads, in bytes."""

    publish: int
    event: int


def frame_sizes(row: Traffic, ours: Ours) -> FrameSizes:
    """By looking at some of them."""
    step = Publish(in_flight=1, warm_up_s=0.0, seconds=0.3)
    result = run(ours.target(), Connect(rooms=row.rooms, members=row.members), step)[-1]
    assert isinstance(result, Published)
    return FrameSizes(result.publish_bytes, result.event_bytes)


def run(target: Target, *steps: Step) -> list[Connected | Published | Idled]:
    return run_plan(Plan(target=target, steps=steps))


def traffic_sample(row: Traffic, target: Target, seconds: float) -> Sample:
    """Connections are new for each run."""
    step = msgspec.structs.replace(row.step, seconds=seconds)
    result = run(target, Connect(rooms=row.rooms, members=row.members), step)[-1]
    assert isinstance(result, Published)
    if broken := broken_promises(result):
        raise SystemExit(f"{row.name} at port {target.port}: {broken}; {result.reasons}")
    usage = result.usage
    work = result.acknowledged if row.echo else result.delivered
    latency = result.acknowledgement if row.echo else result.delivery
    return Sample(
        cpu_us=usage.processes_cpu_s[0] / max(work, 1) * 1e6,
        per_s=work / usage.seconds,
        p50_us=latency.p50_ns / 1e3,
        p99_us=latency.p99_ns / 1e3,
        server_busy=usage.processes_cpu_s[0] / usage.seconds,
        generator_busy=usage.generator_cpu_s / usage.seconds,
        others_busy=usage.others_cpu_s / usage.seconds,
        processor_busy=sum(usage.processes_cpu_s[1:]) / usage.seconds,
    )


def connect_sample(row: Connects, ours: Ours, connections: int) -> Sample:
    """Each with a token of its own, never seen before."""
    rooms = connections // MEMBERS_OF_A_ROOM
    (result,) = run(ours.target(row.kind), Connect(rooms=rooms, members=MEMBERS_OF_A_ROOM, concurrency=32))
    assert isinstance(result, Connected)
    usage = result.usage
    return Sample(
        cpu_us=usage.processes_cpu_s[0] / result.joined * 1e6,
        per_s=result.joined / result.seconds,
        p50_us=result.latency.p50_ns / 1e3,
        p99_us=result.latency.p99_ns / 1e3,
        server_busy=usage.processes_cpu_s[0] / usage.seconds,
        generator_busy=usage.generator_cpu_s / usage.seconds,
        others_busy=usage.others_cpu_s / usage.seconds,
    )


def idle_sample(row: IdleCrowd, ours: Ours, seconds: float, connections_max: int) -> Sample:
    """Of a daemon that has just started: what it let go before would hide what connections take."""
    rooms = (row.connections or connections_max) // MEMBERS_OF_A_ROOM
    results = run(
        ours.target(),
        Connect(rooms=WARM_UP_ROOMS, members=MEMBERS_OF_A_ROOM),
        Connect(rooms=rooms, members=MEMBERS_OF_A_ROOM, deadline_s=600),
        Idle(seconds=3),  # what joins left behind is over
        Idle(seconds=seconds),
    )
    _, connected, _, idled = results
    assert isinstance(connected, Connected)
    assert isinstance(idled, Idled)
    grown = idled.memory_after[0].private_bytes - connected.memory_before[0].private_bytes
    return Sample(
        bytes=grown / connected.joined,
        core_percent=100 * idled.usage.processes_cpu_s[0] / idled.usage.seconds,
        per_s=connected.joined / connected.seconds,
        server_busy=idled.usage.processes_cpu_s[0] / idled.usage.seconds,
        generator_busy=idled.usage.generator_cpu_s / idled.usage.seconds,
        others_busy=idled.usage.others_cpu_s / idled.usage.seconds,
    )
