"""The border between the data plane, which moves bytes, and the gateway, which decides.

Two streams cross it, both in batches: records go up (`Plane.receive`), commands go down (`Plane.submit`). Every
record and command is a tagged array, so that a plane in another language can pack a whole batch into one buffer.
The gateway never awaits a socket: it submits commands and reads records.

What the plane does by itself: the WebSocket handshake and framing, the Phoenix envelope, heartbeats, `phx_leave`,
`unmatched topic` and `unknown_event` replies, and the `publish` and `signal` of a member that was admitted (rate,
payload bound, dedupe, seq, time, log append, fan-out, reply), each topic's recent window, the overflow policies.
Of published events the gateway hears by position (`Published`), not by content.

Identity. `conn`: given by the plane to a socket, by the gateway to a virtual connection (from `VIRTUAL_CONN_FIRST`).
`sub`: one join attempt, given by the plane, or by the gateway on connections whose serializer has no joins; unique
over the plane's life. `topic`: given by the gateway in `OpenTopic`, never used again after `TopicClosed`. Commands
about a conn, sub or topic that is gone do nothing: the record that says so is already on its way up.

Order. Records about one conn come in the order in which things happened. Each `Connect` or `OpenVirtual` is followed
by exactly one `Disconnected`; each `Admit` that found its sub alive by exactly one `Left`, which comes before the
connection's `Disconnected`. Commands of one batch run in order, and batches in the order of their submission; a plane
with several threads keeps that for the commands about one app, its topics and its connections. The topics that one
`Publish` names are of one app.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import trio

from polyglotd.model import Event, Limits, Policy
from polyglotd.model.latency import Latency

VIRTUAL_CONN_FIRST = 1 << 62

Serializer = Literal["phoenix-1.0.0", "phoenix-2.0.0", "sse", "tail"]
"""`sse` and `tail` have no joins, refs or replies: the gateway admits them, and they get events and notices only."""

EndOfSubscription = Literal["closed", "error"]
"""`closed`: the member gets `phx_close` and stays away. `error`: it gets `phx_error` and rejoins by itself."""


# --- records: what happened -------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Something that happened in the plane."""


class Connect(Record, frozen=True, array_like=True, tag=1):
    """A well-formed WebSocket handshake waits for `Accept` or `Refuse` (10 s, then it is closed with 503)."""

    conn: int
    query: str  # as sent, without the `?`; never logged: it may hold a token
    headers: list[tuple[str, str]]  # names in lower case, order kept
    address: str  # the peer's, without port


class Join(Record, frozen=True, array_like=True, tag=2):
    """`phx_join` waits for `Admit` or `RefuseJoin`."""

    conn: int
    sub: int
    channel: str  # as sent: not yet checked
    params: bytes  # the join's payload, JSON


class Joined(Record, frozen=True, array_like=True, tag=3):
    """The join's reply is queued to the client; what is sent to the sub from now on comes after it."""

    conn: int
    sub: int
    topic: int
    seq: int  # the topic's at the join
    recovered: bool | None  # None: no `since` was given


class Left(Record, frozen=True, array_like=True, tag=4):
    """An admitted sub ended."""

    conn: int
    sub: int
    topic: int
    why: Literal["leave", "replaced", "ended", "disconnected"]


class Push(Record, frozen=True, array_like=True, tag=5):
    """An event on a joined channel that the gateway answers with `Reply`: history, presence, and the like."""

    conn: int
    sub: int
    topic: int
    event: str
    payload: bytes  # JSON
    reply: int  # names the push in `Reply`


class Disconnected(Record, frozen=True, array_like=True, tag=6):
    conn: int
    code: int  # 1006 where the peer went without a word
    reason: str


class NeedHistory(Record, frozen=True, array_like=True, tag=7):
    """A sub's resume reaches further back than the topic's window; it waits for `Backfill`."""

    conn: int
    sub: int
    topic: int
    after: int  # events with after < seq <= until, oldest first
    until: int
    limit: int  # at most so many events
    bytes_max: int  # and so many bytes of envelopes, but at least one event


class Published(Record, frozen=True, array_like=True, tag=8):
    """Events of a topic were admitted since the last such record. One a topic and turn."""

    topic: int
    first_seq: int
    last_seq: int
    position: int  # the log's end after them; 0 for memory kinds
    size: int  # bytes of `data`
    deliveries: int  # members that they went to, times events


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One event of a `Publish` was admitted, or was known already."""

    id: str
    seq: int
    ts_us: int
    duplicate: bool


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One event of a `Publish` was refused."""

    reason: str  # of the contract
    message: str
    retry_after_ms: int | None = None
    limit: int | None = None
    quota: str | None = None


class PublishResults(Record, frozen=True, array_like=True, tag=9):
    request: int
    results: list[Accepted | Refused]  # in the order of the items; `logged` ones are in the log


