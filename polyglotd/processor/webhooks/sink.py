"""The stage that queues webhooks: of what is in the log, that which any endpoint of the app wants.

A `Sink` of `log_stage`, whose reader lets the log go only as far as is durable here (`durable_commits`): a batch of
which nothing is wanted moves the cursor in memory alone, and in the queue now and then, or when the log falls silent.
Sends nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from polyglotd.log.interface import (
    AppForgotten,
    Erasure,
    LogReader,
    PresenceChanged,
    QuotaReached,
    ReadBatch,
    ReadRecord,
)
from polyglotd.model import Event, Unavailable
from polyglotd.model.event import tombstone
from polyglotd.model.webhooks import channel_item, published_item, quota_item
from polyglotd.processor.webhooks.endpoints import Endpoints
from polyglotd.processor.webhooks.who_is_where import News, PresenceBatch, WhoIsWhere
from polyglotd.store.interface import RecordRefused, SetAside, StoreFault
from polyglotd.store.webhooks import Appended, Item, WebhookQueue

CURSOR_S = 1.0  # so often the cursor is kept where nothing is queued …
CURSOR_BYTES = 1 << 20  # … or after so much of the log
KEEP_DEADLINE_S = 10.0  # for a queue to keep an idle log's cursor


class WebhookSink:
    def __init__(self, queue: WebhookQueue, endpoints: Endpoints, clock: Callable[[], int]) -> None:
        self._queue = queue
        self._endpoints = endpoints
        self._clock = clock
        self._who: WhoIsWhere | None = None
        self._kept_s = float("-inf")
        self._log_id = ""
        self._passed = 0  # before it nothing is wanted that is not in the queue
        self.durable = 0  # the queue's cursor of the log that is read

    async def cursor(self, log_id: str) -> int:
        self._log_id = log_id
        self.durable = self._passed = await self._queue.cursor(log_id)
        return self.durable

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        """See `log_stage.Sink`. Endpoints are looked up after the records were read: one that was added before any of
        them was published gets it."""
        await self._endpoints.refresh()
        if self._who is None:
            self._who = WhoIsWhere(await self._queue.presences())
        presence = self._who.batch()
        items, erasures = self._wanted(records, presence)
        batch = Appended(
            items=items,
            forgotten=sorted(presence.forgotten),
            erasures=erasures,
            present=presence.steps(),
            generations=presence.generations,
            set_aside=set_aside,
        )
        says_something = any(getattr(batch, name) for name in Appended.__struct_fields__)
        if not says_something and not self._cursor_is_due(end):
            self._passed = end
            return
        await self._queue.append(log_id, end, batch)
        self._who.apply(presence)
        self._moved(end)
        for app_id in {item.app_id for item in items}:
            self._endpoints.arrived(app_id)

    async def keep_cursor(self) -> None:
        """Make durable how far it went. What the queue does not take now comes with the next batch."""
        with suppress(Unavailable, StoreFault), trio.move_on_after(KEEP_DEADLINE_S):
            passed = self._passed
            await self._queue.append(self._log_id, passed, Appended())
            self._moved(passed)

    @property
    def cursor_lags(self) -> bool:
        return self.durable < self._passed

    def durable_commits(self, reader: LogReader) -> LogReader:
        """The stage's reader, which lets nothing go that a crash would make it read again."""
        return _DurableCommits(reader, self)

    def _moved(self, end: int) -> None:
        self.durable, self._passed = max(self.durable, end), max(self._passed, end)
        self._kept_s = trio.current_time()

    def _cursor_is_due(self, end: int) -> bool:
        return end - self.durable >= CURSOR_BYTES or trio.current_time() - self._kept_s >= CURSOR_S

    def _wanted(
        self, records: Sequence[ReadRecord], presence: PresenceBatch
    ) -> tuple[Sequence[Item], Sequence[Erasure]]:
        items: list[Item] = []
        events: list[Event | None] = []  # of each item
        erasures: list[Erasure] = []
        by_app = self._endpoints.by_app
        for index, record in enumerate(records):
            if isinstance(record, Event):
                if record.app_id in by_app and self._is_wanted(
                    record.app_id, "event.published", record.channel, record.type, record.ts_us
                ):
                    items.append(_event_item(index, record))
                    events.append(record)
            elif isinstance(record, PresenceChanged):
                for news in presence.take(record):
                    if self._is_wanted(news.app_id, news.type, news.channel, None, news.ts_us):
                        items.append(_presence_item(news))
                        events.append(None)
            elif isinstance(record, QuotaReached):
                if self._is_wanted(record.app_id, "quota.reached", None, None, record.ts_us):
                    items.append(_quota_item(record))
                    events.append(None)
            elif isinstance(record, Erasure):
                erasures.append(record)
                for place, event in enumerate(events):
                    if event is not None and record.covers(event):
                        items[place] = _event_item(index, tombstone(event))
            elif isinstance(record, AppForgotten):
                kept = [place for place, item in enumerate(items) if item.app_id != record.app_id]
                items, events = [items[place] for place in kept], [events[place] for place in kept]
                presence.forget(record.app_id)
        return items, erasures

    def _is_wanted(self, app_id: str, type_: str, channel: str | None, event_type: str | None, ts_us: int) -> bool:
        return any(
            endpoint.wants(type_, channel, event_type, ts_us) for endpoint in self._endpoints.by_app.get(app_id, ())
        )


def _event_item(index: int, event: Event) -> Item:
    try:
        body = published_item(event).decode()
    except UnicodeError as error:
        raise RecordRefused(index, f"it is not UTF-8: {error}") from error
    return Item(
        app_id=event.app_id,
        type="event.published",
        ts_us=event.ts_us,
        body=body,
        channel=event.channel,
        event_type=event.type,
        epoch=event.epoch,
        seq=event.seq,
        user_id=event.user_id,
    )


def _presence_item(news: News) -> Item:
    user_id = news.user_id or None
    body = channel_item(news.type, news.app_id, news.channel, news.ts_us, user_id).decode()
    return Item(
        app_id=news.app_id, type=news.type, ts_us=news.ts_us, body=body, channel=news.channel, user_id=user_id
    )


def _quota_item(record: QuotaReached) -> Item:
    body = quota_item(
        record.app_id, record.quota, record.month, record.percent, record.limit, record.used, record.ts_us
    )
    return Item(app_id=record.app_id, type="quota.reached", ts_us=record.ts_us, body=body.decode())


class _DurableCommits:
    def __init__(self, reader: LogReader, sink: WebhookSink) -> None:
        self._reader = reader
        self._sink = sink

    async def next_batch(self, limit: int) -> ReadBatch:
        """An idle log is let go too: nobody knows when its next record comes."""
        if self._sink.cursor_lags:
            with trio.move_on_after(CURSOR_S):
                return await self._reader.next_batch(limit)
            await self._sink.keep_cursor()
            with suppress(Unavailable):  # the next batch's commit says it too
                await self._reader.commit(self._sink.durable)
        return await self._reader.next_batch(limit)

    async def commit(self, position: int) -> None:
        await self._reader.commit(min(position, self._sink.durable))

    @property
    def position(self) -> int:
        return self._reader.position

    @property
    def end(self) -> int:
        return self._reader.end
