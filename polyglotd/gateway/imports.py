"""Events that were exported come back: ids, users, times, types and data as they were, into channels without a past.

Used by the admin API. They go through the log, as every event does, so the store, the analytics and a restart find
them as they find all others; nobody is in such a channel, so nobody has to be told. Seqs follow each other from 1
(the client numbers them, `model.imported_epoch`), which is also why a part that is sent again is known by its seqs.
They fill `stored-bytes` as all events do; no rate and no `events-per-month` holds up what has happened.
"""

from collections.abc import Sequence

import msgspec

from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.quotas import Quotas
from polyglotd.gateway.topics import Topics, unknown_kind
from polyglotd.limits.usage_tally import BYTES
from polyglotd.log.interface import EventLog
from polyglotd.model import (
    Conflict,
    Event,
    Forbidden,
    Invalid,
    QuotaExceeded,
    Refusal,
    check_channel,
    check_event_id,
    check_type,
    check_user_id,
    kind_of,
)
from polyglotd.store.interface import EventStore, HistoryQuery

EPOCH_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")


class ImportedEvent(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: bytes
    user_id: str | None
    ts_us: int


class ImportRun(msgspec.Struct, frozen=True):
    """Events of one channel and epoch that follow each other, from `first_seq` on. `follows`: which epoch of the same
    import the channel was in before; None: none."""

    channel: str
    epoch: str
    follows: str | None
    first_seq: int
    events: Sequence[ImportedEvent]


class Imported(msgspec.Struct, frozen=True):
    """`duplicates`: those that were there already, by their seqs."""

    imported: int
    duplicates: int


class Imports:
    def __init__(
        self,
        log: EventLog,
        store: EventStore,
        directory: Directory,
        topics: Topics,
        active: ActiveApps,
        rates: AppRates,
        quotas: Quotas,
    ) -> None:
        self._log = log
        self._store = store
        self._directory = directory
        self._topics = topics
        self._active = active
        self._rates = rates
        self._quotas = quotas

    async def run(self, entry: Entry, runs: Sequence[ImportRun]) -> list[Imported | Refusal]:
        """A result a run, in order; one that is refused has nothing imported. Raises `Unavailable` where the log
        takes nothing now, and `QuotaExceeded` where the app's `stored-bytes` are used up: then some of them may be
        imported, and may be sent again."""
        app_id = entry.app.app_id
        with self._active.held(app_id):
            await self._rates.configured(app_id, entry.app.limits)  # from here on it is known what is used
            return await self._in_order(entry, runs)

    async def _in_order(self, entry: Entry, runs: Sequence[ImportRun]) -> list[Imported | Refusal]:
        results: list[Imported | Refusal] = []
        end = 0
        try:
            for run in runs:
                try:
                    result, end = await self._one(entry, run)
                    results.append(result)
                except (Invalid, Conflict, Forbidden) as refusal:
                    results.append(refusal)
                except Refusal as refusal:
                    if refusal.reason in ("unavailable", "quota_exceeded"):
                        raise
                    results.append(refusal)
        finally:
            if end:
                await self._log.synced(end)
        return results

    async def _one(self, entry: Entry, run: ImportRun) -> tuple[Imported, int]:
        app_id = entry.app.app_id
        _check(run)
        there = await self._there(app_id, run)
        # From here on without a wait: what was found out holds until the events are in the log.
        current = self._directory.cached(app_id) or entry
        policy = current.policy(kind_of(run.channel))
        if policy is None:
            raise unknown_kind(run.channel)
        if policy.durability != "logged":
            raise Invalid(f"{run.channel} is of a memory kind: its events are kept nowhere", field="channel")
        new = run.events[max(0, there + 1 - run.first_seq) :]
        if not new:
            return Imported(0, len(run.events)), 0
        if self._quotas.used_up(app_id)[1]:
            raise QuotaExceeded(f"{app_id} has used up its {BYTES}", quota=BYTES)
        first_seq = run.first_seq + len(run.events) - len(new)
        if first_seq != there + 1:
            raise Invalid(f"seq {there + 1} is the next, not {first_seq}: an event before it is missing", field="seq")
        if self._topics.is_known(app_id, run.channel):
            raise Conflict(f"{run.channel} is in use; import it while nobody is in it, a minute after the last left")
        head = self._log.head(app_id, run.channel)
        if head.epoch != run.epoch and head.seq > 0 and head.epoch != run.follows:
            raise Conflict(f"{run.channel} has a past of its own here; import into an app where it has none")
        if head.epoch == run.epoch and head.seq != there:
            raise Conflict(f"{run.channel} has just changed; send it again")
        events = [
            Event(
                id=event.id,
                app_id=app_id,
                channel=run.channel,
                epoch=run.epoch,
                seq=seq,
                type=event.type,
                data=event.data,
                user_id=event.user_id,
                ts_us=event.ts_us,
            )
            for seq, event in enumerate(new, first_seq)
        ]
        end = self._log.append(events)
        self._quotas.on_imported(app_id, end, events)
        return Imported(len(new), len(run.events) - len(new)), end

    async def _there(self, app_id: str, run: ImportRun) -> int:
        """Up to which seq the epoch is here."""
        head = self._log.head(app_id, run.channel)
        if head.epoch == run.epoch or head.seq == 0:
            return head.seq
        # Another epoch: this one may be one that the same import has left behind.
        query = HistoryQuery(app_id=app_id, channel=run.channel, epoch=run.epoch, limit=1)
        events = (await self._store.history(query)).events
        return events[-1].seq if events else 0


def _check(run: ImportRun) -> None:
    """Raises `Invalid`."""
    check_channel(run.channel)
    for epoch in (run.epoch, run.follows):
        if epoch is not None and not (1 <= len(epoch) <= 64 and EPOCH_CHARACTERS.issuperset(epoch)):
            raise Invalid("an epoch is 1 to 64 of A-Z a-z 0-9 _ -", field="epoch")
    for event in run.events:
        check_event_id(event.id)
        check_type(event.type)
        if event.user_id is not None:
            check_user_id(event.user_id)
