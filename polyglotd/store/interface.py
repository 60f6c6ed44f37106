"""What outlives the log: the event store (history, usage, retention) and the registry (apps and credentials)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from polyglotd.log.interface import ReadRecord
from polyglotd.model import (
    ApiKey,
    App,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    Event,
    LimitsPatch,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    SigningSecret,
)


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of one channel and epoch. With `after` the oldest that match, else the newest."""

    app_id: str
    channel: str
    epoch: str
    after: int | None = None  # seq > after
    before: int | None = None  # seq < before
    type: str | None = None
    from_us: int | None = None  # ts >= from_us
    to_us: int | None = None  # ts < to_us
    limit: int = 100
    bytes_max: int = 1 << 20  # of envelopes; at least one event comes whatever its size


class EventPage(msgspec.Struct, frozen=True):
    """A page of history in seq order."""

    events: list[Event]
    more: bool  # others match beyond, in the direction asked for


class ChannelEpochs(msgspec.Struct, frozen=True):
    """A channel of which there are events, and in which epochs, oldest first."""

    channel: str
    epochs: list[str]


class Usage(msgspec.Struct, frozen=True):
    """What an app used in one calendar month (UTC)."""

    events: int = 0  # stored in it, whatever became of them since, and metered ones of memory kinds
    bytes: int = 0  # of their `data`
    stored_bytes: int = 0  # of the `data` of all that is stored now
    reached: frozenset[tuple[str, int]] = frozenset()  # quota and percent: said in this month already


class Usages(msgspec.Struct, frozen=True):
    """What apps used, as far as a log was read."""

    position: int
    by_app: Mapping[str, Usage]


class SetAside(msgspec.Struct, frozen=True):
    """A record that the store refused, and why: kept for people to look at."""

    record: ReadRecord
    why: str


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """The size of an event store."""

    file_bytes: int
    wal_bytes: int
    set_aside: int  # records in the table of those that it refused


class EventStore(Protocol):
    """Events of `logged` kinds. Methods run in worker threads and raise `Unavailable` where the store is lost."""

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        """Store the records, and those set aside in a table of their own, and move this log's cursor to `end`, in
        one transaction.

        Idempotent: an event that is there already (by app, channel, epoch, seq) changes nothing, and a batch that
        ends at or before the cursor is not counted again. Raises `RecordRefused`, with nothing stored, where one
        record can't be stored whatever the state of the store. Cancelled: it is done or it is not; repeat it.
        """

    async def cursor(self, log_id: str) -> int:
        """The position after the last record that was stored from this log; 0 for a new one."""

    async def history(self, query: HistoryQuery) -> EventPage:
        """Matching events in seq order. Of the store alone: `store.history.read_history` adds what is only in the
        log yet."""

    async def channels_of_app(self, app_id: str, prefix: str, first: str, limit: int) -> Sequence[ChannelEpochs]:
        """The app's channels whose names begin with `prefix` and are `first` or come after it, as bytes, by name; at
        most `limit`. Epochs are in the order in which the store heard of them, or of their times."""

    async def usage(self, app_id: str, month: str) -> Usage:
        """`month`: `2026-11`."""

    async def usages(self, log_id: str, app_ids: Collection[str], month: str) -> Usages:
        """Of each of them, and this log's cursor, at one moment."""

    async def prune(self, app_id: str, channel_prefix: str, before_us: int, limit: int) -> int:
        """Delete at most `limit` events older than `before_us` of the kind with this prefix (`room:`); how many."""

    async def apps_and_kinds(self) -> Collection[tuple[str, str]]:
        """Every (app_id, kind) that has events."""

    async def forget_app(self, app_id: str) -> None:
        """Delete everything of an app, now. What the log holds of it comes after, and goes when the log's
        `AppForgotten` is read."""

    async def forgotten_apps(self) -> Collection[str]:
        """Apps of which an `AppForgotten` was read and that `erased` has not been called for."""

    async def erase_forgotten(self, app_id: str, limit: int) -> bool:
        """Delete at most `limit` events from before the app's `AppForgotten`; true when none is left."""

    async def erased(self, app_id: str) -> None:
        """The app is forgotten by the store too, unless there is something left to erase after all."""

    async def find(self, app_id: str, channel: str, event_id: str, limit: int) -> Sequence[Event]:
        """The channel's events with this id, in any of its epochs; at most `limit`, newest first."""

    async def erasures(self) -> Collection[str]:
        """Ids of those that were read from the log and are not through yet: some rows or files may still hold what
        they erase. `append` carries out what is small at once."""

    async def erase_on(self, limit: int) -> bool:
        """Put tombstones in the place of at most `limit` more events; true when none of `erasures` is left. Usage is
        as before, what counts stored bytes is not."""

    async def stats(self) -> StoreStats:
        """For metrics and health."""


