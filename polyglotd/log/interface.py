"""The event log: what every acknowledged event of a `logged` kind is in before anyone sees it.

The plane appends (it gives out the seqs), processors read from cursors, the log alone owns (channel → epoch, seq).
A position is a byte offset in the log's whole life, counted over all segments; positions only grow, and none is used
twice.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from polyglotd.model import Event
from polyglotd.model.latency import Latency

STORE_READER = "store"
"""The reader that copies into the store. Where it stands decides which events `tail` still has to know."""

ROLLUPS_READER = "rollups"

Sync = Literal["os", "interval", "always"]


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[log]` of the settings."""

    sync: Sync = "os"
    sync_interval_ms: int = 100
    bytes_max: int = 1 << 30  # of what no reader has let go
    segment_bytes: int = 64 << 20  # a segment's size, unless one batch alone is larger


class Meter(msgspec.Struct, frozen=True, array_like=True):
    """What an app did in one second that its events in the log do not say. Written for apps that did anything."""

    app_id: str
    ts_us: int  # when the second began
    events: int  # of kinds that are not in the log
    bytes: int  # of their `data`
    deliveries: int  # of all kinds
    connections_peak: int
    latency: Latency = Latency()  # of all kinds


PresenceWhat = Literal["unconfirmed", "settled", "occupied", "vacated", "joined", "left"]


class PresenceChanged(msgspec.Struct, frozen=True, array_like=True):
    """Who is where, for webhooks: written for apps that have an endpoint which wants to know.

    occupied, vacated: the channel has its first member, or none any more. joined, left: the user. After `unconfirmed`
    (an empty app: of every app) what was said before holds only so far as it is said again until `settled`: a gateway
    has begun, or has begun to watch the app.
    """

    what: PresenceWhat
    app_id: str
    channel: str
    user_id: str
    ts_us: int


class EpochBegun(msgspec.Struct, frozen=True, array_like=True):
    """A channel's past was given up: it went on at seq 0 of this epoch."""

    app_id: str
    channel: str
    epoch: str


class AppForgotten(msgspec.Struct, frozen=True, array_like=True):
    """All that came before of this app is to be deleted; its channels begin anew in this epoch."""

    app_id: str
    epoch: str


ErasedWhat = Literal["event", "history", "user"]


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """Somebody asked for events to be erased: a tombstone takes the place of each that stands before this record.

    `event`: of one channel and epoch those with first_seq <= seq <= last_seq. `history`: of a channel and epoch those
    up to `last_seq`, and all of its other epochs. `user`: of a user all up to `ts_us`, in every channel of the app.
    """

    erasure_id: str
    app_id: str
    what: ErasedWhat
    channel: str  # empty: of a user
    epoch: str  # the same
    first_seq: int
    last_seq: int
    user_id: str | None
    ts_us: int  # when it was asked for

    def covers(self, event: Event) -> bool:
        """Whether it is to be erased, as far as its own fields say: not where it stands."""
        if event.app_id != self.app_id:
            return False
        if self.what == "user":
            return event.user_id == self.user_id and event.ts_us <= self.ts_us
        if event.channel != self.channel:
            return False
        if event.epoch == self.epoch:
            return self.first_seq <= event.seq <= self.last_seq
        return self.what == "history" and event.ts_us <= self.ts_us


class ErasureState(msgspec.Struct, frozen=True):
    """How far an erasure has come in the log."""

    erasure: Erasure
    position: int  # after its record
    in_log: bool = False  # no segment holds what it erases any more
    settled_us: int = 0  # when all that hold events had said so; 0: not yet. Then it no longer names the user


class AppendedRun(msgspec.Struct, frozen=True, array_like=True):
    """Events of one channel that a plane has written to the log by itself, next to each other in seq.

    All of them stand between the positions `start` and `end`, in order, among other records.
    """

    app_id: str
    channel: str
    epoch: str
    first_seq: int
    last_seq: int
    last_ts_us: int
    start: int
    end: int
    ids_given: bool  # some of them have a publisher's own id


class QuotaReached(msgspec.Struct, frozen=True, array_like=True):
    """An app came to so much of a quota. Once a month, quota and percent, which are its identity for whoever passes
    it on: where the gateway was killed before the store had read the first, it comes again."""

    app_id: str
    quota: str  # of section 8 of the contract: `events-per-month`
    month: str  # `2026-11`, UTC
    percent: int
    limit: int
    used: int
    ts_us: int


