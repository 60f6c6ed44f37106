"""How the daemon is, as `/alive`, `/ready` and `/health` say it: the shapes of `daemon_state`."""

from msgspec import UNSET, UnsetType, field

from polyglotd.gateway.http.shapes import ToClient


class Status(ToClient):
    status: str


class StageView(ToClient):
    """How far a stage of the processor is behind the log, and what it waits for, where it can't go on. Everything
    before `position` is done; it is one of the log's, as `log_end` is."""

    position: int
    lag_events: int
    lag_bytes: int
    lag_s: float
    waiting_for: str | None
    set_aside: int
    failures: int


class ProcessorView(ToClient):
    """`process`: shared (the gateway's), own (a child of it) or separate (one that somebody else started)."""

    process: str
    pid: int | None
    restarts: int
    stages: dict[str, StageView]


class HealthView(ToClient, omit_defaults=True):
    """Beside `status` only operators see the rest. `plane`: native (the driver in C++) or asgi (in Python);
    `plane_why`: why that one serves; `io_threads`: over how many threads it spreads apps. `checks`: each "ok", or
    what is wrong. `log_end`: bytes that the event log ever took. `processor`: null where none ever ran on this data
    directory."""

    status: str
    version: str = ""
    plane: str = ""
    plane_why: str = ""
    io_threads: int | UnsetType = UNSET
    parts: dict[str, str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    connections: int | UnsetType = UNSET
    subscriptions: int | UnsetType = UNSET
    channels: int | UnsetType = UNSET
    log_end: int | UnsetType = UNSET
    processor: ProcessorView | None | UnsetType = UNSET
