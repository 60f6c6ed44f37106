"""The plane's contract: publishes and signals of members and of the gateway, the log, dedupe, rates."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
import trio
import wsproto.events
from plane_client import open_client
from plane_rig import APP, EPOCH, GENEROUS, KINDS, MAKES, Rig, event

from polyglotd.model import Limits, now_us
from polyglotd.model.latency import LATENCY_BUCKETS, lower_bound_us, upper_bound_us
from polyglotd.plane.interface import (
    Accepted,
    Broadcast,
    Joined,
    NewEpoch,
    Notice,
    Published,
    PublishItem,
    Push,
    Refused,
    Reply,
    SendTo,
    SetCapabilities,
    SetPolicy,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]
both_durabilities = pytest.mark.parametrize("channel", ["room:a", "queue:a"], ids=["logged", "memory"])
MESSAGE = {"type": "message", "data": {"text": "Hello"}}


# --- a member's publish


@both_durabilities
async def test_the_event_comes_before_the_reply_to_its_publish(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address, "token=bob") as bob:
        await ann.join(channel)
        await bob.join(channel)
        ref = await ann.push(channel, "publish", MESSAGE)
        (event,) = await ann.events(1)
        reply = await ann.reply(ref)
        assert await bob.events(1) == [event]
        assert reply == {"id": event["id"], "seq": 1, "ts": event["meta"]["ts"]}
        assert event["id"].startswith("evt_")
        assert event["meta"]["user_id"] == "ann"
        assert (event["app_id"], event["channel"], event["data"]) == (APP, channel, {"text": "Hello"})
        published = await rig.heard(Published)
        assert (published.first_seq, published.last_seq, published.deliveries) == (1, 1, 2)
        assert (published.position > 0) == (channel == "room:a")


@both_durabilities
async def test_what_events_took_is_told_once_and_only_of_those_that_somebody_got(
    open_rig: OpenRig, channel: str
) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many(channel, 3)
        await ann.join(channel)
        await rig.publish_many(channel, 20)
        await ann.events(20)
        await rig.at_rest()
        latencies = rig.plane.take_latencies()
        assert list(latencies) == [APP]
        assert latencies[APP].events == 20
        assert set(latencies[APP].buckets) <= set(range(LATENCY_BUCKETS))
        lowest = sum(lower_bound_us(bucket) * count for bucket, count in latencies[APP].buckets.items())
        highest = sum(upper_bound_us(bucket) * count for bucket, count in latencies[APP].buckets.items())
        assert lowest <= latencies[APP].sum_us <= highest
        assert rig.plane.take_latencies() == {}
        await rig.publish_many(channel, 1)
        await ann.events(1)
        await rig.at_rest()
        assert rig.plane.take_latencies()[APP].events == 1


@both_durabilities
async def test_data_arrives_as_the_same_bytes(open_rig: OpenRig, channel: str) -> None:
    data = '{ "b":1.10,"a" :12345678901234567890123,"\\u00e9": "\u00e9", "x":1e999}'
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join(channel)
        await ann.send_text(f'["1","2","{channel}","publish",{{"type":"m","data":{data} }}]')
        await ann.events(1)
        (event,) = (await rig.window(channel)).events
        assert event.data == data.encode()


@both_durabilities
async def test_absent_data_is_null_and_unknown_fields_are_let_through(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join(channel)
        await ann.push(channel, "publish", {"type": "m", "extra": 1})
        assert (await ann.events(1))[0]["data"] is None


BAD = [
    ([], "payload"),
    ("text", "payload"),
    ({}, "type"),
    ({"type": None}, "type"),
    ({"type": 5}, "type"),
    ({"type": ""}, "type"),
    ({"type": "a b"}, "type"),
    ({"type": "x" * 65}, "type"),
    ({"type": "m", "id": 5}, "id"),
    ({"type": "m", "id": ""}, "id"),
    ({"type": "m", "id": "evt_1"}, "id"),
    ({"type": "m", "id": "..."}, "id"),
    ({"type": "m", "id": "x" * 65}, "id"),
]


@pytest.mark.parametrize(("payload", "field"), BAD, ids=[str(payload)[:20] for payload, _ in BAD])
async def test_a_publish_of_the_wrong_shape_is_invalid(open_rig: OpenRig, payload: Any, field: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a")
        refusal = await ann.ask("queue:a", "publish", payload, "error")
        assert (refusal["reason"], refusal["field"]) == ("invalid", field)
        assert refusal["message"]
        assert rig.plane.counters().refused_total == {"invalid": 1}


async def test_a_repeated_key_of_the_envelope_is_invalid(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a")
        await ann.send_text('["1","2","queue:a","publish",{"type":"m","data":1,"data":2}]')
        assert (await ann.reply("2", "error"))["reason"] == "invalid"


@pytest.mark.parametrize("event", ["publish", "signal"])
async def test_who_may_not_publish_is_told_so_until_that_changes(open_rig: OpenRig, event: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.admits["may_publish"] = False
        await ann.join("queue:a", {"self": False})
        assert (await ann.ask("queue:a", event, MESSAGE, "error"))["reason"] == "forbidden"
        joined = await rig.heard(Joined)
        rig.submit(SetCapabilities(joined.conn, joined.sub, may_publish=True, sees_presence=True))
        await rig.at_rest()
        await ann.ask("queue:a", event, MESSAGE)


@pytest.mark.parametrize("event", ["publish", "signal"])
async def test_data_over_the_app_s_limit_is_too_large(open_rig: OpenRig, event: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.configure(msgspec.structs.replace(GENEROUS, payload_bytes=10))
        await ann.join("queue:a", {"self": False})
        await ann.ask("queue:a", event, {"type": "m", "data": "x" * 8})
        refusal = await ann.ask("queue:a", event, {"type": "m", "data": "x" * 9}, "error")
        assert (refusal["reason"], refusal["limit"]) == ("payload_too_large", 10)


async def test_publishes_and_signals_share_the_connection_s_rate(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        rig.configure(Limits(publishes_per_connection=2))
        await ann.join("queue:a", {"self": False})
        await bob.join("queue:b", {"self": False})
        await ann.ask("queue:a", "publish", MESSAGE)
        await ann.ask("queue:a", "signal", MESSAGE)
        for event in ("publish", "signal"):
            refusal = await ann.ask("queue:a", event, MESSAGE, "error")
            assert refusal["reason"] == "rate_limited"
            assert 1 <= refusal["retry_after_ms"] <= 500
        await bob.ask("queue:b", "publish", MESSAGE)


async def test_the_app_s_rate_holds_over_all_its_connections(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        rig.configure(Limits(publishes_per_app=3))
        for client in (ann, bob):
            await client.join("queue:a", {"self": False})
        await ann.push("queue:a", "publish", MESSAGE)
        await ann.push("queue:a", "publish", MESSAGE)
        await bob.events(2)
        await bob.ask("queue:a", "publish", MESSAGE)
        assert (await bob.ask("queue:a", "publish", MESSAGE, "error"))["reason"] == "rate_limited"


# --- dedupe


@both_durabilities
async def test_an_app_without_events_left_publishes_nothing_until_it_has_some_again(
    open_rig: OpenRig, channel: str
) -> None:
    refused = {
        "reason": "quota_exceeded", "message": "the app has used up its events of this month",
        "quota": "events-per-month",
    }  # fmt: skip
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join(channel, {"self": False})
        first = await ann.ask(channel, "publish", {"type": "m", "id": "mine"})
        rig.configure(GENEROUS, events_used_up=True)
        await rig.at_rest()
        assert await ann.ask(channel, "publish", MESSAGE, "error") == refused
        # What was admitted before is answered as it was, and signals are no events.
        assert await ann.ask(channel, "publish", {"type": "m", "id": "mine"}) == first | {"duplicate": True}
        assert await ann.ask(channel, "signal", {"type": "s"}) == {}
        results = await rig.publish(PublishItem(rig.topics[channel], "m", b"1", None, None))
        assert results.results == [Refused(refused["reason"], refused["message"], quota=refused["quota"])]
        assert rig.plane.counters().refused_total["quota_exceeded"] == 2
        rig.configure(GENEROUS)
        await rig.at_rest()
        assert (await ann.ask(channel, "publish", MESSAGE))["seq"] == 2  # and no seq was used up


async def test_an_app_that_may_store_no_more_goes_on_with_kinds_that_are_not_stored(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a", {"self": False})
        await ann.join("queue:a", {"self": False})
        rig.configure(GENEROUS, bytes_used_up=True)
        await rig.at_rest()
        assert (await ann.ask("room:a", "publish", MESSAGE, "error"))["quota"] == "stored-bytes"
        assert (await ann.ask("queue:a", "publish", MESSAGE))["seq"] == 1
        items = [PublishItem(rig.topics[channel], "m", b"1", None, None) for channel in ("room:a", "queue:a")]
        logged, memory = (await rig.publish(*items)).results
        assert isinstance(logged, Refused)
        assert (logged.reason, logged.quota) == ("quota_exceeded", "stored-bytes")
        assert isinstance(memory, Accepted)


@both_durabilities
async def test_a_repeated_id_gets_the_first_answer_and_costs_no_rate(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.configure(Limits(publishes_per_connection=1))
        await ann.join(channel, {"self": False})
        first = await ann.ask(channel, "publish", {"type": "m", "id": "mine"})
        assert first["id"] == "mine"
        for _ in range(3):
            assert await ann.ask(channel, "publish", {"type": "m", "id": "mine"}) == first | {"duplicate": True}
        assert len((await rig.window(channel)).events) == 1
        assert rig.plane.counters().duplicates_total == 3


@both_durabilities
async def test_an_id_belongs_to_its_publisher(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig:
        topic = rig.open(channel)
        users = ["ann", "bob", None, None, "ann"]
        results = await rig.publish(*(PublishItem(topic, "m", b"1", "mine", user) for user in users))
        assert [(r.seq, r.duplicate) for r in results.results if isinstance(r, Accepted)] == [
            (1, False),
            (2, False),
            (3, False),
            (3, True),
            (1, True),
        ]


async def test_a_repeat_while_the_first_waits_for_the_log_gets_its_outcome(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as other:
        rig.log.gate = trio.Event()
        await ann.join("room:a", {"self": False})
        await other.join("room:a", {"self": False})  # the same user's second device
        first = await ann.push("room:a", "publish", {"type": "m", "id": "mine"})
        await rig.appended(1)
        second = await other.push("room:a", "publish", {"type": "m", "id": "mine"})
        assert await other.silent()
        rig.log.gate.set()
        reply = await ann.reply(first)
        (event,) = await other.events(1)
        assert event["id"] == "mine"
        assert await other.reply(second) == reply | {"duplicate": True}


async def test_ids_of_logged_kinds_are_known_again_from_the_log(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        first = await rig.publish(PublishItem(rig.open("room:a"), "m", b"1", "mine", "ann"))
        await rig.heard(Published)
        del rig.topics["room:a"]  # as after a restart: another topic for the same channel
        topic = rig.open("room:a", seq=1, window=rig.log.of("room:a"))
        again = await rig.publish(PublishItem(topic, "m", b"1", "mine", "ann"))
        assert again.results == [msgspec.structs.replace(first.results[0], duplicate=True)]


async def test_a_new_epoch_forgets_ids(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        topic = rig.open("queue:a")
        await rig.publish(PublishItem(topic, "m", b"1", "mine", "ann"))
        rig.submit(NewEpoch(topic, "epoch2"))
        (again,) = (await rig.publish(PublishItem(topic, "m", b"1", "mine", "ann"))).results
        assert isinstance(again, Accepted)
        assert (again.seq, again.duplicate) == (1, False)


# --- the log


async def test_nobody_sees_a_logged_event_before_it_is_durable(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        rig.log.gate = trio.Event()
        await ann.join("room:a")
        await bob.join("room:a")
        await bob.join("queue:a")
        ref = await ann.push("room:a", "publish", MESSAGE)
        await rig.appended(1)
        assert await ann.silent()
        assert (await bob.join("room:b", {"history": 5}))["events"] == []
        # Memory topics go on meanwhile, and what a joining member is told is what it may see.
        await rig.publish_many("queue:a", 1)
        assert (await bob.events(1))[0]["channel"] == "queue:a"
        assert (await bob.join("room:a"))["seq"] == 0
        assert (await bob.message())[3] == "phx_close"
        rig.log.gate.set()
        assert (await ann.events(1))[0]["seq"] == 1
        assert (await ann.reply(ref))["seq"] == 1
        assert (await bob.events(1))[0]["seq"] == 1


async def test_what_gathers_during_a_sync_is_appended_at_once(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.log.gate = trio.Event()
        topics = [rig.open(f"room:{n}") for n in range(3)]
        requests = [rig.start_publish(PublishItem(topics[0], "m", b"1", None, None))]
        await rig.appended(1)
        requests += [rig.start_publish(PublishItem(topic, "m", b"1", None, None)) for topic in topics * 20]
        rig.log.gate.set()
        for request in requests:
            await rig.results(request)
        assert rig.log.appends == 2
        assert [event.seq for event in rig.log.of("room:0")] == list(range(1, 22))


async def test_a_log_that_takes_nothing_refuses_publishes_and_uses_up_no_seq(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        rig.log.broken = True
        refusal = await ann.ask("room:a", "publish", {"type": "m", "id": "mine"}, "error")
        assert (refusal["reason"], refusal["retry_after_ms"]) == ("unavailable", rig.log.retry_after_ms)
        (refused,) = (await rig.publish(PublishItem(rig.topics["room:a"], "m", b"1", None, None))).results
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.retry_after_ms) == ("unavailable", rig.log.retry_after_ms)
        await rig.publish_many("queue:a", 1)  # memory kinds go on
        rig.log.broken = False
        await ann.push("room:a", "publish", {"type": "m", "id": "mine"})
        assert (await ann.events(1))[0]["seq"] == 1


async def test_a_failed_fsync_delivers_nothing(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        rig.log.sync_broken = True
        assert (await ann.ask("room:a", "publish", MESSAGE, "error"))["reason"] == "unavailable"
        assert await ann.silent()
        assert (await rig.window("room:a")).events == []


async def test_what_waits_for_the_log_is_bounded(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.log.gate = trio.Event()
        topic = rig.open("room:a")
        data = b'"%b"' % (b"x" * 60_000)
        rig.start_publish(*[PublishItem(topic, "m", data, None, None)] * 1_300)
        (refused,) = (await rig.publish(PublishItem(topic, "m", data, None, None))).results
        assert isinstance(refused, Refused)
        assert refused.reason == "unavailable"
        assert len(rig.log.events) < 1_000


async def test_a_new_epoch_during_a_sync_refuses_what_was_of_the_old_one(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.log.gate = trio.Event()
        await ann.join("room:a")
        ref = await ann.push("room:a", "publish", {"type": "m", "id": "mine"})
        await rig.appended(1)
        rig.submit(NewEpoch(rig.topics["room:a"], "epoch2"))
        assert (await ann.message())[3] == "phx_error"
        rig.log.gate.set()
        assert (await ann.reply(ref, "error"))["reason"] == "unavailable"
        await ann.join("room:a")
        await ann.push("room:a", "publish", {"type": "m", "id": "mine"})
        assert (await ann.events(1))[0]["seq"] == 1
        assert [event.epoch for event in rig.log.events] == [EPOCH, "epoch2"]


async def test_a_kind_that_becomes_a_memory_kind_keeps_its_order(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.log.gate = trio.Event()
        topic = rig.open("room:a")
        waiting = rig.start_publish(PublishItem(topic, "m", b"1", None, None))
        await rig.appended(1)
        rig.submit(SetPolicy(topic, KINDS["queue"]))
        following = rig.start_publish(PublishItem(topic, "m", b"2", None, None))
        rig.log.gate.set()
        first, second = await rig.results(waiting), await rig.results(following)
        assert [r.seq for r in (*first, *second) if isinstance(r, Accepted)] == [1, 2]


# --- the gateway's publishes


async def test_results_stand_in_the_order_of_the_items(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.configure(msgspec.structs.replace(GENEROUS, payload_bytes=10))
        room, queue = rig.open("room:a"), rig.open("queue:a")
        results = await rig.publish(
            PublishItem(room, "m", b"1", None, None),
            PublishItem(queue, "m", b'"far too long"', None, None),
            PublishItem(999, "m", b"1", None, None),
            PublishItem(queue, "m", b"1", "mine", "ann"),
            PublishItem(room, "m", b"1", None, None),
        )
        shown = [r.seq if isinstance(r, Accepted) else r.reason for r in results.results]
        assert shown == [1, "payload_too_large", "unavailable", 1, 2]
        assert isinstance(results.results[1], Refused)
        assert results.results[1].limit == 10
        assert (await rig.publish()).results == []


async def test_events_of_the_gateway_carry_the_user_that_it_names(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a", {"self": False})
        topic = rig.topics["queue:a"]
        await rig.publish(PublishItem(topic, "m", b"1", None, "ann"), PublishItem(topic, "m", b"1", None, None))
        assert [event["meta"]["user_id"] for event in await ann.events(2)] == ["ann", None]


async def test_times_of_a_channel_never_go_back(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        ahead_us = now_us() + 60_000_000  # written before the clock was set back
        topic = rig.open("queue:a", seq=1, window=[event("queue:a", 1, ts_us=ahead_us)])
        (result,) = (await rig.publish(PublishItem(topic, "m", b"1", None, None))).results
        assert isinstance(result, Accepted)
        assert result.ts_us == ahead_us


async def test_published_is_gathered_by_topic(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a")
        async with rig.deaf():
            for _ in range(100):
                rig.start_publish(PublishItem(rig.topics["queue:a"], "m", b"12", None, None))
            await ann.events(100)
        published = [await rig.heard(Published)]
        while published[-1].last_seq < 100:
            published.append(await rig.heard(Published, first_seq=published[-1].last_seq + 1))
        assert len(published) < 10
        assert (published[0].first_seq, published[-1].last_seq) == (1, 100)
        assert sum(record.size for record in published) == 200
        assert sum(record.deliveries for record in published) == 100
        assert not rig.all_heard(Published)


# --- bursts: who reads as fast as it can is not slow


async def test_a_client_s_burst_loses_nothing_for_quick_members_of_a_dropping_kind(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        await ann.join("match:a", {"self": False})
        await bob.join("match:a")
        payload = {"type": "move", "data": "x" * 100}
        await ann.send_texts([json.dumps(["1", str(n), "match:a", "publish", payload]) for n in range(300)])
        assert [item["seq"] for item in await bob.events(300)] == list(range(1, 301))
        assert [(await ann.reply(str(n)))["seq"] for n in range(300)] == list(range(1, 301))


@pytest.mark.parametrize(
    ("channel", "count", "size"),
    [("match:a", 600, 100), ("queue:a", 400, 8_000), ("room:a", 400, 8_000)],
)
async def test_a_large_batch_reaches_quick_members_whole_and_in_order(
    open_rig: OpenRig, channel: str, count: int, size: int
) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join(channel)
        item = PublishItem(rig.topics[channel], "m", b'"%b"' % (b"x" * size), None, None)
        batch = rig.start_publish(*[item] * count)
        last = rig.start_publish(item)
        assert [event["seq"] for event in await ann.events(count + 1)] == list(range(1, count + 2))
        assert [r.seq for r in await rig.results(batch) if isinstance(r, Accepted)] == list(range(1, count + 1))
        (result,) = await rig.results(last)
        assert isinstance(result, Accepted)
        assert result.seq == count + 1


async def test_a_repeat_within_a_batch_that_waits_its_turn_is_a_duplicate(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        topic = rig.open("queue:a")
        filler = [PublishItem(topic, "m", b"1", None, None)] * 600
        mine = PublishItem(topic, "m", b"1", "mine", None)
        *_, first, second = (await rig.publish(*filler, mine, mine)).results
        assert isinstance(first, Accepted)
        assert (first.seq, first.duplicate) == (601, False)
        assert second == msgspec.structs.replace(first, duplicate=True)


# --- signals and messages


async def test_a_signal_reaches_everyone_before_its_reply_and_is_not_kept(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address, "token=bob") as bob:
        await ann.join("room:a")
        await bob.join("room:a", {"self": False})
        ref = await ann.push("room:a", "signal", {"type": "typing", "data": {"on": True}})
        _, _, _, name, signal = await ann.message()
        assert name == "signal"
        assert (signal["type"], signal["data"], signal["meta"]["user_id"]) == ("typing", {"on": True}, "ann")
        assert signal["meta"]["ts"].endswith("Z")
        assert "seq" not in signal
        assert await ann.reply(ref) == {}
        assert (await bob.message())[3:] == ("signal", signal)
        assert await bob.ask("room:a", "signal", {"type": "typing"}) == {}
        assert (await ann.message())[4]["data"] is None
        assert (await rig.window("room:a")).seq == 0


async def test_a_broadcast_for_presence_reaches_only_who_sees_it(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        await ann.join("room:a")
        rig.admits["sees_presence"] = False
        await bob.join("room:a")
        topic = rig.topics["room:a"]
        rig.submit(Broadcast(topic, "presence_diff", b'{"joins":{}}', True), Broadcast(topic, "erased", b"{}", False))
        assert (await ann.message()) == (None, None, "room:a", "presence_diff", {"joins": {}})
        assert (await ann.message())[3] == "erased"
        assert (await bob.message())[3] == "erased"


async def test_a_message_to_one_member_carries_its_join_ref(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        await ann.join("room:a")
        joined = await rig.heard(Joined)
        await bob.join("room:a")
        rig.submit(SendTo(joined.conn, joined.sub, "presence_state", b"{}"))
        assert await ann.message() == ("1", None, "room:a", "presence_state", {})
        assert await bob.silent()


async def test_a_notice_comes_on_every_joined_channel(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        await ann.join("room:a")
        await ann.join("room:b")
        joined = await rig.heard(Joined)
        rig.submit(Notice(joined.conn, "token_expiring", "soon"))
        for topic in ("room:a", "room:b"):
            message = await ann.message()
            assert message[2:] == (topic, "system", {"code": "token_expiring", "message": "soon"})
        await bob.join("room:c")
        rig.submit(Notice(None, "draining", "bye"))
        assert [(await ann.message())[4]["code"] for _ in range(2)] == ["draining", "draining"]
        assert (await bob.message())[2] == "room:c"


async def test_other_events_are_answered_by_the_gateway(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        ref = await ann.push("room:a", "history", {"limit": 3})
        push = await rig.heard(Push)
        assert (push.event, push.topic, push.payload) == ("history", rig.topics["room:a"], b'{"limit": 3}')
        rig.submit(Reply(push.reply, True, b'{"events":[]}'))
        assert await ann.reply(ref) == {"events": []}
        ref = await ann.push("room:a", "presence", {})
        push = await rig.heard(Push)
        rig.submit(Reply(push.reply, False, b'{"reason":"forbidden","message":"no"}'))
        assert (await ann.reply(ref, "error"))["reason"] == "forbidden"
        rig.submit(Reply(push.reply, True, b"{}"))  # a second answer finds nothing
        assert await ann.silent()
        assert rig.plane.counters().refused_total == {"forbidden": 1}


async def test_an_unknown_event_leaves_the_channel_alive(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a")
        assert (await ann.ask("queue:a", "dance", {}, "error"))["reason"] == "unknown_event"
        await rig.publish_many("queue:a", 1)
        await ann.events(1)


@both_durabilities
async def test_both_serializers_and_binary_pushes_carry_the_same(open_rig: OpenRig, channel: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as new, open_client(rig.address, vsn="1.0.0") as old:
        await new.join(channel)
        await old.join(channel)
        payload = b'{"type":"m","data":[1]}'
        head = bytes([0, 1, 1, len(channel), 7]) + b"19" + channel.encode() + b"publish"
        await new.send_event(wsproto.events.BytesMessage(head + payload))
        (event,) = await new.events(1)
        assert (await new.reply("9"))["seq"] == 1
        assert await old.events(1) == [event]
        await new.send_event(wsproto.events.BytesMessage(head + b"\xff"))
        refusal = await new.reply("9", "error")
        assert (refusal["reason"], refusal["field"]) == ("invalid", "payload")
