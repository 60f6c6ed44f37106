"""Publishes that come over HTTP or from operators: checked, counted, and admitted by the plane in one crossing.

Results stand in the order of the items; one that is refused stops no other. Members' own publishes never come here:
the plane admits those.
"""

from collections.abc import Collection, Mapping, Sequence

import trio

from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.app_rates import AppRates, Rates
from polyglotd.gateway.callers import Caller, UserCaller
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.permissions import check_app_wide, check_publish
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.quotas import Quotas
from polyglotd.gateway.requests import Published, PublishRequest
from polyglotd.gateway.topics import Topic, Topics, unknown_kind
from polyglotd.model import (
    Forbidden,
    InternalFault,
    Invalid,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    Refusal,
    Unavailable,
    check_channel,
    check_client_event_id,
    check_type,
    check_user_id,
    kind_of,
)
from polyglotd.plane.interface import Accepted, PublishItem, Refused

BATCH_EVENTS_MAX = 1000
OPENINGS_AT_ONCE_MAX = 16  # of one batch: one over a thousand channels does not keep others from the store
OPENING_ROUNDS_MAX = 3  # a channel that was open may have closed while others were opened


class Publishing:
    def __init__(
        self,
        port: PlanePort,
        directory: Directory,
        topics: Topics,
        rates: AppRates,
        active: ActiveApps,
        quotas: Quotas,
    ) -> None:
        self._port = port
        self._directory = directory
        self._topics = topics
        self._rates = rates
        self._active = active
        self._quotas = quotas

    async def publish(
        self, caller: Caller, items: Sequence[PublishRequest], as_user: str | None
    ) -> list[Published | Refusal]:
        """Raises for the batch as a whole: `Forbidden`, `Invalid`, and `Unavailable` where its outcome is unknown."""
        user_id = _publisher(caller, as_user)
        if len(items) > BATCH_EVENTS_MAX:
            raise Invalid(f"a batch has at most {BATCH_EVENTS_MAX} events", field="events")
        app_id = caller.app.app_id
        with self._active.held(app_id):
            entry = await self._directory.entry(app_id)
            rates = await self._rates.configured(app_id, entry.app.limits)
            results: dict[int, Published | Refusal] = {}
            good: list[int] = []
            checked: set[str] = set()
            for index, item in enumerate(items):
                try:
                    if item.channel not in checked:
                        _check_channel(caller, entry, item.channel)
                        checked.add(item.channel)
                    _check_event(item)
                    good.append(index)
                except Refusal as refusal:
                    results[index] = refusal
            good, limited = _within_rate(rates, good)
            results.update(limited)
            channels = {items[index].channel for index in good}
            refused = await self._opened(entry, channels)
            topics = {channel: self._topics.find(app_id, channel) for channel in channels}
            await self._cross(topics, items, user_id, good, refused, results)
        return [results[index] for index in range(len(items))]

    async def _opened(self, entry: Entry, channels: Collection[str]) -> Mapping[str, Refusal]:
        """Open those of the channels that are not; which could not be, and why."""
        refused: dict[str, Refusal] = {}
        limiter = trio.CapacityLimiter(OPENINGS_AT_ONCE_MAX)

        async def open_one(channel: str) -> None:
            async with limiter:
                try:
                    await self._topics.acquire(entry, channel)
                except Refusal as refusal:
                    refused[channel] = refusal

        for _ in range(OPENING_ROUNDS_MAX):
            closed = [c for c in channels if c not in refused and self._topics.find(entry.app.app_id, c) is None]
            if not closed:
                break
            async with trio.open_nursery() as nursery:
                for channel in closed:
                    nursery.start_soon(open_one, channel)
        return refused

    async def _cross(
        self,
        topics: Mapping[str, Topic | None],
        items: Sequence[PublishRequest],
        user_id: str | None,
        good: Sequence[int],
        refused: Mapping[str, Refusal],
        results: dict[int, Published | Refusal],
    ) -> None:
        crossing: list[int] = []
        commands: list[PublishItem] = []
        for index in good:
            item = items[index]
            topic = topics[item.channel]
            if topic is None:
                results[index] = refused.get(item.channel) or Unavailable("the channel could not be opened")
            else:
                crossing.append(index)
                commands.append(PublishItem(topic.topic, item.type, item.data, item.id, user_id))
        if commands:
            for index, answer in zip(crossing, await self._port.publish(commands), strict=True):
                results[index] = _result(answer, self._quotas)


def _publisher(caller: Caller, as_user: str | None) -> str | None:
    """Whose events they are. Raises `Forbidden` also where this caller may publish nothing at all."""
    if isinstance(caller, UserCaller):
        if as_user not in (None, caller.user_id):
            raise Forbidden("a user's token publishes as its own user; X-User-Id names another")
        return caller.user_id
    check_app_wide(caller, "publish")
    return None if as_user is None else check_user_id(as_user, "X-User-Id")


def _check_channel(caller: Caller, entry: Entry, channel: str) -> None:
    """Whether this caller may publish there."""
    check_channel(channel)
    policy = entry.policy(kind_of(channel))
    if policy is None:
        raise unknown_kind(channel)
    check_publish(caller, channel, policy)


def _check_event(item: PublishRequest) -> None:
    check_type(item.type)
    if item.id is not None:
        check_client_event_id(item.id)


def _within_rate(rates: Rates, good: list[int]) -> tuple[list[int], Mapping[int, Refusal]]:
    """Those that the app's rate has room for, and refusals for the others."""
    now_us = steady_us()
    taken = rates.api_publishes.take_up_to(len(good), now_us)
    if taken == len(good):
        return good, {}
    retry_after_ms = max(1, -(-rates.api_publishes.peek(1, now_us) // 1000))
    limit = rates.limits.api_publishes
    return good[:taken], {
        index: RateLimited(f"the app publishes at most {limit} events a second", retry_after_ms=retry_after_ms)
        for index in good[taken:]
    }


def _result(answer: Accepted | Refused, quotas: Quotas) -> Published | Refusal:
    if isinstance(answer, Accepted):
        return Published(answer.id, answer.seq, answer.ts_us, answer.duplicate)
    match answer.reason:
        case "payload_too_large":
            return PayloadTooLarge(answer.message, limit=answer.limit or 0)
        case "rate_limited":
            return RateLimited(answer.message, retry_after_ms=answer.retry_after_ms or 1000)
        case "quota_exceeded":
            quota = answer.quota or ""
            return QuotaExceeded(answer.message, quota=quota, retry_after_s=quotas.retry_after_s(quota))
        case "invalid":
            return Invalid(answer.message, field="data")
        case "unavailable":
            return Unavailable(answer.message, retry_after_ms=answer.retry_after_ms or 1000)
        case _:
            return InternalFault(answer.message)
