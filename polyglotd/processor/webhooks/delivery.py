"""One endpoint's deliveries: items become messages, messages are sent until they are through.

`deliveries` runs one a task for each enabled endpoint. One message is under way at a time, and the next is made only
when it is through, so that an endpoint sees each channel's items in order. A message that an endpoint which is alive
refuses again and again is put aside after some tries: its channels wait for it, the others go on. An endpoint that
does not answer at all is left alone, but for a probe now and then, and its items wait in the queue; so is one that
refuses everything. What was tried for 24 h is a dead letter.
"""

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import trio

from polyglotd.access.webhook_addresses import Target
from polyglotd.access.webhook_secrets import new_message_id, signature_headers
from polyglotd.model import Endpoint, NotFound, Unavailable
from polyglotd.model.webhooks import message_body
from polyglotd.processor.webhooks.backoff import (
    BREAKER_FAILURES,
    TRIED_FOR_US,
    breaker_delay_us,
    retry_delay_us,
)
from polyglotd.processor.webhooks.delivery_counts import DeliveryCounts
from polyglotd.processor.webhooks.lanes import Lanes
from polyglotd.processor.webhooks.sending import Outcome, Sender
from polyglotd.store.interface import StoreFault
from polyglotd.store.webhooks import Message, QueuedItem, Runs, Try, WebhookQueue

logger = logging.getLogger(__name__)

ITEMS_MAX = 500  # of a message …
BYTES_MAX = 512 << 10  # … unless one item alone is larger
GATHER_US = 100_000  # a message that is not full waits for more until its first item is so old
PUT_ASIDE_AFTER = 3  # tries that were answered
PENDING_MAX = 200  # messages that were made and are not through; then no more are made
CURSOR_LAG = 2_000  # unwanted items that were looked at before the cursor is kept …
CURSOR_KEPT_US = 5_000_000  # … or so long after the last time
STORE_RETRY_S = 1.0
US = 1_000_000

WHOLE_APP = ""  # in place of a channel


@dataclass(slots=True)
class _Pending:
    message: Message
    channels: frozenset[str]
    body: bytes | None = None  # while it is young; it can be read again

    @property
    def is_aside(self) -> bool:
        return self.message.answered and self.message.attempts >= PUT_ASIDE_AFTER


