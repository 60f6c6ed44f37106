"""What is promised of the driver: the work, and how it may compare with the floor. Read by `driver`."""

from dataclasses import dataclass, field
from typing import Literal

from polyglotctl.bench.plan import Publish

Metric = Literal[
    "cpu_us", "p50_us", "p99_us", "per_s", "bytes", "core_percent", "p99_of_quiet"
]  # one promise each; `cpu_us` and the latencies of work with a floor are ratios to it


@dataclass(frozen=True)
class Promise:
    """`most`: the figure may be no more than that (else: no less). Without `ratio` it is absolute."""

    metric: Metric
    must: float | None
    strive: float | None
    ratio: bool = False
    most: bool = True

    def kept(self, value: float, bound: float) -> bool:
        return value <= bound if self.most else value >= bound


def ratio(metric: Metric, must: float, strive: float) -> Promise:
    return Promise(metric, must, strive, ratio=True)


@dataclass(frozen=True)
class Traffic:
    """Publishing, beside the floor."""

    name: str
    title: str
    rooms: int
    members: int
    step: Publish
    promises: tuple[Promise, ...] = ()
    echo: bool = False

    @property
    def closed(self) -> bool:
        return self.step.in_flight > 0


@dataclass(frozen=True)
class Connects:
    """Connect and join, each with a fresh token."""

    name: str
    title: str
    kind: str
    promises: tuple[Promise, ...]


@dataclass(frozen=True)
class IdleCrowd:
    """Joined connections that do nothing; as many as may be where `connections` is 0."""

    name: str
    title: str
    connections: int
    promises: tuple[Promise, ...]


@dataclass(frozen=True)
class Neighbours:
    """Rooms chat, with and without something loud beside them: p99 by the server's own histogram."""

    name: str
    title: str
    loud: Literal["post", "flood", "never_read", "slow", "bytewise", "large"]
    promises: tuple[Promise, ...] = field(default=())


Row = Traffic | Connects | IdleCrowd | Neighbours

CPU_EACH = Promise("cpu_us", 150, 90)
NO_WORSE = (Promise("p99_of_quiet", 2, None),)
IDLE = (Promise("bytes", 3 * 1024, 1.5 * 1024), Promise("core_percent", 1, None))

ROWS: tuple[Row, ...] = (
    Traffic("fanout16", "1 channel x 100, 16 in flight", 1, 100, Publish(in_flight=16), (ratio("cpu_us", 1.5, 1.1),)),
    Traffic("fanout1", "1 channel x 100, 1 in flight", 1, 100, Publish(in_flight=1), (ratio("cpu_us", 1.2, 1.05),)),
    Traffic(
        "rooms1", "200 rooms x 10, 1 in flight each", 200, 10, Publish(in_flight=1), (ratio("cpu_us", 1.3, 1.15),)
    ),
    Traffic(
        "rooms4", "200 rooms x 10, 4 in flight each", 200, 10, Publish(in_flight=4), (ratio("cpu_us", 1.3, 1.1),)
    ),
    Traffic(
        "rate",
        "200 rooms x 10, 10,000 deliveries/s",
        200,
        10,
        Publish(rate=1000, publishers=10),
        (ratio("cpu_us", 1.8, 1.35), ratio("p50_us", 1.6, 1.3), ratio("p99_us", 2.5, 1.5)),
    ),
    Traffic(
        "echo",
        "publish and logged ack, 50 connections",
        50,
        1,
        Publish(in_flight=1),
        (ratio("cpu_us", 1.8, 1.4), Promise("per_s", 80_000, None, most=False)),
        echo=True,
    ),
    Connects("connect_ticker", "connect + join a ticker, fresh JWT", "ticker", (CPU_EACH,)),
    Connects("connect_room", "connect + join a room, fresh JWT", "room", (CPU_EACH,)),
    IdleCrowd("idle", "10,000 idle joined connections", 10_000, IDLE),
    IdleCrowd("idle_max", "as many as may be open, idle", 0, IDLE),
    Neighbours(
        "post", "10,000 in a post channel, 10/s: p99 of 100 rooms", "post", (Promise("p99_of_quiet", 2, 1.3),)
    ),
    Neighbours(
        "flood", "another app at 10 x its limit: p99 of 100 rooms", "flood", (Promise("p99_of_quiet", 2, 1.2),)
    ),
    # Clients of another app that misuse the server: `bench.attacks`.
    Neighbours("never_read", "1,000 that never read: p99 of 100 rooms", "never_read", NO_WORSE),
    Neighbours("slow", "500 slow heads and 500 slow messages: p99 of 100 rooms", "slow", NO_WORSE),
    Neighbours("bytewise", "50 that send a byte a packet: p99 of 100 rooms", "bytewise", NO_WORSE),
    Neighbours("large", "a flood of 60 KB messages to 10 members: p99 of 100 rooms", "large", NO_WORSE),
    # Without a promise: as the first, but every publish on its way from a member of its own.
    Traffic(
        "fanout16x16", "1 channel x 100, 16 in flight of 16 members", 1, 100, Publish(in_flight=16, publishers=16)
    ),
)