class StoreFault(Exception):
    """A database can't be used, and no repeating will help. The text is for the operator: file, fault, remedy."""


class StoreCorrupt(StoreFault):
    """The file is damaged, or it is no database of ours."""


class SchemaTooNew(StoreFault):
    """A newer release wrote it."""


class RecordRefused(Exception):
    """The record at `index` of a batch can't be stored, ever."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"record {index} of the batch: {why}")
        self.index = index
        self.why = why


class Registry(Protocol):
    """Apps, credentials, revocations. One writer at a time; every change is durable when the call returns.

    Raises `NotFound` for an app, key, secret or endpoint that is not there, `Conflict` for one that is there already,
    `Unavailable` where the database can't be read or written now. Cancelled: it is done or it is not.
    Other processes may change it: `version` rises with every change.
    """

    async def version(self) -> int: ...

    async def create_app(self, app: App, key: ApiKey, secret: SigningSecret) -> None:
        """All three or none. Raises `Conflict` where the app id is taken, now or by a deleted app not yet erased."""

    async def app(self, app_id: str) -> App: ...

    async def apps(self, after: str, limit: int) -> Sequence[App]:
        """Apps with app_id > after, by app_id."""

    async def rename_app(self, app_id: str, name: str) -> App: ...

    async def suspend_app(self, app_id: str, at_us: int) -> App:
        """Marks the app and writes a revocation, in one transaction."""

    async def resume_app(self, app_id: str) -> App: ...

    async def delete_app(self, app_id: str, at_us: int) -> None:
        """The app, its keys and secrets go; a revocation is written. Its id stays taken until `app_erased`."""

    async def deleted_apps(self) -> Sequence[str]:
        """Apps that were deleted and are not yet erased: the log may still have to forget them."""

    async def app_erased(self, app_id: str) -> None:
        """Nothing of the deleted app is left in log and store: its id is free."""

    async def patch_limits(self, app_id: str, patch: LimitsPatch) -> App: ...

    async def set_kind(self, app_id: str, kind: str, override: PolicyOverride | None) -> App:
        """Replace the app's override of a kind; None removes it."""

    async def add_key(self, key: ApiKey) -> None: ...

    async def keys(self, app_id: str) -> Sequence[ApiKey]:
        """Newest first, revoked and expired ones too."""

    async def rotate_key(self, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
        """Add `new` and let the old one expire, in one transaction."""

    async def revoke_key(self, app_id: str, key_id: str, at_us: int) -> None: ...

    async def add_secret(self, secret: SigningSecret) -> None: ...

    async def secrets(self, app_id: str) -> Sequence[SigningSecret]:
        """Newest first, revoked ones too."""

    async def revoke_secret(self, app_id: str, secret_id: str, at_us: int) -> None: ...

    async def add_webhook(self, endpoint: Endpoint, at_most: int) -> None:
        """Raises `Conflict` where the app has `at_most` endpoints already."""

    async def webhooks(self, app_id: str) -> Sequence[Endpoint]:
        """The app's endpoints, oldest first, disabled ones too."""

    async def all_webhooks(self) -> Sequence[Endpoint]:
        """Every app's, by app: for who matches what happens against them."""

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint: ...

    async def set_webhook_secrets(
        self, app_id: str, endpoint_id: str, before: Sequence[EndpointSecret], now: Sequence[EndpointSecret]
    ) -> Endpoint:
        """Replace the secrets. Raises `Conflict`, with nothing changed, where they are not `before` any more."""

    async def remove_webhook(self, app_id: str, endpoint_id: str) -> None: ...

    async def revoke(
        self, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
    ) -> None:
        """Append to the revocation log. It may be dropped after `keep_until_us`, when nothing it names is valid."""

    async def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        """Lines of the revocation log with cursor > after, in order."""

    async def add_admin_token(self, digest: bytes, name: str, at_us: int) -> None: ...

    async def admin_tokens(self) -> Mapping[bytes, str]:
        """Digest (SHA-256) to name."""
