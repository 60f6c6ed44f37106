"""Log, store and registry in memory, for tests of the gateway on a clock that jumps: worker threads and such a clock
don't go together. They keep the promises of their interfaces, and can be told to fail.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from polyglotd.log.erasures import Erasures
from polyglotd.log.interface import (
    ChannelHead,
    Erasure,
    ErasureState,
    LogReader,
    LogRecord,
    LogStats,
    Meter,
    PresenceChanged,
    QuotaReached,
    RecentId,
)
from polyglotd.model import (
    ApiKey,
    App,
    Conflict,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    Event,
    LimitsPatch,
    NotFound,
    PolicyOverride,
    Revocation,
    RevocationSubject,
    SigningSecret,
    Unavailable,
    apply_patch,
)
from polyglotd.store.analytics import Progress, RollupRow, RollupSettings
from polyglotd.store.interface import EventPage, HistoryQuery, Usage, Usages


class MemoryLog:
    id = "log-in-memory"

    def __init__(self) -> None:
        self.own_epoch = "own0"
        self.heads: dict[tuple[str, str], ChannelHead] = {}
        self.events: list[Event] = []
        self.meters: list[Meter] = []
        self.quotas_reached: list[QuotaReached] = []
        self.presences: list[PresenceChanged] = []
        self.forgotten: list[str] = []
        self.failed: str | None = None
        self.in_store = 0  # so many of the events have left the tail
        self.asked = Erasures()
        self.readers: dict[str, int] = {}

    def append(self, records: Sequence[LogRecord]) -> int:
        if self.failed:
            raise Unavailable(self.failed)
        for record in records:
            if isinstance(record, Meter):
                self.meters.append(record)
                continue
            if isinstance(record, QuotaReached):
                self.quotas_reached.append(record)
                continue
            if isinstance(record, PresenceChanged):
                self.presences.append(record)
                continue
            head = self.head(record.app_id, record.channel)
            if record.seq != (head.seq + 1 if record.epoch == head.epoch else 1):
                raise ValueError(f"seq {record.seq} of {record.epoch} after {head}")
            self.heads[record.app_id, record.channel] = ChannelHead(record.epoch, record.seq)
            self.events.append(record)
        return self.end

    async def synced(self, position: int) -> None: ...

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        return []

    @property
    def end(self) -> int:
        return len(self.events)

    def head(self, app_id: str, channel: str) -> ChannelHead:
        return self.heads.get((app_id, channel), ChannelHead(self.own_epoch, 0))

    def begin_epoch(self, app_id: str, channel: str, epoch: str) -> None:
        self.heads[app_id, channel] = ChannelHead(epoch, 0)

    def forget_app(self, app_id: str) -> None:
        self.forgotten.append(app_id)
        self.heads = {key: head for key, head in self.heads.items() if key[0] != app_id}

    def erase(self, erasure: Erasure) -> int:
        if self.failed:
            raise Unavailable(self.failed)
        self.asked.add(erasure, self.end)
        return self.end

    def erasures(self) -> Sequence[ErasureState]:
        return self.asked.states()

    def settle(self, erasure_id: str) -> None:
        self.asked.settle(erasure_id, 1)

    def forgetting(self) -> Collection[str]:
        return set(self.asked.apps)

    def shown(self, event: Event) -> Event:
        return self.asked.shown(event)

    async def forget_idle(self, may_forget: Callable[[str, str, int], bool]) -> int:
        newest = {(event.app_id, event.channel): event.ts_us for event in self.events}
        idle = [key for key, ts_us in newest.items() if key in self.heads and may_forget(*key, ts_us)]
        for key in idle:
            del self.heads[key]
        return len(idle)

    def tail_first(self, app_id: str, channel: str) -> int:
        head = self.head(app_id, channel)
        tail = [event.seq for event in self.events[self.in_store :] if _is_of(event, app_id, channel, head.epoch)]
        return min(tail, default=head.seq + 1)

    async def tail(
        self, app_id: str, channel: str, after: int, before: int, *, limit: int = 1_000, newest: bool = True
    ) -> Sequence[Event]:
        epoch = self.head(app_id, channel).epoch
        found = [
            event
            for event in self.events[self.in_store :]
            if _is_of(event, app_id, channel, epoch) and after < event.seq < before
        ]
        return found[-limit:] if newest else found[:limit]

    def reader(self, name: str, position: int) -> LogReader:
        raise AssertionError("the gateway reads no log")

    def stats(self) -> LogStats:
        return LogStats(
            end=self.end,
            unread_bytes=0,
            bytes_max=1,
            segments=1,
            channels=len(self.heads),
            readers=self.readers,
            failed=self.failed,
        )


class MemoryStore:
    """Has what was put into it; `lost`: nothing can be read."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lost = False
        self.reads = 0
        self.used = Usage()
        self.position = 0  # of the log, up to which it has read
        self.erasing: list[str] = []
        self.position = 0

    async def cursor(self, log_id: str) -> int:
        self._check()
        return self.position

    async def find(self, app_id: str, channel: str, event_id: str, limit: int) -> Sequence[Event]:
        self._check()
        found = [e for e in self.events if (e.app_id, e.channel, e.id) == (app_id, channel, event_id)]
        return found[::-1][:limit]

    async def erasures(self) -> Sequence[str]:
        self._check()
        return self.erasing

    async def history(self, query: HistoryQuery) -> EventPage:
        self._check()
        self.reads += 1
        matching = [
            event
            for event in self.events
            if _is_of(event, query.app_id, query.channel, query.epoch)
            and (query.after is None or event.seq > query.after)
            and (query.before is None or event.seq < query.before)
            and (query.type is None or event.type == query.type)
            and (query.from_us is None or event.ts_us >= query.from_us)
            and (query.to_us is None or event.ts_us < query.to_us)
        ]
        page = matching[: query.limit] if query.after is not None else matching[-query.limit :]
        return EventPage(page, len(page) < len(matching))

    async def usages(self, log_id: str, app_ids: Collection[str], month: str) -> Usages:
        self._check()
        return Usages(self.position, {app_id: await self.usage(app_id, month) for app_id in app_ids})

    async def usage(self, app_id: str, month: str) -> Usage:
        self._check()
        return self.used

    def _check(self) -> None:
        if self.lost:
            raise Unavailable("the store is lost")


