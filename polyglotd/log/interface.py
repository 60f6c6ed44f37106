"""The event log: what every acknowledged event of a `logged` kind is in before anyone sees it.

The plane appends (it gives out the seqs), processors read from cursors, the log alone owns (channel → epoch, seq).
A position is a byte offset in the log's whole life, counted over all segments; positions only grow.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from polyglotd.model import Event


class Meter(msgspec.Struct, frozen=True, array_like=True):
    """What an app did in one second with kinds that are not in the log. Written once a second per active app."""

    app_id: str
    ts_us: int
    events: int
    bytes: int
    deliveries: int
    connections_peak: int


LogRecord = Event | Meter


class ChannelHead(msgspec.Struct, frozen=True, array_like=True):
    """Where a channel stands."""

    epoch: str
    seq: int  # of its last event; 0 where it has none


class ReadBatch(msgspec.Struct, frozen=True, array_like=True):
    """Records in log order, and the position after the last of them."""

    records: list[LogRecord]
    end: int


class RecentId(msgspec.Struct, frozen=True, array_like=True):
    """An id that a publisher gave within the dedupe window, for a plane that begins a topic."""

    id: str
    user_id: str | None
    seq: int
    ts_us: int


class LogAppender(Protocol):
    """What a plane needs of the log."""

    def append(self, records: Sequence[LogRecord]) -> int:
        """Append records in one write to the kernel, all or none; return the log's end after them.

        Blocks for the write only (the page cache). Raises `Unavailable`, with nothing appended: the disk is full or
        failing, or what no reader has let go would pass `[log] bytes_max`. Events of one channel come with the next
        seq of the current epoch, or with seq 1 of a new one; anything else is a bug and raises ValueError.
        """

    async def synced(self, position: int) -> None:
        """Return when everything before `position` is as durable as `[log] sync` says: at once for `os` and
        `interval`, after a shared fsync for `always`. Raises `Unavailable` after a failed fsync, for good: the log
        is not written to again. Cancelled: nothing changes."""

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        """The publishers' own ids of the channel's current epoch within the dedupe window, oldest first."""


class LogReader(Protocol):
    """One consumer of the log, with its own cursor. Not for two tasks at once."""

    async def next_batch(self, limit: int) -> ReadBatch:
        """Wait for records past the cursor; return 1..limit of them and move on in memory.

        Raises `LogCorrupt` if a record before the tail fails its checksum. Cancelled: nothing was consumed.
        """

    async def commit(self, position: int) -> None:
        """Let the log go before `position`: segments that end there may be removed. Cancelled: repeat it."""


class EventLog(LogAppender, Protocol):
    """The log as the composition root opens it, and as the gateway reads it."""

    def head(self, app_id: str, channel: str) -> ChannelHead:
        """Where a channel stands. A channel that never had an event stands at seq 0 of the log's own epoch, which is
        the same over restarts until the log forgets a channel."""

    def begin_epoch(self, app_id: str, channel: str, epoch: str) -> None:
        """The channel goes on at seq 0 of this epoch (kept over restarts)."""

    def forget_app(self, app_id: str) -> None:
        """Every channel of the app begins a new epoch when it is next asked for (kept over restarts)."""

    async def tail(self, app_id: str, channel: str, after: int, before: int) -> Sequence[Event]:
        """The channel's events of the current epoch with after < seq < before that the store may not have yet, in
        seq order; the store has all older ones. Reads segments in a worker thread."""

    def reader(self, name: str, position: int) -> LogReader:
        """A consumer in this process that begins at `position`."""

    @property
    def end(self) -> int:
        """The position after the last record."""


class LogCorrupt(Exception):
    """A record before the tail fails its checksum. The text names the segment and the offset."""
