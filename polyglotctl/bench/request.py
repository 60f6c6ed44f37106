"""What a command line asks of the bench. Imports nothing heavy: `polyglotctl --help` reads it."""

from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """What kind of a server it is."""

    POLYGLOT = "polyglot"
    PHOENIX = "phoenix"


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where it is, and by what right we connect. Without a token or a secret the bench gets itself one."""

    url: str | None
    app_id: str | None
    profile: Profile
    token: str
    secret: str
    pids: "list[int] | None"


@dataclass(frozen=True, kw_only=True)
class Words:
    """What channels and events are called. `event` and the two after it: for servers that are no Polyglot."""

    kind: str
    event: str = "publish"
    broadcast: str | None = None
    payload: str = "{}"
    payload_bytes: int = 64
    own_events: bool = True  # publishers get their own events too


@dataclass(frozen=True, kw_only=True)
class Load:
    """Channels, members, and how these publish: with `rate` (publishes a second) an open loop, else a closed one."""

    rooms: int
    members: int
    in_flight: int
    publishers: int
    rate: float | None
    seconds: float
    warm_up: float


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Connections that join and do nothing."""

    connections: int
    members: int
    concurrency: int
    hold_s: float
    heartbeat_s: float


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Events over the HTTP API, in batches. `within_s`: after the last one, for every stage to have them."""

    app_id: str | None
    kind: str
    events: int
    batch: int
    channels: int
    data_bytes: int
    rate: float | None
    connections: int
    within_s: float
    pids: "list[int] | None"