class MemoryRollups:
    """Has the rows that were put into it, of any level."""

    settings = RollupSettings()

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str | None, int], list[RollupRow]] = {}  # by app, channel and level
        self.counted = Progress()
        self.lost = False

    async def progress(self, log_id: str) -> Progress:
        return self.counted

    async def app_rows(self, app_id: str, level: int, from_s: int, to_s: int) -> Sequence[RollupRow]:
        return self._rows(app_id, None, level, from_s, to_s)

    async def channel_rows(
        self, app_id: str, channel: str, level: int, from_s: int, to_s: int
    ) -> Sequence[RollupRow]:
        return self._rows(app_id, channel, level, from_s, to_s)

    def _rows(self, app_id: str, channel: str | None, level: int, from_s: int, to_s: int) -> Sequence[RollupRow]:
        if self.lost:
            raise Unavailable("the rollups are lost")
        return [row for row in self.rows.get((app_id, channel, level), []) if from_s <= row.ts < to_s]


class MemoryRegistry:
    """`lost`: nothing can be read or written."""

    def __init__(self) -> None:
        self.lost = False
        self.by_id: dict[str, App] = {}
        self.all_keys: list[ApiKey] = []
        self.all_secrets: list[SigningSecret] = []
        self.log: list[Revocation] = []
        self.deleted: list[str] = []
        self.tokens: dict[bytes, str] = {}
        self.hooks: list[Endpoint] = []
        self.app_reads = 0
        self._version = 1

    async def version(self) -> int:
        self._check()
        return self._version

    async def create_app(self, app: App, key: ApiKey, secret: SigningSecret) -> None:
        self._check()
        if app.app_id in self.by_id or app.app_id in self.deleted:
            raise Conflict("taken")
        self.by_id[app.app_id] = app
        self.all_keys.append(key)
        self.all_secrets.append(secret)
        self._version += 1

    async def app(self, app_id: str) -> App:
        self._check()
        self.app_reads += 1
        if app_id not in self.by_id:
            raise NotFound("no such app")
        return self.by_id[app_id]

    async def apps(self, after: str, limit: int) -> Sequence[App]:
        self._check()
        return [self.by_id[app_id] for app_id in sorted(self.by_id) if app_id > after][:limit]

    async def rename_app(self, app_id: str, name: str) -> App:
        return self._put(replace(await self.app(app_id), name=name))

    async def suspend_app(self, app_id: str, at_us: int) -> App:
        app = self._put(replace(await self.app(app_id), suspended=True))
        self._revoke(app_id, "app", app_id, at_us)
        return app

    async def resume_app(self, app_id: str) -> App:
        return self._put(replace(await self.app(app_id), suspended=False))

    async def delete_app(self, app_id: str, at_us: int) -> None:
        await self.app(app_id)
        del self.by_id[app_id]
        self.deleted.append(app_id)
        self.all_keys = [key for key in self.all_keys if key.app_id != app_id]
        self.all_secrets = [secret for secret in self.all_secrets if secret.app_id != app_id]
        self._revoke(app_id, "app", app_id, at_us)

    async def deleted_apps(self) -> Sequence[str]:
        self._check()
        return list(self.deleted)

    async def app_erased(self, app_id: str) -> None:
        self.deleted.remove(app_id)

    async def patch_limits(self, app_id: str, patch: LimitsPatch) -> App:
        app = await self.app(app_id)
        return self._put(replace(app, limits=apply_patch(app.limits, patch)))

    async def set_kind(self, app_id: str, kind: str, override: PolicyOverride | None) -> App:
        app = await self.app(app_id)
        kinds = {name: one for name, one in app.kinds.items() if name != kind}
        return self._put(replace(app, kinds=kinds if override is None else kinds | {kind: override}))

    async def add_key(self, key: ApiKey) -> None:
        self._check()
        self.all_keys.append(key)
        self._version += 1

    async def keys(self, app_id: str) -> Sequence[ApiKey]:
        self._check()
        return [key for key in reversed(self.all_keys) if key.app_id == app_id]

    async def rotate_key(self, app_id: str, key_id: str, new: ApiKey, old_expires_us: int) -> None:
        self._change_key(app_id, key_id, expires_us=old_expires_us)
        self.all_keys.append(new)

    async def revoke_key(self, app_id: str, key_id: str, at_us: int) -> None:
        self._change_key(app_id, key_id, revoked_us=at_us)
        self._revoke(app_id, "key", key_id, at_us)

    async def add_secret(self, secret: SigningSecret) -> None:
        self._check()
        self.all_secrets.append(secret)
        self._version += 1

    async def secrets(self, app_id: str) -> Sequence[SigningSecret]:
        self._check()
        return [secret for secret in reversed(self.all_secrets) if secret.app_id == app_id]

    async def revoke_secret(self, app_id: str, secret_id: str, at_us: int) -> None:
        self.all_secrets = [
            replace(secret, revoked_us=at_us) if secret.secret_id == secret_id else secret
            for secret in self.all_secrets
        ]
        self._version += 1

    async def add_webhook(self, endpoint: Endpoint, at_most: int) -> None:
        self._check()
        self.hooks.append(endpoint)
        self._version += 1

    async def webhooks(self, app_id: str) -> Sequence[Endpoint]:
        self._check()
        return [endpoint for endpoint in self.hooks if endpoint.app_id == app_id]

    async def all_webhooks(self) -> Sequence[Endpoint]:
        self._check()
        return list(self.hooks)

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
        raise NotImplementedError

    async def set_webhook_secrets(
        self, app_id: str, endpoint_id: str, before: Sequence[EndpointSecret], now: Sequence[EndpointSecret]
    ) -> Endpoint:
        raise NotImplementedError

    async def remove_webhook(self, app_id: str, endpoint_id: str) -> None:
        self.hooks = [endpoint for endpoint in self.hooks if endpoint.endpoint_id != endpoint_id]
        self._version += 1

    async def revoke(
        self, app_id: str, what: RevocationSubject, subject: str, at_us: int, keep_until_us: int
    ) -> None:
        self._check()
        self._revoke(app_id, what, subject, at_us)

    async def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        self._check()
        return [line for line in self.log if line.cursor > after][:limit]

    async def add_admin_token(self, digest: bytes, name: str, at_us: int) -> None:
        self.tokens[digest] = name
        self._version += 1

    async def admin_tokens(self) -> Mapping[bytes, str]:
        self._check()
        return dict(self.tokens)

    def _check(self) -> None:
        if self.lost:
            raise Unavailable("the registry is lost")

    def _put(self, app: App) -> App:
        self.by_id[app.app_id] = app
        self._version += 1
        return app

    def _revoke(self, app_id: str, what: RevocationSubject, subject: str, at_us: int) -> None:
        self.log.append(Revocation(len(self.log) + 1, app_id, what, subject, at_us))
        self._version += 1

    def _change_key(self, app_id: str, key_id: str, **changes: int) -> None:
        self._check()
        self.all_keys = [
            replace(key, **changes) if (key.app_id, key.key_id) == (app_id, key_id) else key for key in self.all_keys
        ]
        self._version += 1


def _is_of(event: Event, app_id: str, channel: str, epoch: str) -> bool:
    return (event.app_id, event.channel, event.epoch) == (app_id, channel, epoch)
