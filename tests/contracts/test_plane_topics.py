"""The plane's contract: idle topics, windows as the gateway reads them, changes of policy and limits."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing
from plane_client import open_client
from plane_rig import EPOCH, GENEROUS, KINDS, MAKES, Rig, event

from polyglotd.model import now_us
from polyglotd.plane.interface import (
    CloseTopic,
    Left,
    NewEpoch,
    Published,
    PublishItem,
    SetPolicy,
    TopicClosed,
    TopicIdle,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]
QUICK = {"topic_idle_s": 0.05, "topic_sweep_s": 0.01}


async def test_a_logged_topic_that_nobody_uses_is_idle_and_can_be_closed(open_rig: OpenRig) -> None:
    async with open_rig(**QUICK) as rig:
        await rig.publish_many("room:a", 3)
        idle = await rig.heard(TopicIdle)
        await trio.sleep(0.1)
        assert not rig.all_heard(TopicIdle)  # told once
        rig.submit(CloseTopic(idle.topic))
        assert await rig.heard(TopicClosed) == TopicClosed(idle.topic, True)
        assert rig.plane.counters().topics == 0
        await rig.heard(Published)


async def test_a_topic_that_became_busy_is_not_closed_and_is_idle_later(open_rig: OpenRig) -> None:
    async with open_rig(**QUICK) as rig:
        topic = rig.open("room:a")
        await rig.heard(TopicIdle)
        async with open_client(rig.address) as ann:
            await ann.join("room:a")
            rig.submit(CloseTopic(topic))
            assert await rig.heard(TopicClosed) == TopicClosed(topic, False)
            await rig.publish_many("room:a", 1)
            await ann.events(1)
            await trio.sleep(0.1)
            assert not rig.all_heard(TopicIdle)
        await rig.heard(Left)
        await rig.heard(TopicIdle)


async def test_a_memory_topic_lives_until_its_history_and_ids_have_run_out(open_rig: OpenRig) -> None:
    async with open_rig(**QUICK) as rig:
        rig.policies["queue"] = msgspec.structs.replace(KINDS["queue"], history_s=1)
        rig.open("queue:old", seq=1, window=[event("queue:old", 1, ts_us=now_us() - 10_000_000)])
        rig.open("queue:new", seq=1, window=[event("queue:new", 1)])
        with_id = rig.open("queue:id")
        await rig.publish(PublishItem(with_id, "m", b"1", "mine", None))
        assert (await rig.heard(TopicIdle)).topic == rig.topics["queue:old"]
        assert not rig.all_heard(TopicIdle)
        assert (await rig.heard(TopicIdle)).topic == rig.topics["queue:new"]
        await trio.sleep(0.2)
        assert not rig.all_heard(TopicIdle)  # the id is remembered for five minutes


async def test_a_topic_with_a_publish_on_its_way_is_not_idle(open_rig: OpenRig) -> None:
    async with open_rig(**QUICK) as rig:
        rig.log.gate = trio.Event()
        topic = rig.open("room:a")
        rig.start_publish(PublishItem(topic, "m", b"1", None, None))
        await rig.appended(1)
        await trio.sleep(0.1)
        rig.submit(CloseTopic(topic))
        assert (await rig.heard(TopicClosed)).closed is False
        rig.log.gate.set()


async def test_published_comes_before_the_end_of_its_topic(open_rig: OpenRig) -> None:
    async with open_rig(topic_idle_s=0.0) as rig:
        before_it: list[int] = []
        rig.automatic[TopicClosed] = lambda _: before_it.append(len(rig.all_heard(Published)))
        async with rig.deaf():
            topic = rig.open("room:a")
            rig.start_publish(PublishItem(topic, "m", b"1", None, None))
            await rig.appended(1)
            await trio.testing.wait_all_tasks_blocked()
            rig.submit(CloseTopic(topic))
        assert (await rig.heard(TopicClosed)).closed
        assert before_it == [1]


async def test_published_never_spans_two_epochs(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        async with rig.deaf():
            topic = rig.open("queue:a")
            for _ in range(3):
                rig.start_publish(PublishItem(topic, "m", b"1", None, None))
            rig.submit(NewEpoch(topic, "epoch2"))
            rig.start_publish(PublishItem(topic, "m", b"1", None, None))
        first, second = await rig.heard(Published), await rig.heard(Published)
        assert [(first.first_seq, first.last_seq), (second.first_seq, second.last_seq)] == [(1, 3), (1, 1)]


# --- windows


@asynccontextmanager
async def full_match(open_rig: OpenRig) -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        await rig.publish_many("match:a", 110)  # it keeps 100: 11 to 110
        yield rig


@pytest.mark.parametrize(
    ("asked", "first", "last", "more"),
    [
        ({"limit": 5}, 106, 110, True),
        ({"limit": 1000}, 11, 110, False),
        ({"limit": 5, "before": 50}, 45, 49, True),
        ({"limit": 5, "before": 14}, 11, 13, False),
        ({"limit": 5, "after": 20}, 21, 25, True),
        ({"limit": 5, "after": 107}, 108, 110, False),
        ({"limit": 5, "after": 3}, 11, 15, True),
    ],
)
async def test_a_window_is_read_in_both_directions(
    open_rig: OpenRig, asked: dict[str, int], first: int, last: int, more: bool
) -> None:
    async with full_match(open_rig) as rig:
        page = await rig.window("match:a", **asked)
        assert (page.epoch, page.seq, page.first, page.more) == (EPOCH, 110, 11, more)
        assert [item.seq for item in page.events] == list(range(first, last + 1))


async def test_more_of_a_logged_kind_lies_below_its_window(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        window = [event("room:a", seq) for seq in (8, 9, 10)]
        rig.open("room:a", seq=10, window=window)
        page = await rig.window("room:a")
        assert (page.first, page.events, page.more) == (8, window, True)


async def test_a_page_of_a_window_is_cut_at_its_bytes_but_holds_one_event(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        await rig.publish_many("queue:a", 10, b'"%b"' % (b"x" * 1000))
        assert [item.seq for item in (await rig.window("queue:a", bytes_max=1)).events] == [10]
        assert len((await rig.window("queue:a", bytes_max=5_000)).events) == 4


async def test_an_empty_window_begins_after_the_channel_s_seq(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.open("room:a", seq=57)
        page = await rig.window("room:a")
        assert (page.first, page.seq, page.events) == (58, 57, [])
        await rig.publish_many("room:a", 1)
        assert [item.seq for item in (await rig.window("room:a")).events] == [58]


# --- changes


async def test_a_narrower_policy_cuts_the_window_at_once(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("queue:a", 20)
        narrow = msgspec.structs.replace(KINDS["queue"], history_events=3, overflow="conflate", snapshot=True)
        rig.submit(SetPolicy(rig.topics["queue:a"], narrow))
        assert len((await rig.window("queue:a")).events) == 3
        await rig.publish_many("queue:a", 1)
        reply = await ann.join("queue:a")
        assert [item["seq"] for item in reply["snapshot"]] == [21]


async def test_a_lower_limit_of_types_cuts_the_snapshot(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        topic = rig.open("ticker:a")
        for type_ in ("x", "y", "z"):
            await rig.publish(PublishItem(topic, type_, b"1", None, None))
        rig.configure(msgspec.structs.replace(GENEROUS, types_per_ticker=2))
        assert [item["type"] for item in (await ann.join("ticker:a"))["snapshot"]] == ["y", "z"]