class Delivery:
    def __init__(
        self,
        endpoint: Endpoint,
        target: Target,
        queue: WebhookQueue,
        sender: Sender,
        lanes: Lanes,
        counts: DeliveryCounts,
        clock: Callable[[], int],
        arrival: Callable[[str], trio.Event],
        gone: Callable[[Endpoint, str], Awaitable[None]],
    ) -> None:
        """`gone`: it has said that it wants nothing more."""
        self.endpoint = endpoint
        self._target = target
        self._queue = queue
        self._sender = sender
        self._lanes = lanes
        self._counts = counts
        self._clock = clock
        self._arrival = arrival
        self._gone = gone
        self._dice = random.Random()
        self._reload = trio.Event()
        self._pending: list[_Pending] = []
        self._cursor = self._cursor_kept = 0
        self._kept_us = 0
        self._failures = 0
        self._resume_us = 0

    async def run(self) -> None:
        """Run until cancelled, which is safe at any await: what was under way is sent again."""
        try:
            while True:
                try:
                    await self._load()
                    while not self._reload.is_set():
                        await self._step()
                except (Unavailable, StoreFault, trio.TooSlowError) as error:
                    logger.debug(
                        "webhook %s waits for its queue: %s", self.endpoint.endpoint_id, error
                    )  # `deliveries` warns
                    await trio.sleep(STORE_RETRY_S)
        finally:
            await self._sender.aclose()

    @property
    def is_only_probed(self) -> bool:
        return self._failures >= BREAKER_FAILURES

    def reload(self) -> None:
        """Somebody else has changed what is to be sent."""
        self._reload.set()

    # --- what there is ---

    async def _load(self) -> None:
        self._reload = trio.Event()
        state = await self._queue.begin(self.endpoint.app_id, self.endpoint.endpoint_id)
        self._cursor = self._cursor_kept = state.cursor
        self._failures, self._resume_us = state.failures, state.resume_us
        known = {pending.message.message_id: pending for pending in self._pending}
        self._pending = []
        for message in await self._queue.pending(self.endpoint.endpoint_id):
            old = known.get(message.message_id)
            if old is None:
                items = await self._queue.contents(message.app_id, message.runs)
                if items is None:
                    await self._queue.drop(message.message_id)
                    continue
                old = _Pending(message, _channels(items))
            self._pending.append(_Pending(message, old.channels))  # its body may have been erased

    async def _step(self) -> None:
        now = self._clock()
        if self._resume_us > now:
            await self._expire(now)
            await self._wait(self._resume_us, trio.Event())
            return
        arrival = self._arrival(self.endpoint.app_id)  # before the items are read: none is missed
        pending = self._due(now)
        if pending is not None:
            await self._try(pending)
            return
        held = self._held()
        if held is not None and await self._form(held):
            return
        waits = [p.message.next_us for p in self._pending if p.message.next_us > now]
        if self._cursor != self._cursor_kept:
            if self._kept_us + CURSOR_KEPT_US <= now:
                await self._keep([])
            waits.append(self._kept_us + CURSOR_KEPT_US)
        await self._wait(min(waits, default=None), arrival if held is not None else trio.Event())

    async def _wait(self, until_us: int | None, news: trio.Event) -> None:
        """Return at that time, at news, or where somebody else has changed something."""
        deadline = float("inf") if until_us is None else trio.current_time() + (until_us - self._clock()) / US
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = deadline
            for event in (news, self._reload):
                nursery.start_soon(_cancel_at, event, nursery.cancel_scope)

    def _due(self, now: int) -> _Pending | None:
        """The first that may be tried now: none of its channels waits for an older one."""
        held: set[str] = set()
        for pending in self._pending:
            message = pending.message
            if message.next_us <= now and (message.replayed or not pending.channels & held):
                return pending
            if not message.replayed:
                held |= pending.channels
        return None

    def _held(self) -> set[str] | None:
        """The channels whose items wait for a message that was put aside; None where all do."""
        held: set[str] = set()
        if len(self._pending) >= PENDING_MAX:
            return None
        for pending in self._pending:
            if not pending.message.replayed:
                if not pending.is_aside and not pending.channels & held:
                    return None
                held |= pending.channels
        return held

    # --- making messages ---

    async def _form(self, held: set[str]) -> bool:
        """Make messages of the next items; whether there were any items."""
        items = await self._queue.items(self.endpoint.app_id, self._cursor, ITEMS_MAX, BYTES_MAX)
        wanted = [item for item in items if self._wants(item)]
        full = len(items) >= ITEMS_MAX or sum(len(item.body) for item in items) > BYTES_MAX // 2
        if wanted and not full:
            rest_us = wanted[0].at_us + GATHER_US - self._clock()
            if 0 < rest_us <= GATHER_US:
                await trio.sleep(rest_us / US)
                items = await self._queue.items(self.endpoint.app_id, self._cursor, ITEMS_MAX, BYTES_MAX)
                wanted = [item for item in items if self._wants(item)]
        if not items:
            return False
        cursor = items[-1].n
        go = [item for item in wanted if _channel(item) not in held]
        aside = [item for item in wanted if _channel(item) in held]
        made = [self._pending_of(part) for part in (aside, go) if part]
        self._cursor = cursor
        if made or cursor - self._cursor_kept >= CURSOR_LAG:
            await self._keep(made)
        return True

    async def _keep(self, made: Sequence[_Pending]) -> None:
        """Where an error rises, all is read anew."""
        await self._queue.formed(self.endpoint.endpoint_id, self._cursor, [p.message for p in made])
        self._cursor_kept, self._kept_us = self._cursor, self._clock()
        self._pending += made

    def _wants(self, item: QueuedItem) -> bool:
        return self.endpoint.wants(item.type, item.channel, item.event_type, item.ts_us)

    def _pending_of(self, items: Sequence[QueuedItem]) -> _Pending:
        now = self._clock()
        message = Message(
            message_id=new_message_id(),
            endpoint_id=self.endpoint.endpoint_id,
            app_id=self.endpoint.app_id,
            runs=_runs([item.n for item in items]),
            count=len(items),
            created_us=now,
            until_us=items[0].at_us + TRIED_FOR_US,
        )
        return _Pending(message, _channels(items), _body(message, items))

    # --- sending them ---

    async def _try(self, pending: _Pending) -> None:
        message = pending.message
        body = pending.body
        if body is None:
            items = await self._queue.contents(message.app_id, message.runs)
            if items is None:
                await self._queue.drop(message.message_id)
                self._pending.remove(pending)
                return
            body = _body(message, items)
        async with self._lanes.failing if self._failures else self._lanes.well:
            at_us = self._clock()
            headers = signature_headers(message.message_id, body, self.endpoint.secrets, at_us)
            outcome = await self._sender.post(self._target, headers, body)
        one = Try(
            message_id=message.message_id,
            at_us=at_us,
            attempt=message.attempts + 1,
            items=message.count,
            duration_ms=outcome.duration_ms,
            status=outcome.status,
            error=outcome.error,
        )
        if outcome.good:
            await self._through(pending, one)
        else:
            await self._failed(pending, one, outcome)

    async def _through(self, pending: _Pending, one: Try) -> None:
        await self._queue.sent(self.endpoint.endpoint_id, one)
        self._pending.remove(pending)
        if self.is_only_probed:
            logger.info("webhook %s answers again", self.endpoint.endpoint_id)
        self._failures = self._resume_us = 0
        self._counts.sent_total += 1
        self._counts.items_sent_total += one.items

    async def _failed(self, pending: _Pending, one: Try, outcome: Outcome) -> None:
        now = self._clock()
        self._counts.failed_total += 1
        self._failures += 1
        if self._failures == BREAKER_FAILURES:
            logger.warning("webhook %s fails, it is probed now and then: %s", self.endpoint.endpoint_id, one.error)
        asked_us = int((outcome.retry_after_s or 0.0) * US)
        self._resume_us = now + max(asked_us, breaker_delay_us(self._failures, self._dice))
        message = msgspec.structs.replace(
            pending.message,
            attempts=one.attempt,
            answered=outcome.status is not None,
            next_us=now + max(asked_us, retry_delay_us(one.attempt, self._dice)),
        )
        pending.message, pending.body = message, None
        await self._queue.failed(message, one, self._failures, self._resume_us)
        if outcome.status == 410:
            await self._end("it answered 410 Gone")
        elif message.until_us <= now:
            await self._died(pending, f"not delivered within 24 h; at last: {one.error}")

    async def _end(self, why: str) -> None:
        with contextlib.suppress(NotFound):
            await self._gone(self.endpoint, why)
        await trio.sleep_forever()  # `deliveries` ends this task as soon as it has heard

    async def _expire(self, now: int) -> None:
        """While the endpoint is down: give up what has waited for 24 h, made into messages where it was not yet."""
        if not self.is_only_probed:
            return
        why = "the webhook has not answered for 24 h"
        for pending in list(self._pending):
            if pending.message.until_us <= now and pending.message.attempts:
                await self._died(pending, why)
        while not any(not pending.message.replayed for pending in self._pending):
            items = await self._queue.items(self.endpoint.app_id, self._cursor, ITEMS_MAX, BYTES_MAX)
            old = [item for item in items if item.at_us + TRIED_FOR_US <= now]
            if not old:
                return
            wanted = [item for item in old if self._wants(item)]
            made = [self._pending_of(wanted)] if wanted else []
            self._cursor = old[-1].n
            await self._keep(made)
            for pending in made:
                await self._died(pending, why)

    async def _died(self, pending: _Pending, why: str) -> None:
        await self._queue.died(pending.message.message_id, why, self._clock())
        self._pending.remove(pending)
        self._counts.dead_total += 1


def _channel(item: QueuedItem) -> str:
    return item.channel or WHOLE_APP


def _channels(items: Sequence[QueuedItem]) -> frozenset[str]:
    return frozenset(map(_channel, items))


def _runs(numbers: Sequence[int]) -> Runs:
    runs: list[tuple[int, int]] = []
    for n in numbers:
        if runs and runs[-1][1] == n - 1:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    return tuple(runs)


def _body(message: Message, items: Sequence[QueuedItem]) -> bytes:
    return message_body([item.body.encode() for item in items], message.created_us)


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