LogRecord = Event | Meter | PresenceChanged | QuotaReached
"""What a plane appends."""

ReadRecord = Event | Meter | EpochBegun | AppForgotten | PresenceChanged | Erasure | QuotaReached
"""What a reader finds."""


class ChannelHead(msgspec.Struct, frozen=True, array_like=True):
    """Where a channel stands."""

    epoch: str
    seq: int  # of its last event; 0 where it has none


class ReadBatch(msgspec.Struct, frozen=True, array_like=True):
    """Records in log order, and the position after the last of them."""

    records: list[ReadRecord]
    end: int
    ends: list[int]  # the position after each of them, for who must take them one by one


class RecentId(msgspec.Struct, frozen=True, array_like=True):
    """An id that a publisher gave within the dedupe window, for a plane that begins a topic."""

    id: str
    user_id: str | None
    seq: int
    ts_us: int


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Channels of one app: those whose names begin with `name` (all of them where it is empty), or the one of it."""

    app_id: str
    name: str
    is_prefix: bool

    def includes(self, app_id: str, channel: str) -> bool:
        if app_id != self.app_id:
            return False
        return channel.startswith(self.name) if self.is_prefix else channel == self.name


class FoundEvents(msgspec.Struct, frozen=True, array_like=True):
    """Events of wanted channels in log order: all that stand before `end`, from where the search began."""

    events: list[Event]
    ends: list[int]  # the position after each of them
    end: int
    lost: bool = False  # some of what stood before `end` was removed before it could be read


class LogStats(msgspec.Struct, frozen=True, kw_only=True):
    """For metrics and health."""

    end: int
    unread_bytes: int  # not let go by the slowest reader: what `bytes_max` bounds
    bytes_max: int
    segments: int
    channels: int  # with a head of their own
    readers: Mapping[str, int]  # where each stands
    failed: str | None  # why the log takes nothing any more, for good


class LogAppender(Protocol):
    """What a plane needs of the log."""

    def append(self, records: Sequence[LogRecord]) -> int:
        """Append records in one write to the kernel, all or none; return the log's end after them.

        Blocks for the write only (the page cache). Raises `Unavailable`, with nothing appended: the disk is full or
        failing, or what no reader has let go would pass `[log] bytes_max` (which bounds events only, not meters).
        Events of one channel come with the next seq of the current epoch, or with seq 1 of a new one; anything else
        is a bug and raises ValueError, with nothing appended.
        """

    async def synced(self, position: int) -> None:
        """Return when everything before `position` is as durable as `[log] sync` says: at once for `os` and
        `interval`, after a shared fsync for `always`. Raises `Unavailable` after a failed fsync, for good: the log
        is not written to again. Cancelled: nothing changes."""

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        """The publishers' own ids of the channel's current epoch within the dedupe window (5 minutes, the newest
        10,000), oldest first. Reads segments: some ms where there are thousands."""


class LogReader(Protocol):
    """One consumer of the log, with its own cursor. Not for two tasks at once."""

    async def next_batch(self, limit: int) -> ReadBatch:
        """Wait for records past the cursor; return 1..limit of them and move on in memory.

        Raises `LogCorrupt` if a record before the tail fails its checksum. Cancelled: nothing was consumed.
        """

    async def commit(self, position: int) -> None:
        """Let the log go before `position`: segments that end there may be removed. Raises `Unavailable` where that
        can't be said to the log's owner now; a later commit says it too. Cancelled: repeat it."""

    @property
    def position(self) -> int:
        """Every record before it was returned. It also moves over what is no record of the log's users."""

    @property
    def end(self) -> int:
        """The position after the last record that may be read now."""


class LogFollower(Protocol):
    """Events of wanted channels as they come, for who shows them. It holds no segment back, costs nothing while
    nothing is wanted, and reads only what stretches of the log the channel table names. Not for two tasks at once."""

    def want(self, wanted: Wanted) -> int:
        """Of these channels too; the position from which on all their events will be found. Counted: as many `drop`s
        end it."""

    def drop(self, wanted: Wanted) -> None:
        """Not any more."""

    async def next_found(self) -> FoundEvents:
        """Wait until wanted events can be read; some of them, at most some 256 KiB. Cancelled: nothing was consumed.

        Raises `LogCorrupt`; the next call goes on behind what was damaged.
        """

    def pass_on(self) -> int:
        """Where nothing wanted waits to be read, go on to the last position of which that is known; where it is."""


