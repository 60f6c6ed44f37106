"""The plane's contract: what happens to a client that does not read, by the kind's overflow policy."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
import trio
from plane_client import PhoenixClient, open_client
from plane_rig import EPOCH, KINDS, MAKES, Rig

from polyglotd.plane.interface import Broadcast, Disconnected, Left, PublishItem

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]

DATA = b'"%b"' % (b"x" * 10_000)


@asynccontextmanager
async def one_slow_one_quick(rig: Rig, channel: str) -> AsyncIterator[tuple[PhoenixClient, PhoenixClient]]:
    async with (
        open_client(rig.address, "token=slow", receive_buffer=4096) as slow,
        open_client(rig.address, "token=quick") as quick,
    ):
        await slow.join(channel)
        await quick.join(channel)
        yield slow, quick


async def publish_while_only_quick_reads(rig: Rig, quick: PhoenixClient, channel: str, count: int) -> None:
    """More than the kernel's buffers and the outbox hold, one by one."""
    for seq in range(1, count + 1):
        rig.start_publish(PublishItem(rig.topics[channel], f"type{seq % 3}", DATA, None, None))
        assert [event["seq"] for event in await quick.events(1)] == [seq]


@pytest.mark.parametrize("channel", ["queue:a", "room:a"], ids=["memory", "logged"])
async def test_queue_closes_the_slow_with_4009_and_no_one_waits_for_it(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig, one_slow_one_quick(rig, channel) as (slow, quick):
        await publish_while_only_quick_reads(rig, quick, channel, 150)
        left = await rig.heard(Left)
        assert left.why == "disconnected"
        assert rig.plane.counters().slow_consumers_total == 1
        seqs: list[int] = []
        while (message := await slow.message())[3] == "event":
            seqs.append(message[4]["seq"])
        assert seqs == list(range(1, len(seqs) + 1))
        assert message[3] == "system"
        assert message[4]["code"] == "slow_consumer"
        assert (await slow.closed()).code == 4009
        assert await rig.heard(Disconnected) == Disconnected(left.conn, 4009, "slow consumer")
        async with open_client(rig.address, "token=slow") as back:
            reply = await back.join(channel, {"since": {"epoch": EPOCH, "seq": seqs[-1]}})
            got = [event["seq"] for event in reply["events"]]
            if channel == "room:a":  # what the memory kind threw away meanwhile is gone
                assert reply["recovered"] is True
                got += [event["seq"] for event in await back.events(150 - seqs[-1] - len(got))]
                assert got == list(range(seqs[-1] + 1, 151))


async def test_a_slow_consumer_that_never_reads_again_is_dropped(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig, one_slow_one_quick(rig, "queue:a") as (_, quick):
        await publish_while_only_quick_reads(rig, quick, "queue:a", 150)
        assert (await rig.heard(Disconnected)).code == 4009
        assert rig.plane.counters().queued_bytes == 0
        assert rig.plane.counters().connections == 1


async def test_conflate_keeps_the_newest_of_each_type_for_the_slow(open_rig: OpenRig) -> None:
    async with open_rig() as rig, one_slow_one_quick(rig, "ticker:a") as (slow, quick):
        await publish_while_only_quick_reads(rig, quick, "ticker:a", 150)
        assert rig.plane.counters().queued_bytes < 50_000
        assert rig.plane.counters().conflated_total > 50
        seqs: list[int] = []
        while not seqs or seqs[-1] < 150:
            seqs += [event["seq"] for event in await slow.events(1)]
        assert seqs == sorted(set(seqs))
        assert seqs[-3:] == [148, 149, 150]
        assert len(seqs) < 100
        assert await slow.silent()


async def test_drop_lets_the_oldest_go_for_the_slow(open_rig: OpenRig) -> None:
    async with open_rig() as rig, one_slow_one_quick(rig, "match:a") as (slow, quick):
        await publish_while_only_quick_reads(rig, quick, "match:a", 150)
        assert rig.plane.counters().queued_bytes < 100_000
        assert rig.plane.counters().dropped_total > 50
        seqs: list[int] = []
        while not seqs or seqs[-1] < 150:
            seqs += [event["seq"] for event in await slow.events(1)]
        assert seqs == sorted(set(seqs))
        assert len(seqs) < 100
        assert await slow.silent()


async def test_presence_is_never_dropped_where_events_are(open_rig: OpenRig) -> None:
    async with open_rig() as rig, one_slow_one_quick(rig, "match:a") as (slow, quick):
        await publish_while_only_quick_reads(rig, quick, "match:a", 100)
        for n in range(100):
            rig.submit(Broadcast(rig.topics["match:a"], "presence_diff", b"%d" % n, True))
        await publish_while_only_quick_reads_from(rig, quick, 101, 150)
        diffs: list[int] = []
        while len(diffs) < 100:
            message = await slow.message()
            if message[3] == "presence_diff":
                diffs.append(message[4])
        assert diffs == list(range(100))


async def publish_while_only_quick_reads_from(rig: Rig, quick: PhoenixClient, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        rig.start_publish(PublishItem(rig.topics["match:a"], "m", DATA, None, None))
        while (message := await quick.message())[3] != "event":
            pass
        assert message[4]["seq"] == seq


async def test_signals_give_way_as_the_kind_says(open_rig: OpenRig) -> None:
    async with open_rig() as rig, one_slow_one_quick(rig, "match:a") as (slow, quick):
        for n in range(150):
            await quick.push("match:a", "signal", {"type": "move", "data": ["x" * 10_000, n]})
            assert (await quick.message())[3] == "signal"
            assert (await quick.message())[3] == "phx_reply"
        assert rig.plane.counters().queued_bytes < 100_000
        got = [-1]
        while got[-1] < 149:
            got.append((await slow.message())[4]["data"][1])
        assert got == sorted(set(got))
        assert len(got) < 100


async def test_a_member_of_a_dropping_kind_that_resumes_gets_all_it_missed_before_it_drops(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address, receive_buffer=4096) as ann:
        rig.policies["match"] = msgspec.structs.replace(KINDS["match"], history_events=1_000)
        await rig.publish_many("match:a", 60, DATA)
        ref = await ann.push("match:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 0}})
        await rig.publish_many("match:a", 30, DATA)
        reply = await ann.reply(ref)
        got = [event["seq"] for event in reply["events"]]
        while got[-1] < 90:
            got += [event["seq"] for event in await ann.events(1)]
        assert got[: reply["seq"]] == list(range(1, reply["seq"] + 1))
        assert got == sorted(set(got))


async def test_a_socket_that_takes_nothing_for_too_long_is_gone(open_rig: OpenRig) -> None:
    async with open_rig(send_progress_s=0.3) as rig, one_slow_one_quick(rig, "match:a") as (_, quick):
        await publish_while_only_quick_reads(rig, quick, "match:a", 100)
        began_s = trio.current_time()
        assert (await rig.heard(Disconnected)).code == 1006
        assert trio.current_time() - began_s < 2
        await quick.push("match:a", "signal", {"type": "m"})
        assert (await quick.message())[3] == "signal"
