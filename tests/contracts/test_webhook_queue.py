"""What every webhook queue promises (polyglotd/store/webhooks.py), run on each make of it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
from contracts.stores import Make

from polyglotd.log.interface import ErasedWhat, Erasure
from polyglotd.model import Event
from polyglotd.model.webhooks import channel_item, item_id, published_item
from polyglotd.store.webhooks import Appended, Item, Message, PresentStep, Try, WebhookQueue

NOW = 1_795_508_130_000_000
DAY_US = 86_400 * 1_000_000
LOG = "log1"

OpenQueue = Callable[..., AbstractAsyncContextManager[WebhookQueue]]


@pytest.fixture
def open_queue(make: Make) -> OpenQueue:
    """Opens the same queue each time, also twice at once, as two processes do."""

    def opener(**how: int) -> AbstractAsyncContextManager[WebhookQueue]:
        return make.open_webhooks(lambda: NOW, **how)

    return opener


@pytest.fixture
async def queue(open_queue: OpenQueue) -> AsyncIterator[WebhookQueue]:
    async with open_queue() as queue:
        yield queue


def item(seq: int = 1, *, app_id: str = "chat", channel: str = "room:a", user_id: str | None = "ann") -> Item:
    event = Event(
        f"own-{seq}", app_id, channel, "ep", seq, "message", b'{"n": "\\u0000 \xc3\xa9"}', user_id, NOW + seq
    )
    return Item(
        app_id=app_id,
        type="event.published",
        ts_us=event.ts_us,
        body=published_item(event).decode(),
        channel=channel,
        event_type="message",
        epoch="ep",
        seq=seq,
        user_id=user_id,
    )


def message(number: int, *runs: tuple[int, int], endpoint_id: str = "whe_1", created_us: int = NOW) -> Message:
    return Message(
        message_id=f"msg_{number}",
        endpoint_id=endpoint_id,
        app_id="chat",
        runs=runs,
        count=sum(last - first + 1 for first, last in runs),
        created_us=created_us,
        until_us=created_us + DAY_US,
    )


def attempt(number: int, *, status: int | None = 200) -> Try:
    return Try(message_id=f"msg_{number}", at_us=NOW, attempt=1, items=1, duration_ms=5, status=status)


async def fill(queue: WebhookQueue, *seqs: int, end: int | None = None) -> None:
    await queue.append(LOG, end or seqs[-1], Appended(items=[item(seq) for seq in seqs]))


async def waiting(queue: WebhookQueue, after: int = 0) -> list[int]:
    return [one.n for one in await queue.items("chat", after, 1_000, 1 << 30)]


# --- from the log ---


async def test_items_come_back_as_they_were_in_the_order_of_their_numbers(open_queue: OpenQueue) -> None:
    async with open_queue() as queue:
        await queue.append(LOG, 7, Appended(items=[item(1), item(1, app_id="other"), item(2, channel="room:b")]))
    async with open_queue() as queue:
        found = await queue.items("chat", 0, 10, 1 << 20)
        assert [(one.n, one.channel) for one in found] == [(1, "room:a"), (2, "room:b")]
        assert found[0].body == item(1).body
        assert (found[0].type, found[0].event_type, found[0].at_us) == ("event.published", "message", NOW)
        assert len(await queue.items("other", 0, 10, 1 << 20)) == 1
        assert await queue.items("none", 0, 10, 1 << 20) == []
        assert await queue.cursor(LOG) == 7
        assert await queue.cursor("log2") == 0


async def test_a_batch_that_was_queued_already_changes_nothing(queue: WebhookQueue) -> None:
    await fill(queue, 1, 2, end=20)
    await fill(queue, 1, 2, end=20)
    await fill(queue, 1, end=10)
    assert await waiting(queue) == [1, 2]
    assert await queue.cursor(LOG) == 20


async def test_many_items_come_in_parts_of_a_number_or_of_bytes_but_at_least_one(queue: WebhookQueue) -> None:
    await fill(queue, *range(1, 1001))
    assert [one.n for one in await queue.items("chat", 998, 10, 1 << 20)] == [999, 1000]
    assert len(await queue.items("chat", 0, 300, 1 << 30)) == 300
    size = len(item(1).body.encode())
    assert [one.n for one in await queue.items("chat", 0, 10, 2 * size + 1)] == [1, 2]
    assert [one.n for one in await queue.items("chat", 4, 10, 1)] == [5]


async def test_who_is_where_is_kept_with_the_generation_it_was_said_in(open_queue: OpenQueue) -> None:
    async with open_queue() as queue:
        steps = [PresentStep("chat", "room:a", "", 3), PresentStep("chat", "room:a", "ann", 3)]
        await queue.append(LOG, 1, Appended(present=steps, generations={"": 3}))
        await queue.append(
            LOG, 2, Appended(present=[PresentStep("chat", "room:a", "ann", None)], generations={"": 9})
        )
    async with open_queue() as queue:
        found = await queue.presences()
        assert (found.rows, found.generations) == ({("chat", "room:a", ""): 3}, {"": 9})


# --- endpoints and messages ---


async def test_an_endpoint_begins_behind_what_is_there_and_goes_on_where_it_was(open_queue: OpenQueue) -> None:
    async with open_queue() as queue:
        await fill(queue, 1, 2)
        assert (await queue.begin("chat", "whe_1")).cursor == 2
        await fill(queue, 3, 4, 5)
        await queue.formed("whe_1", 4, [message(1, (3, 4))])
    async with open_queue() as queue:
        state = await queue.begin("chat", "whe_1")
        assert (state.cursor, state.behind, state.waiting, state.dead) == (4, 1, 1, 0)
        assert await queue.pending("whe_1") == [message(1, (3, 4))]


async def test_a_messages_content_is_the_same_at_every_look(queue: WebhookQueue) -> None:
    await queue.begin("chat", "whe_1")
    await fill(queue, *range(1, 8))
    runs = ((1, 2), (5, 5), (7, 7))
    await queue.formed("whe_1", 7, [message(1, *runs)])
    first = await queue.contents("chat", runs)
    while await queue.sweep(NOW):
        pass
    assert first is not None
    assert [one.n for one in first] == [1, 2, 5, 7]
    assert await queue.contents("chat", runs) == first


async def test_what_nobody_needs_any_more_goes_and_nothing_else(queue: WebhookQueue) -> None:
    for endpoint_id in ("whe_1", "whe_2", "whe_3"):
        await queue.begin("chat", endpoint_id)
    await fill(queue, *range(1, 11))
    await queue.formed("whe_1", 10, [message(1, (1, 10))])
    await queue.formed("whe_2", 8, [message(2, (3, 4), (6, 6), endpoint_id="whe_2")])
    await queue.sent("whe_1", attempt(1))
    assert not await queue.sweep(NOW)
    assert await waiting(queue) == list(range(1, 11))  # the third has seen none of them
    await queue.formed("whe_3", 9, [])
    assert not await queue.sweep(NOW)
    assert await waiting(queue) == [3, 4, 6, 9, 10]
    await queue.died("msg_2", "given up", NOW)
    await queue.sweep(NOW)
    assert await waiting(queue) == [3, 4, 6, 9, 10]  # a dead letter needs them
    await queue.sweep(NOW + 8 * DAY_US)
    assert await waiting(queue) == [9, 10]
    await queue.retain([])
    await queue.sweep(NOW)
    assert await waiting(queue) == []
    assert (await queue.stats()).item_bytes == 0


async def test_a_failed_message_keeps_its_tries_and_the_endpoint_its_failures(open_queue: OpenQueue) -> None:
    async with open_queue() as queue:
        await queue.begin("chat", "whe_1")
        await fill(queue, 1)
        await queue.formed("whe_1", 1, [message(1, (1, 1))])
        tried = Message(**{name: getattr(message(1, (1, 1)), name) for name in Message.__struct_fields__} | {
            "attempts": 3, "answered": True, "next_us": NOW + 9,
        })  # fmt: skip
        await queue.failed(tried, attempt(1, status=500), 6, NOW + 5)
    async with open_queue() as queue:
        state = await queue.begin("chat", "whe_1")
        assert (state.failures, state.resume_us) == (6, NOW + 5)
        assert await queue.pending("whe_1") == [tried]
        await queue.sent("whe_1", attempt(1))
        assert await queue.pending("whe_1") == []
        state = await queue.begin("chat", "whe_1")
        assert (state.failures, state.resume_us) == (0, 0)
        assert [one.status for one in await queue.tries("whe_1", 10)] == [200, 500]


async def test_of_many_tries_the_newest_are_kept_for_each_endpoint(queue: WebhookQueue) -> None:
    await queue.begin("chat", "whe_1")
    await queue.begin("chat", "whe_2")
    await queue.sent("whe_2", attempt(7))
    for number in range(650):
        await queue.sent("whe_1", attempt(number))
    found = await queue.tries("whe_1", 1_000)
    assert [one.message_id for one in found[:200]] == [f"msg_{number}" for number in range(649, 449, -1)]
    assert len(found) <= 300
    assert len(await queue.tries("whe_2", 10)) == 1


async def test_a_paused_endpoint_keeps_what_was_on_its_way_as_dead_letters_and_begins_anew(
    queue: WebhookQueue,
) -> None:
    await queue.begin("chat", "whe_1")
    await fill(queue, 1, 2)
    await queue.formed("whe_1", 1, [message(1, (1, 1))])
    assert await queue.pause("whe_1", "it answered 410", NOW) == 1
    assert await queue.pause("whe_1", "it was disabled", NOW) == 0
    assert await queue.pending("whe_1") == []
    await queue.formed("whe_1", 2, [message(2, (2, 2))])  # a task that did not know yet
    assert await queue.pending("whe_1") == []
    (letter,) = await queue.dead_letters("whe_1", None, 10)
    assert (letter.message_id, letter.why) == ("msg_1", "it answered 410")
    await queue.sweep(NOW)
    assert await waiting(queue) == [1]
    assert (await queue.begin("chat", "whe_1")).cursor == 2


# --- dead letters ---


async def test_dead_letters_are_listed_newest_first_and_replayed_under_their_ids(open_queue: OpenQueue) -> None:
    async with open_queue() as queue, open_queue() as other:
        await queue.begin("chat", "whe_1")
        await queue.begin("chat", "whe_2")
        await fill(queue, 1, 2, 3)
        await queue.formed("whe_1", 3, [message(n, (n, n)) for n in (1, 2, 3)])
        for n in (1, 2, 3):
            await queue.died(f"msg_{n}", "no answer for 24 h", NOW + n)
        letters = await other.dead_letters("whe_1", None, 2)
        assert [one.message_id for one in letters] == ["msg_3", "msg_2"]
        assert [one.message_id for one in await other.dead_letters("whe_1", "msg_2", 2)] == ["msg_1"]
        content = await other.dead_letter("whe_1", "msg_2")
        assert content is not None
        assert json.loads(content)["data"][0]["event"]["seq"] == 2
        assert await other.dead_letter("whe_2", "msg_2") is None
        before = await queue.changes()
        assert await other.replay("whe_2", ["msg_2"], NOW, NOW + DAY_US) == 0
        assert await queue.changes() == before
        assert await other.replay("whe_1", ["msg_2", "msg_9"], NOW + 5, NOW + DAY_US) == 1
        assert await queue.changes() > before
        (again,) = await queue.pending("whe_1")
        assert (again.message_id, again.replayed, again.attempts, again.runs) == ("msg_2", True, 0, ((2, 2),))
        assert await other.replay("whe_1", None, NOW, NOW + DAY_US) == 2
        assert len(await queue.pending("whe_1")) == 3


# --- bounds ---


async def test_beyond_the_bound_the_oldest_items_give_way_and_who_lacked_them_is_told(open_queue: OpenQueue) -> None:
    size = len(item(10).body.encode())
    async with open_queue(app_bytes_max=10 * size) as queue:
        for endpoint_id in ("whe_1", "whe_2"):
            await queue.begin("chat", endpoint_id)
        await fill(queue, *range(11, 16))
        await queue.formed("whe_1", 5, [message(1, (1, 2)), message(2, (3, 5))])
        await queue.died("msg_1", "why", NOW)
        await fill(queue, *range(16, 24))  # 13 in all
        assert await waiting(queue) == list(range(4, 14))
        states = await queue.states("chat")
        assert states["whe_2"].cursor == 3
        assert states["whe_2"].lost == 3
        assert states["whe_1"].lost == 5  # both of its messages held one of them
        assert await queue.pending("whe_1") == []
        assert await queue.dead_letters("whe_1", None, 9) == []
        assert await queue.contents("chat", ((3, 5),)) is None
        assert (await queue.stats()).item_bytes <= 10 * size
        assert (await queue.stats()).lost == 8


async def test_the_bound_of_one_app_costs_another_nothing(open_queue: OpenQueue) -> None:
    async with open_queue(app_bytes_max=3_000) as queue:
        await queue.append(LOG, 1, Appended(items=[item(1, app_id="other")]))
        await fill(queue, *range(2, 300))
        assert len(await queue.items("other", 0, 10, 1 << 20)) == 1
        assert 0 < len(await waiting(queue)) < 20


# --- erasure ---


def erasure(what: ErasedWhat, **fields: object) -> Erasure:
    values: dict[str, object] = {
        "app_id": "chat", "channel": "room:a", "epoch": "ep", "first_seq": 0, "last_seq": 0, "user_id": None,
        "ts_us": NOW + 99,
    }  # fmt: skip
    return Erasure(erasure_id="era_1", what=what, **(values | fields))  # type: ignore[arg-type]


async def test_an_erasure_in_the_log_takes_hold_of_what_came_before_it(queue: WebhookQueue) -> None:
    await fill(queue, 1, 2)
    batch = Appended(erasures=[erasure("user", user_id="ann")], items=[item(3)])
    await queue.append(LOG, 9, batch)
    assert ['"erased"' in one.body for one in await queue.items("chat", 0, 9, 1 << 20)] == [True, True, False]


async def test_an_erased_event_is_a_tombstone_wherever_it_waits(queue: WebhookQueue) -> None:
    await queue.begin("chat", "whe_1")
    await fill(queue, 1, 2, 3)
    await queue.append(LOG, 4, Appended(items=[item(2, channel="room:b")]))
    await queue.formed("whe_1", 2, [message(1, (1, 2))])
    await queue.died("msg_1", "why", NOW)
    assert await queue.erase(erasure("event", epoch="other", first_seq=2, last_seq=2)) == 0
    assert await queue.erase(erasure("event", app_id="other", first_seq=2, last_seq=2)) == 0
    assert await queue.erase(erasure("event", first_seq=2, last_seq=2)) == 1
    content = await queue.dead_letter("whe_1", "msg_1")
    assert content is not None
    whole, erased = json.loads(content)["data"]
    assert whole["event"]["data"] == {"n": "\0 é"}
    assert erased == {
        "id": item_id("chat", "room:a", "ep", 2),
        "type": "event.published",
        "epoch": "ep",
        "event": {
            "id": "own-2", "app_id": "chat", "channel": "room:a", "type": "erased", "data": None, "seq": 2,
            "meta": {"user_id": None, "ts": whole["event"]["meta"]["ts"].replace("001Z", "002Z")},
        },
    }  # fmt: skip
    assert '"n"' in (await queue.items("chat", 3, 9, 1 << 20))[0].body  # the other channel's


async def test_a_channels_history_is_erased_up_to_a_seq_or_as_a_whole(queue: WebhookQueue) -> None:
    await fill(queue, 1, 2, 3)
    assert await queue.erase(erasure("history", last_seq=2)) == 2
    assert ['"erased"' in one.body for one in await queue.items("chat", 0, 9, 1 << 20)] == [True, True, False]
    assert await queue.erase(erasure("history", channel="room:b", last_seq=9)) == 0
    assert await queue.erase(erasure("history", epoch="newer", last_seq=0, ts_us=NOW + 2)) == 2  # those up to then


async def test_a_users_events_and_name_are_erased(queue: WebhookQueue) -> None:
    came = Item(
        app_id="chat",
        type="member.joined",
        ts_us=NOW,
        channel="room:a",
        user_id="ann",
        body=channel_item("member.joined", "chat", "room:a", NOW, "ann").decode(),
    )
    items = [item(1), item(2, user_id="bob"), came]
    await queue.append(LOG, 1, Appended(items=items, present=[PresentStep("chat", "room:a", "ann", 1)]))
    await queue.append(LOG, 2, Appended(items=[item(1, app_id="other")]))
    before = await queue.changes()
    assert await queue.erase(erasure("user", channel="", epoch="", user_id="ann", ts_us=NOW + 1)) == 2
    assert await queue.changes() > before
    first, second, third = await queue.items("chat", 0, 9, 1 << 20)
    assert json.loads(first.body)["event"]["data"] is None
    assert '"ann"' not in first.body + third.body
    assert json.loads(third.body)["user_id"] is None
    assert "bob" in second.body
    assert (await queue.presences()).rows == {}
    assert "ann" in (await queue.items("other", 0, 9, 1 << 20))[0].body


async def test_a_forgotten_app_leaves_nothing_and_its_name_may_come_again(queue: WebhookQueue) -> None:
    await queue.begin("chat", "whe_1")
    await queue.append(LOG, 3, Appended(items=[item(1), item(1, app_id="other")]))
    await queue.formed("whe_1", 1, [message(1, (1, 1))])
    await queue.append(LOG, 9, Appended(forgotten=["chat"], items=[item(2)], generations={"chat": 3}))
    assert await queue.pending("whe_1") == []
    assert [json.loads(one.body)["event"]["seq"] for one in await queue.items("chat", 0, 9, 1 << 20)] == [2]
    await queue.forget_app("chat")
    assert await waiting(queue) == []
    assert (await queue.presences()).generations == {}
    assert len(await queue.items("other", 0, 9, 1 << 20)) == 1


# --- several at once ---


async def test_items_of_messages_that_are_formed_while_others_sweep_and_queue_stay(open_queue: OpenQueue) -> None:
    async with open_queue() as queue, open_queue() as other:
        await queue.begin("chat", "whe_1")
        formed: list[int] = []
        done = trio.Event()

        async def form() -> None:
            cursor = 0
            while cursor < 60:
                for one in await queue.items("chat", cursor, 5, 1 << 20):
                    cursor = one.n
                    await queue.formed("whe_1", cursor, [message(cursor, (cursor, cursor))])
                    formed.append(cursor)
            done.set()

        async def sweep() -> None:
            while not done.is_set():
                await other.sweep(NOW)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(form)
            nursery.start_soon(sweep)
            for seq in range(1, 61):
                await other.append(LOG, seq, Appended(items=[item(seq)]))
        assert formed == list(range(1, 61))
        assert await waiting(queue) == formed