class WindowPage(Record, frozen=True, array_like=True, tag=10):
    """The answer to `ReadWindow`."""

    request: int
    epoch: str
    seq: int
    first: int  # the oldest seq in the window; seq + 1 where it is empty
    events: list[Event]  # in seq order
    more: bool  # others lie beyond in the direction asked for, in the window or below it


class MailReady(Record, frozen=True, array_like=True, tag=11):
    """A virtual connection's queue went from empty to not empty."""

    conn: int


class Mail(Record, frozen=True, array_like=True, tag=12):
    """The answer to `TakeMail`."""

    request: int
    frames: list[bytes]  # may be empty


class Handoff(Record, frozen=True, array_like=True, tag=13):
    """A connection that is not the plane's: its descriptor is now the gateway's. Nothing was read from it."""

    fd: int
    address: str


class TopicIdle(Record, frozen=True, array_like=True, tag=14):
    """No member, nothing queued, nothing published for a while; a memory kind's history has run out too."""

    topic: int


class TopicClosed(Record, frozen=True, array_like=True, tag=15):
    """`CloseTopic` was carried out. Where the topic had become busy again, `closed` is false and it lives on."""

    topic: int
    closed: bool


AnyRecord = (
    Connect
    | Join
    | Joined
    | Left
    | Push
    | Disconnected
    | NeedHistory
    | Published
    | PublishResults
    | WindowPage
    | MailReady
    | Mail
    | Handoff
    | TopicIdle
    | TopicClosed
)


# --- commands: what is to be done -------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Something that the plane is to do."""


class ConfigureApp(Command, frozen=True, array_like=True, tag=1):
    """An app's limits, before its first connection and at each change. `publish_rate`: this node's share of
    `publishes_per_app` (a lease; burst one second). The rest: which quotas leave no room for new events, of all
    kinds or of `logged` ones."""

    app_id: str
    limits: Limits
    publish_rate: float
    events_used_up: bool = False
    bytes_used_up: bool = False


class Accept(Command, frozen=True, array_like=True, tag=2):
    """Finish a handshake."""

    conn: int
    app_id: str
    user_id: str


class Refuse(Command, frozen=True, array_like=True, tag=3):
    """Answer a handshake with this HTTP status instead, and close."""

    conn: int
    status: int
    headers: list[tuple[str, str]]
    body: bytes  # problem details


class OpenTopic(Command, frozen=True, array_like=True, tag=4):
    """Begin a topic at (epoch, seq), with the newest events that history holds as its window."""

    topic: int
    app_id: str
    channel: str
    policy: Policy
    epoch: str
    seq: int
    window: list[Event]  # seqs without a gap, the last of them `seq`; may be empty


class SetPolicy(Command, frozen=True, array_like=True, tag=5):
    topic: int
    policy: Policy


class NewEpoch(Command, frozen=True, array_like=True, tag=6):
    """The topic's past can't be continued: window and dedupe are emptied, members get `phx_error`."""

    topic: int
    epoch: str


class CloseTopic(Command, frozen=True, array_like=True, tag=7):
    """Forget the topic, if it is still idle."""

    topic: int


class Admit(Command, frozen=True, array_like=True, tag=8):
    """Make a sub a member, atomically with the topic's seq, and reply to its join.

    On `sse` and `tail` connections `sub` is the gateway's own, and what a reply would say goes into the stream.
    """

    conn: int
    sub: int
    topic: int
    may_publish: bool
    sees_presence: bool  # gets the `Broadcast`s that are for those only
    since: tuple[str, int] | None  # (epoch, seq) to resume from
    history: int | None  # the newest n; None: none, or 100 where resuming failed
    echo: bool  # false: own publishes do not come back


class RefuseJoin(Command, frozen=True, array_like=True, tag=9):
    conn: int
    sub: int
    response: bytes  # JSON of the error reply


class Backfill(Command, frozen=True, array_like=True, tag=10):
    """The answer to `NeedHistory`. `gone`: they can't be had any more; a sub that was not told so yet is told."""

    conn: int
    sub: int
    events: list[Event]
    gone: bool


class SetCapabilities(Command, frozen=True, array_like=True, tag=11):
    """After a new token: what the sub may do from now on."""

    conn: int
    sub: int
    may_publish: bool
    sees_presence: bool


class Reply(Command, frozen=True, array_like=True, tag=12):
    reply: int
    ok: bool
    response: bytes  # JSON


class SendTo(Command, frozen=True, array_like=True, tag=13):
    """A message to one member."""

    conn: int
    sub: int
    event: str
    payload: bytes  # JSON


class Broadcast(Command, frozen=True, array_like=True, tag=14):
    """A message without a seq to the members of a topic (`signal`, `presence_diff`)."""

    topic: int
    event: str
    payload: bytes  # JSON
    presence_only: bool


