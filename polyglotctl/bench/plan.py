"""What a worker is told to do, and what it answers: the JSON between `runner` and `worker`.

Names, units and meanings are those of native/bench/polyglot_load.h.
"""

from enum import IntEnum
from typing import Literal

import msgspec


class Dialect(IntEnum):
    """How the server is spoken to."""

    POLYGLOT = 0
    PHOENIX = 1
    RAW = 2


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the words for it."""

    address: str
    port: int
    host: str
    request: str
    dialect: Dialect = Dialect.POLYGLOT
    spread_sources: bool = True
    token: str = ""
    secret: str = ""
    app_id: str = ""
    claims: str = ""
    topic_prefix: str = "room:bench-"
    join_payload: str = "{}"
    event: str = "publish"
    broadcast_event: str = "event"
    payload: str = ""
    payload_bytes: int = 64
    processes: tuple[int, ...] = ()


class Connect(msgspec.Struct, frozen=True, kw_only=True, tag="connect"):
    """Connect and join `members` connections to each of `rooms` channels; they stay for the steps after it."""

    rooms: int
    members: int
    concurrency: int = 64
    deadline_s: float = 120.0


class Publish(msgspec.Struct, frozen=True, kw_only=True, tag="publish"):
    """Publish in every room: a closed loop where `in_flight` is above 0, else an open one of `rate` publishes/s."""

    in_flight: int = 0
    publishers: int = 1
    rate: float = 0.0
    warm_up_s: float = 1.0
    seconds: float = 5.0
    drain_s: float = 10.0
    tolerant: bool = False


class Idle(msgspec.Struct, frozen=True, kw_only=True, tag="idle"):
    """Heartbeats only."""

    seconds: float
    heartbeat_s: float = 30.0


Step = Connect | Publish | Idle


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps, one after another, over the same connections."""

    target: Target
    steps: tuple[Step, ...]


class Usage(msgspec.Struct, frozen=True):
    """What a step cost; CPU is user and system."""

    seconds: float
    processes_cpu_s: list[float]
    generator_cpu_s: float
    others_cpu_s: float


class Latency(msgspec.Struct, frozen=True):
    """Nanoseconds."""

    count: int
    mean_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int


class Memory(msgspec.Struct, frozen=True):
    """Of one server's process. Private: what no other process shares; all its layers, the kernel's apart."""

    rss_bytes: int
    private_bytes: int


class Connected(msgspec.Struct, frozen=True, kw_only=True, tag="connected"):
    usage: Usage
    latency: Latency
    seconds: float
    joined: int
    throttled: int
    memory_before: list[Memory] = []
    memory_after: list[Memory] = []


class Published(msgspec.Struct, frozen=True, kw_only=True, tag="published"):
    """Counts up to `delivered_bytes` are of the measured time, the others of the whole run."""

    usage: Usage
    published: int
    acknowledged: int
    delivered: int
    delivered_bytes: int
    delivery: Latency
    acknowledgement: Latency
    refused: int
    unsent: int
    lost: int
    duplicates: int
    out_of_order: int
    foreign: int
    closed: int
    unanswered: int
    publish_bytes: int
    event_bytes: int
    acknowledgement_bytes: int
    reasons: dict[str, int] = {}
    memory_before: list[Memory] = []
    memory_after: list[Memory] = []


class Idled(msgspec.Struct, frozen=True, kw_only=True, tag="idled"):
    usage: Usage
    heartbeats: int
    answered: int
    closed: int
    memory_before: list[Memory] = []
    memory_after: list[Memory] = []


Result = Connected | Published | Idled


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far the running step is; `total_s` is 0 where it ends with a count."""

    step: int
    joined: int
    published: int
    acknowledged: int
    delivered: int
    refused: int
    elapsed_s: float
    total_s: float


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The run ended with this step. `kind`: whose fault it was."""

    kind: Literal["invalid", "system", "refused", "stopped", "no_library"]
    words: str


Message = Connected | Published | Idled | Progress | Failed