class EventLog(LogAppender, Protocol):
    """The log as the composition root opens it, and as the gateway reads it."""

    @property
    def id(self) -> str:
        """Names this log in the store's cursor table; new for an empty directory."""

    @property
    def end(self) -> int:
        """The position after the last record."""

    def head(self, app_id: str, channel: str) -> ChannelHead:
        """Where a channel stands. A channel that never had an event stands at seq 0 of the log's own epoch, which is
        the same over restarts until the log forgets a channel."""

    def begin_epoch(self, app_id: str, channel: str, epoch: str) -> None:
        """The channel goes on at seq 0 of this epoch (kept over restarts). Raises `Unavailable` as `append`."""

    def forget_app(self, app_id: str) -> None:
        """Every channel of the app begins a new epoch when it is next asked for (kept over restarts), and readers
        find an `AppForgotten`. Raises `Unavailable` as `append`."""

    def erase(self, erasure: Erasure) -> int:
        """Ask for events to be erased (kept over restarts): readers find the record, `shown` gives tombstones from
        now on, and soon after the segments hold nothing of them. The log's end after the record. Raises `Unavailable`
        as `append`."""

    def erasures(self) -> Sequence[ErasureState]:
        """Those that are under way, and the newest of those that are settled; oldest first."""

    def settle(self, erasure_id: str) -> None:
        """Nobody has an event any more that this erasure would have to hide. Does nothing while segments may, and
        where there is no such erasure."""

    def forgetting(self) -> Collection[str]:
        """Apps of which segments may still hold events from before an `AppForgotten`."""

    def shown(self, event: Event) -> Event:
        """The event as people may see it, wherever it was read: its tombstone where an erasure covers it."""

    async def forget_idle(self, may_forget: Callable[[str, str, int], bool]) -> int:
        """Drop the heads of channels for which `may_forget(app_id, channel, ts_us of the last event)` is true; how
        many. Where it is one or more, the log's own epoch is renewed, so that no seq is used twice. It must be false
        for a topic that a plane has open. Channels that the store has not wholly read are kept."""

    def tail_first(self, app_id: str, channel: str) -> int:
        """The first seq of the current epoch that the store may not have yet; the store has all older ones. The next
        seq to come, where it has all."""

    async def tail(
        self, app_id: str, channel: str, after: int, before: int, *, limit: int = 1_000, newest: bool = True
    ) -> Sequence[Event]:
        """The channel's events of the current epoch with after < seq < before that the store may not have yet, in
        seq order; at most `limit` of them, from the newer end or from the older. Reads segments in a worker thread.

        Raises `TailMoved` where the store took them meanwhile: ask it.
        """

    def reader(self, name: str, position: int) -> LogReader:
        """A consumer in this process that begins at `position`. With no reader nothing is ever removed."""

    def follower(self) -> LogFollower:
        """One in this process."""

    async def find(self, wanted: Wanted, position: int) -> FoundEvents:
        """Look through the log from `position` on, where a record begins, for events of these channels: a stretch of
        it, so `end` is what counts, and there may be none. At the last position that may be read now, `end` is
        `position`. Reads in a worker thread.

        Raises `TailMoved` where the log does not reach back so far any more, `LogCorrupt`.
        """

    @property
    def begin(self) -> int:
        """The first position that the log still holds."""

    def stats(self) -> LogStats:
        """A snapshot."""


class TailMoved(Exception):
    """The events are in the store by now, and their segment is gone."""


class LogFault(Exception):
    """The log can't be opened or read. The text is for the operator and says what to do."""


class LogCorrupt(LogFault):
    """A record before the tail fails its checksum. The text names the segment and the offset."""

    def __init__(self, segment: str, offset: int, why: str) -> None:
        super().__init__(
            f"the event log is damaged: {segment}, offset {offset}: {why}; "
            "see docs/log-format.md, `What to do with a damaged log`"
        )
        self.segment = segment
        self.offset = offset


class LogInUse(LogFault):
    """Another process has the log open for writing."""