class Notice(Command, frozen=True, array_like=True, tag=15):
    """`system` {code, message} on every joined channel of a connection; `conn` None: of every connection."""

    conn: int | None
    code: str
    message: str


class EndSubscription(Command, frozen=True, array_like=True, tag=16):
    conn: int
    sub: int
    how: EndOfSubscription


class Disconnect(Command, frozen=True, array_like=True, tag=17):
    """Close a connection after what is queued for it (2 s at most), with this close code."""

    conn: int
    code: int
    reason: str


class OpenVirtual(Command, frozen=True, array_like=True, tag=18):
    """Begin a connection without a socket: its frames are fed and taken by the gateway (long-poll, SSE, tails)."""

    conn: int
    app_id: str
    user_id: str | None
    serializer: Serializer


class Feed(Command, frozen=True, array_like=True, tag=19):
    """Frames from a virtual connection's client, as if a socket had read them. `binary`: of 2.0.0."""

    conn: int
    frames: list[bytes]
    binary: bool


class TakeMail(Command, frozen=True, array_like=True, tag=20):
    """Take what waits for a virtual connection, oldest first. At least one frame where any waits."""

    conn: int
    request: int
    bytes_max: int


class PublishItem(msgspec.Struct, frozen=True, array_like=True):
    """One event to admit. Names are checked already; payload bound and dedupe are the plane's."""

    topic: int
    type: str
    data: bytes
    id: str | None
    user_id: str | None


class Publish(Command, frozen=True, array_like=True, tag=21):
    """Admit events from HTTP, an operator or another node by the same door as a member's. One crossing a batch."""

    request: int
    items: list[PublishItem]


class ReadWindow(Command, frozen=True, array_like=True, tag=22):
    """Read a topic's window: with `after` the oldest that follow it, else the newest (before `before`)."""

    request: int
    topic: int
    after: int | None
    before: int | None
    limit: int
    bytes_max: int


class StopAccepting(Command, frozen=True, array_like=True, tag=23):
    """The beginning of a drain: the listening socket is closed, connections live on."""


class Erase(Command, frozen=True, array_like=True, tag=24):
    """Put tombstones in the place of the events first..last in the topic's window; where `user_id` is given, of this
    user's up to the time `until_us`. They leave the snapshot too. Ids stay known to the dedupe.

    Members get `erased` with the payload, which never gives way. What waits in their queues already is sent as it
    was, before it. An empty payload is not sent, nor is one about a user of whom the topic never had anything. Does
    nothing where `epoch` is given and is not the topic's.
    """

    topic: int
    epoch: str | None
    first: int
    last: int
    user_id: str | None
    until_us: int
    payload: bytes  # JSON


AnyCommand = (
    ConfigureApp
    | Accept
    | Refuse
    | OpenTopic
    | SetPolicy
    | NewEpoch
    | CloseTopic
    | Admit
    | RefuseJoin
    | Backfill
    | SetCapabilities
    | Reply
    | SendTo
    | Broadcast
    | Notice
    | EndSubscription
    | Disconnect
    | OpenVirtual
    | Feed
    | TakeMail
    | Publish
    | ReadWindow
    | StopAccepting
    | Erase
)


class PlaneCounters(msgspec.Struct):
    """Totals since the start, and gauges. Read at any time; nothing stops for it."""

    connections: int = 0  # now, virtual ones too
    subscriptions: int = 0  # now
    topics: int = 0  # now
    queued_bytes: int = 0  # now, over all connections
    connects_total: int = 0
    handshakes_refused_total: int = 0
    frames_in_total: int = 0
    frames_out_total: int = 0
    bytes_in_total: int = 0
    bytes_out_total: int = 0
    events_total: int = 0
    signals_total: int = 0
    deliveries_total: int = 0
    duplicates_total: int = 0
    conflated_total: int = 0
    dropped_total: int = 0
    slow_consumers_total: int = 0  # closed with 4009
    refused_total: dict[str, int] = {}  # by reason


class Plane(Protocol):
    """A data plane. One gateway owns it."""

    name: str
    io_threads: int
    """Over which it spreads apps; each app's topics and connections are on one of them."""

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; `started` with the bound (host, port). Raises OSError where it can't
        listen. Cancelled: every socket is closed at once; a drain comes before, by commands."""

    def submit(self, commands: Sequence[AnyCommand]) -> None:
        """Queue commands, in order. Never blocks. Bad references do nothing; a bad command is a bug and raises."""

    async def receive(self) -> Sequence[AnyRecord]:
        """Wait for records and take all there are, oldest first. One caller. Cancelled: nothing was taken."""

    def counters(self) -> PlaneCounters:
        """A snapshot."""

    def take_latencies(self) -> Mapping[str, Latency]:
        """What apps' events took since the last call, by app: from the publish to the last byte handed to the kernel.
        What waits for slow clients is not waited for. Apps without any are left out. One caller."""
