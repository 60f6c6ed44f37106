"""What apps did, in buckets of time: the interface of the rollups, and the plain data that crosses it.

`processor.rollups` makes deltas of the log's records and brings them in; the gateway reads rows for `analytics`. A
make keeps four levels of buckets, in UTC; coarser steps are put together from a level's rows when they are asked for.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from polyglotd.model.latency import Latency
from polyglotd.store.interface import SetAside, StoreStats

SECOND, MINUTE, HOUR, DAY = 1, 60, 3_600, 86_400
LEVELS = (SECOND, MINUTE, HOUR, DAY)
"""How long a level's buckets are, in seconds. Each begins at a multiple of that since 1970."""


class RollupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long a level's rows are kept, in seconds, and of how many channels."""

    second_keep_s: int = 3 * HOUR
    minute_keep_s: int = 3 * DAY
    hour_keep_s: int = 90 * DAY
    day_keep_s: int = 3_650 * DAY
    channels_max: int = 1_000  # of an app in one bucket: those that come first; in one of a second a tenth of that

    def keep_s(self, level: int) -> int:
        keeps = {SECOND: self.second_keep_s, MINUTE: self.minute_keep_s, HOUR: self.hour_keep_s, DAY: self.day_keep_s}
        return keeps[level]

    def channels_at(self, level: int) -> int:
        return -(-self.channels_max // 10) if level == SECOND else self.channels_max


Sketch = bytes
"""Of `user_sketch`: users who can be counted, and not named."""
NO_LATENCY = Latency()


class Cell(msgspec.Struct, gc=False):
    """What is to be added to one bucket. Of a channel there are no deliveries, connections or latencies."""

    events: int = 0
    bytes: int = 0
    deliveries: int = 0
    connections_peak: int = 0
    latency: Latency = NO_LATENCY
    users: Sketch = b""  # who published
    unique_users: int = 0  # how many they are
    unnamed: bool = False  # somebody published who named no user


AppKey = tuple[str, int, int]
"""App, level, and when the bucket begins, in seconds."""
ChannelKey = tuple[str, str, int, int]
"""App, channel, level, bucket."""


class Deltas(msgspec.Struct):
    """What some records of the log come to. What was there of `forgotten` apps goes first."""

    apps: dict[AppKey, Cell] = msgspec.field(default_factory=dict)
    channels: dict[ChannelKey, Cell] = msgspec.field(default_factory=dict)
    forgotten: set[str] = msgspec.field(default_factory=set)
    newest_us: int = 0  # of all records; 0: none has a time


class RollupRow(msgspec.Struct, frozen=True, array_like=True):
    """One bucket. `users` are those whom `unique_users` counts; `publishers` is one more where somebody published who
    named no user."""

    ts: int  # seconds
    events: int = 0
    bytes: int = 0
    deliveries: int = 0
    connections_peak: int = 0
    latency: Latency = Latency()
    publishers: int = 0
    unique_users: int = 0
    users: Sketch = b""


class Progress(msgspec.Struct, frozen=True):
    """How far a log was counted: to `position`, with records up to `newest_us`."""

    position: int = 0
    newest_us: int = 0


class Rollups(Protocol):
    """Counts of apps and of channels of logged kinds. Methods run in worker threads and raise `Unavailable` where the
    store is lost. Two apps share nothing."""

    @property
    def settings(self) -> RollupSettings: ...

    async def add(self, log_id: str, deltas: Deltas, end: int, set_aside: Sequence[SetAside] = ()) -> None:
        """Add the deltas, keep those set aside for people to look at, and move this log's cursor to `end`, in one
        transaction. Deltas that end at or before the cursor change nothing. Channels beyond the bound of their bucket
        get no row of their own. Cancelled: it is done or it is not; repeat it."""

    async def progress(self, log_id: str) -> Progress:
        """How far `add` has come; the beginning for a log that is new."""

    async def app_rows(self, app_id: str, level: int, from_s: int, to_s: int) -> Sequence[RollupRow]:
        """The buckets that begin at from_s <= ts < to_s and have something in them, oldest first."""

    async def channel_rows(
        self, app_id: str, channel: str, level: int, from_s: int, to_s: int
    ) -> Sequence[RollupRow]:
        """The same of one channel."""

    async def prune(self, before_s: Mapping[int, int]) -> int:
        """Delete what began before, by level, in several transactions; how many rows."""

    async def forgotten_apps(self) -> Collection[str]:
        """Apps of which an `AppForgotten` was counted and that `erased` has not been called for."""

    async def erased(self, app_id: str) -> None:
        """Nothing else of a forgotten app is left anywhere: it needs no remembering."""

    async def stats(self) -> StoreStats:
        """For metrics and health."""
