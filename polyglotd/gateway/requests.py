"""What the HTTP edge asks of the gateway, and what it gets: plain data.

What there is one of for each event of a batch is a Struct, which is made in a third of a frozen dataclass's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from polyglotd.log.interface import Erasure
from polyglotd.model import Event, Limits


class PublishRequest(Struct, frozen=True):
    """One event to publish, as its publisher wrote it. Names are checked by the gateway."""

    channel: str
    type: str
    data: bytes  # valid JSON in UTF-8; b"null" where it was absent
    id: str | None = None


class Published(Struct, frozen=True):
    """One event was admitted. `duplicate`: it had been before, and this is the first answer again."""

    id: str
    seq: int
    ts_us: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """A message without a seq to one user's devices on a channel."""

    channel: str
    type: str
    data: bytes  # valid JSON in UTF-8; b"null" where it was absent


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRequest:
    """A page of a channel. With `after` the oldest that follow it, else the newest (before `before`)."""

    limit: int = 100  # 1..1000
    after: int | None = None
    before: int | None = None
    type: str | None = None
    from_us: int | None = None  # ts >= from_us
    to_us: int | None = None  # ts < to_us


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureProgress:
    """What was asked to be erased, and where nothing of it is left any more."""

    erasure: Erasure
    window: bool  # what the plane keeps in memory
    log: bool  # the segments
    store: bool
    webhooks: bool  # what waits to be sent

    @property
    def done(self) -> bool:
        return self.window and self.log and self.store and self.webhooks


@dataclass(frozen=True, slots=True)
class DeletedApp:
    """An app that was deleted and of which something is left; where nothing is."""

    app_id: str
    log: bool
    stores: bool  # then its id is free


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """`more`: others that match lie beyond in the direction asked for."""

    epoch: str
    seq: int  # the channel's
    events: Sequence[Event]  # in seq order
    more: bool


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """Where a channel stands, and who is on it now."""

    channel: str
    kind: str
    epoch: str
    seq: int
    subscriptions: int
    users: int | None  # different ones present; None where the kind has no presence


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """Occupied channels, by name. `cursor`: give it back for the next page; None on the last."""

    channels: Sequence[ChannelInfo]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class AppUsage:
    """Use against quotas. `month` in UTC, as `2026-11`."""

    month: str
    events: int
    bytes: int
    stored_bytes: int
    connections: int
    channels: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What a client shows when it opens a connection: of a WebSocket's handshake, or of a long-poll session."""

    query: str  # as sent, without the `?`; never logged: it may hold a token
    headers: Sequence[tuple[str, str]]  # names in lower case, order kept
    address: str  # the peer's, without port; trusted proxies are resolved by the gateway


@dataclass(frozen=True, slots=True)
class Health:
    """What `/ready` and `/health` say. `ready`: it serves, and new clients are welcome."""

    ready: bool
    draining: bool
    checks: dict[str, str] = field(default_factory=dict)  # name to "ok", or what is wrong
    plane: str = ""
    connections: int = 0
    subscriptions: int = 0
    topics: int = 0
    log_end: int = 0  # a position


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCounters:
    """For metrics. Refusals are by the contract's reason, totals since the start; the rest is of now."""

    connections: int
    longpoll_sessions: int
    tails: int  # of patterns and whole apps
    tails_lagged: int  # since the start: how often one said that it was behind, or what it missed
    topics: int
    tasks: int
    connects_refused: Mapping[str, int]
    joins_refused: Mapping[str, int]
    pushes_refused: Mapping[str, int]
    presence_changes_lost: int
    occupancy_changes_lost: int = 0


@dataclass(frozen=True, slots=True)
class AppCounts:
    """What one app has open on this node."""

    connections: int
    topics: int
