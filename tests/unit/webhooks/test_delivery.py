"""Deliveries to endpoints that fail in every way, with real HTTP, the real queue, and a clock that the test moves."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock
from webhook_receiver import OK, Received, Receiver, Reply, answer, open_receiver

from polyglotd.access.webhook_addresses import Allowed
from polyglotd.access.webhook_secrets import new_webhook_secret
from polyglotd.log.interface import Erasure
from polyglotd.model import Endpoint, EndpointPatch, Event
from polyglotd.model.webhooks import published_item
from polyglotd.processor.webhooks import backoff, deliveries, endpoints
from polyglotd.processor.webhooks.backoff import TRIED_FOR_US, breaker_delay_us, retry_delay_us
from polyglotd.processor.webhooks.connecting import Connector
from polyglotd.processor.webhooks.deliveries import Deliveries
from polyglotd.processor.webhooks.endpoints import Endpoints
from polyglotd.store.sqlite.webhooks import SqliteWebhookQueue, open_sqlite_webhooks
from polyglotd.store.webhooks import Appended, Item

# A look at the clock costs PATIENT of real time: those that look often would make an hour of it.
FOLLOW_S, SWEEP_S = 21_600.0, 43_200.0
LONG_S = 1e9  # a clock that goes on while a disk is slow makes nonsense of deadlines

BEGUN_US = 1_795_508_130_000_000
PATIENT = 0.05  # real seconds without news, after which the clock goes on
DAY_S = 86_400


def clock() -> int:
    return BEGUN_US + int(trio.current_time() * 1_000_000)


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FOLLOW_S", FOLLOW_S)
    monkeypatch.setattr(deliveries, "SWEEP_S", SWEEP_S)
    monkeypatch.setattr(endpoints, "REGISTRY_DEADLINE_S", LONG_S)


@asynccontextmanager
async def open_patient_receiver(reply: Reply = OK) -> AsyncIterator[Receiver]:
    async with open_receiver(reply) as receiver:
        receiver.patience_s = LONG_S
        yield receiver


class Registry:
    """The endpoints, as the processor sees them."""

    def __init__(self) -> None:
        self.found: list[Endpoint] = []
        self.changes = 1

    async def version(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.changes

    async def all_webhooks(self) -> list[Endpoint]:
        return list(self.found)

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
        raise NotImplementedError


class Rig:
    def __init__(self, queue: SqliteWebhookQueue, registry: Registry, known: Endpoints, sending: Deliveries):
        self.queue = queue
        self.registry = registry
        self.endpoints = known
        self.deliveries = sending
        self._end = 0

    async def add(self, receiver: Receiver, *, endpoint_id: str = "whe_1", url: str | None = None) -> Endpoint:
        endpoint = Endpoint(
            endpoint_id, "chat", url or receiver.url(), ("event.published",), (new_webhook_secret(),), 0, 0
        )
        self.registry.found.append(endpoint)
        self.registry.changes += 1
        await self.endpoints.refresh()
        return endpoint

    async def publish(self, *events: tuple[str, int], data: bytes = b"1") -> None:
        items = []
        for channel, seq in events:
            event = Event(f"evt_{channel}{seq}", "chat", channel, "ep", seq, "m", data, "ann", clock())
            items.append(
                Item(
                    app_id="chat", type="event.published", ts_us=event.ts_us, body=published_item(event).decode(),
                    channel=channel, event_type="m", epoch="ep", seq=seq, user_id="ann",
                )
            )  # fmt: skip
        self._end += 1
        await self.queue.append("log", self._end, Appended(items=items))
        self.endpoints.arrived("chat")

    async def until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            await trio.sleep(3_600)

    async def state(self, endpoint_id: str = "whe_1"):  # type: ignore[no-untyped-def]
        return (await self.queue.states("chat"))[endpoint_id]


@asynccontextmanager
async def open_rig(path: Path, clock_: MockClock | None = None) -> AsyncIterator[Rig]:
    if clock_ is not None:
        clock_.autojump_threshold = PATIENT
    async with open_sqlite_webhooks(path / "webhooks.db", clock=clock) as queue, trio.open_nursery() as nursery:
        registry = Registry()
        known = Endpoints(registry, queue, clock)
        connector = Connector(Allowed(everything=True))
        sending = Deliveries(known, queue, connector, clock)
        await nursery.start(sending.run)
        yield Rig(queue, registry, known, sending)
        nursery.cancel_scope.cancel()


def seqs(received: list[Received], channel: str) -> list[int]:
    return [i["event"]["seq"] for r in received for i in r.items if i["event"]["channel"] == channel]


async def test_an_endpoint_that_says_500_for_a_day_leaves_dead_letters_that_can_be_replayed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """It asks for an hour between tries, so that the test has some thirty and not three hundred."""
    async with (
        open_patient_receiver(answer(500, "Retry-After: 3600")) as receiver,
        open_rig(tmp_path, autojump_clock) as rig,
    ):
        endpoint = await rig.add(receiver)
        await rig.publish(("room:a", 1), ("room:a", 2))
        began_s = trio.current_time()
        await rig.until(lambda: rig.deliveries.counts.dead_total >= 1)
        # On a busy machine the clock may go on while an answer is on its way: some hours more, some tries fewer.
        assert DAY_S <= trio.current_time() - began_s <= DAY_S + 4 * 3_600
        assert 20 <= len(receiver.received) <= 28
        assert {(r.message_id, r.body) for r in receiver.received} == {
            (receiver.received[0].message_id, receiver.received[0].body)
        }
        (letter,) = await rig.queue.dead_letters("whe_1", None, 9)
        assert letter.why == "not delivered within 24 h; at last: HTTP 500"
        assert (await rig.state()).waiting == 0
        said = rig.deliveries.health()
        assert (said.failed_total, said.dead_total, said.sent_total) == (len(receiver.received), 1, 0)
        assert (said.endpoints, said.circuits_open) == (1, 1)
        receiver.reply = OK
        await rig.queue.replay("whe_1", None, clock(), clock() + TRIED_FOR_US)
        count = len(receiver.received)
        await receiver.wait_for(lambda r: len(r.received) > count)
        assert receiver.received[-1].message_id == letter.message_id
        assert receiver.received[-1].body == receiver.received[0].body
        assert receiver.received[-1].headers["webhook-timestamp"] != receiver.received[0].headers["webhook-timestamp"]
        assert endpoint.enabled
        await rig.until(lambda: rig.deliveries.health().circuits_open == 0)
        said = rig.deliveries.health()
        assert (said.sent_total, said.items_sent_total, said.dead_total) == (1, 2, 1)


async def test_what_waits_for_an_endpoint_that_is_away_for_days_becomes_dead_letters_by_age(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "RETRY_MAX_S", 7_200.0)
    async with open_patient_receiver() as receiver:
        url = receiver.url()
    async with open_rig(tmp_path, autojump_clock) as rig:
        await rig.add(receiver, url=url)
        for seq in range(1, 4):
            await rig.publish(("room:a", seq))
            await trio.sleep(DAY_S / 4)
        assert (await rig.state()).waiting == 1  # a row a message that was tried, and none for what waits
        await trio.sleep(2 * DAY_S)
        letters = await rig.queue.dead_letters("whe_1", None, 9)
        assert sum(letter.items for letter in letters) == 3
        state = await rig.state()
        assert (state.waiting, state.behind) == (0, 0)


async def test_a_message_that_is_refused_again_and_again_holds_up_its_own_channels_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def picky(received: Received, stream: trio.abc.Stream) -> None:
        await (answer(422) if b'"poison"' in received.body and not healed else OK)(received, stream)

    healed = False
    async with open_patient_receiver(picky) as receiver, open_rig(tmp_path, autojump_clock) as rig:
        await rig.add(receiver)
        await rig.publish(("room:bad", 1), data=b'"poison"')
        await receiver.count(1)
        await rig.publish(("room:bad", 2), ("room:good", 1))
        await receiver.wait_for(lambda r: seqs(r.received, "room:good") == [1])
        await rig.publish(("room:good", 2), ("room:bad", 3), ("room:new", 1))
        await receiver.wait_for(lambda r: seqs(r.received, "room:new") == [1])
        assert seqs(receiver.received, "room:good") == [1, 2]
        assert set(seqs(receiver.received, "room:bad")) == {1}  # 2 and 3 wait for it
        healed = True
        await receiver.wait_for(lambda r: 3 in seqs(r.received, "room:bad"))
        assert list(dict.fromkeys(seqs(receiver.received, "room:bad"))) == [1, 2, 3]


async def test_an_endpoint_that_fails_is_probed_ever_more_rarely_and_all_comes_in_order_when_it_is_well(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_patient_receiver(answer(503)) as receiver, open_rig(tmp_path, autojump_clock) as rig:
        await rig.add(receiver)
        await rig.publish(("room:a", 1))
        await trio.sleep(3_600)
        tries = len(receiver.received)
        assert 6 <= tries <= 25
        for seq in range(2, 30):
            await rig.publish((f"room:{seq % 2}", seq))
        state = await rig.state()
        assert state.failures >= tries
        receiver.reply = OK
        await receiver.wait_for(lambda r: 29 in seqs(r.received, "room:1"))
        await receiver.wait_for(lambda r: 28 in seqs(r.received, "room:0"))
        assert list(dict.fromkeys(seqs(receiver.received, "room:1"))) == list(range(3, 30, 2))
        while (await rig.state()).failures:
            await trio.sleep(1)


async def test_a_restart_goes_on_with_the_same_messages_and_the_same_patience(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_patient_receiver(answer(503, "Retry-After: 600")) as receiver:
        async with open_rig(tmp_path, autojump_clock) as rig:
            endpoint = await rig.add(receiver)
            await rig.publish(("room:a", 1))
            await receiver.count(1)
            while not (await rig.state()).failures:
                await trio.sleep(1)
            tries = len(receiver.received)
        receiver.reply = OK
        async with open_rig(tmp_path, autojump_clock) as rig:
            rig.registry.found.append(endpoint)
            rig.registry.changes += 1
            await rig.endpoints.refresh()
            began_s = trio.current_time()
            await receiver.count(tries + 1)
            assert trio.current_time() - began_s >= 300
            assert len({(one.message_id, one.body) for one in receiver.received}) == 1


async def test_an_event_that_is_erased_while_it_waits_is_not_sent(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_patient_receiver(answer(503)) as receiver, open_rig(tmp_path, autojump_clock) as rig:
        await rig.add(receiver)
        await rig.publish(("room:a", 1), ("room:a", 2), data=b'"secret"')
        await receiver.count(1)
        await rig.queue.erase(Erasure("era_1", "chat", "event", "room:a", "ep", 2, 2, None, clock()))
        await trio.sleep(2)
        receiver.reply = OK
        count = len(receiver.received)
        await receiver.wait_for(lambda r: len(r.received) > count)
        first, second = receiver.received[-1].items
        assert first["event"]["data"] == "secret"
        assert (second["event"]["type"], second["event"]["data"]) == ("erased", None)
        assert receiver.received[-1].message_id == receiver.received[0].message_id


async def test_a_hundred_endpoints_that_hang_delay_none_that_is_well(tmp_path: Path) -> None:
    """On the real clock: each of the hundred would cost the others 15 s."""

    async def hang(received: Received, stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)

    async with open_receiver(hang) as hanging, open_receiver() as well, open_rig(tmp_path) as rig:
        for number in range(100):
            await rig.add(hanging, endpoint_id=f"whe_slow{number}")
        await rig.add(well, endpoint_id="whe_well")
        for seq in range(1, 6):
            await rig.publish(("room:a", seq))
            await well.wait_for(lambda r, s=seq: s in seqs(r.received, "room:a"), within_s=10)
        await hanging.count(64, within_s=10)
        lanes = rig.deliveries.health().lanes
        assert 64 <= lanes["well"].sending <= 100
        assert (lanes["well"].waiting, lanes["failing"].sending) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_delays_grow_jitter_and_stay_within_bounds(seed: int) -> None:
    dice = random.Random(seed)
    assert breaker_delay_us(4, dice) == 0
    for failures in range(1, 2_000):
        delay_s = retry_delay_us(failures, dice) / 1_000_000
        plain_s = min(300, 2 ** (failures - 1))
        assert 0.75 * plain_s <= delay_s <= 1.25 * plain_s
    assert len({retry_delay_us(9, dice) for _ in range(50)}) > 40
    assert breaker_delay_us(5, dice) >= 1_000_000
