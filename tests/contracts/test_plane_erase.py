"""The plane's contract: a tombstone takes an erased event's place, and whoever may show the event is told."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
from plane_client import open_client
from plane_rig import APP, EPOCH, MAKES, Rig, event

from polyglotd.model import Event, now_us, tombstone
from polyglotd.plane.interface import (
    VIRTUAL_CONN_FIRST,
    Accepted,
    Admit,
    Erase,
    Feed,
    Mail,
    MailReady,
    OpenVirtual,
    PublishItem,
    Serializer,
    TakeMail,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]

PAYLOAD = b'{"id":"x","epoch":"epoch1","seq":2}'
EVER = (1 << 62) - 1
CONN, SUB = VIRTUAL_CONN_FIRST, VIRTUAL_CONN_FIRST + 500


def erase(topic: int, first: int, last: int, *, user: str | None = None, until_us: int = 0, **fields: Any) -> Erase:
    values = {"epoch": EPOCH, "payload": PAYLOAD} | fields
    return Erase(topic=topic, first=first, last=last, user_id=user, until_us=until_us, **values)


async def window(rig: Rig, channel: str) -> Sequence[Event]:
    return (await rig.window(channel)).events


async def test_an_event_s_place_is_taken_by_a_tombstone_and_members_are_told(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann, open_client(rig.address, vsn="1.0.0") as bob:
        await ann.join("room:a")
        await bob.join("room:a")
        await rig.publish_many("room:a", 3, b'{"text":"secret"}')
        before = await window(rig, "room:a")
        rig.submit(erase(rig.topics["room:a"], 2, 2))
        for client in (ann, bob):
            await client.events(3)
            assert (await client.message())[2:] == ("room:a", "erased", json.loads(PAYLOAD))
        assert await window(rig, "room:a") == [before[0], tombstone(before[1]), before[2]]
        await rig.publish_many("room:a", 1)
        for client in (ann, bob):
            [after] = await client.events(1)
            assert after["seq"] == 4


async def test_who_joins_later_gets_the_tombstone(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 3, b'{"text":"secret"}')
        rig.submit(erase(rig.topics["room:a"], 1, 2))
        joined = await ann.join("room:a", {"since": {"epoch": EPOCH, "seq": 0}})
        assert joined["recovered"] is True
        found = [(e["seq"], e["type"], e["data"], e["meta"]["user_id"]) for e in joined["events"]]
        assert found == [(1, "erased", None, None), (2, "erased", None, None), (3, "m", {"text": "secret"}, None)]
        assert await ann.silent()


async def test_a_users_events_go_up_to_the_time_and_nobody_elses(open_rig: OpenRig) -> None:
    users = ["ann", "bob", "ann", None, "ann"]
    then = now_us()
    past = [msgspec.structs.replace(event("room:a", n, ts_us=then + n), user_id=u) for n, u in enumerate(users, 1)]
    async with open_rig() as rig:
        topic = rig.open("room:a", seq=5, window=past)
        rig.submit(erase(topic, 0, EVER, user="ann", until_us=then + 3, epoch=None))
        stones = {1, 3}
        assert await window(rig, "room:a") == [tombstone(e) if e.seq in stones else e for e in past]


@pytest.mark.parametrize(
    ("seq", "told"), [pytest.param(2, False, id="all that was"), pytest.param(5, True, id="the newest of more")]
)
async def test_of_a_user_members_hear_only_where_the_topic_may_have_had_something(
    open_rig: OpenRig, seq: int, told: bool
) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        topic = rig.open("room:a", seq=seq, window=[event("room:a", seq - 1), event("room:a", seq)])
        await ann.join("room:a")
        rig.submit(erase(topic, 0, EVER, user="nobody", until_us=EVER, epoch=None))
        if told:
            assert (await ann.message())[3] == "erased"
        assert await ann.silent()


async def test_another_epoch_and_a_topic_that_is_gone_are_left_alone(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 1)
        await ann.join("room:a")
        before = await window(rig, "room:a")
        rig.submit(erase(rig.topics["room:a"], 1, 1, epoch="other"), erase(999_999, 1, 1))
        assert await window(rig, "room:a") == before
        assert await ann.silent()


async def test_nobody_is_told_with_an_empty_payload(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 1)
        await ann.join("room:a")
        rig.submit(erase(rig.topics["room:a"], 1, 1, payload=b""))
        assert [e.type for e in await window(rig, "room:a")] == ["erased"]
        assert await ann.silent()


async def test_an_erased_price_leaves_the_snapshot(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        topic = rig.open("ticker:a")
        for type_ in ("gold", "silver", "gold"):
            await rig.publish(PublishItem(topic, type_, b"1", None, None))
        rig.submit(erase(topic, 3, 3))
        joined = await ann.join("ticker:a")
        assert [e["type"] for e in joined["snapshot"]] == ["silver"]
        await rig.publish(PublishItem(topic, "gold", b"2", None, None))
        assert [e["seq"] for e in await ann.events(1)] == [4]


async def test_an_erased_id_is_still_known_as_a_repeat(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        topic = rig.open("room:a")
        [first] = (await rig.publish(PublishItem(topic, "m", b"1", "mine", "ann"))).results
        rig.submit(erase(topic, 1, 1))
        [again] = (await rig.publish(PublishItem(topic, "m", b"1", "mine", "ann"))).results
        assert isinstance(first, Accepted)
        assert again == msgspec.structs.replace(first, duplicate=True)


async def test_a_tombstone_larger_than_its_event_keeps_the_window_s_bound(open_rig: OpenRig) -> None:
    """A window that is full to the byte lets its oldest events go for it."""
    async with open_rig() as rig:
        topic = rig.open("post:a")
        await rig.publish_many("post:a", 8_000, b"1")
        page = await rig.window("post:a", limit=10_000)
        rig.submit(erase(topic, 1, 8_000))
        after = await rig.window("post:a", limit=10_000, bytes_max=1 << 21)
        assert after.seq == 8_000
        assert after.events[-1] == tombstone(page.events[-1]) or page.events == []
        assert {e.type for e in after.events} == {"erased"}


@pytest.mark.parametrize(
    ("serializer", "frame"),
    [
        ("sse", b"event: erased\ndata: " + PAYLOAD + b"\n\n"),
        ("tail", b'{"erased":' + PAYLOAD + b"}"),
        ("phoenix-2.0.0", b'[null,null,"queue:a","erased",' + PAYLOAD + b"]"),
        ("phoenix-1.0.0", b'{"topic":"queue:a","event":"erased","payload":' + PAYLOAD + b',"ref":null}'),
    ],
)
async def test_streams_and_long_polls_are_told_as_well(
    open_rig: OpenRig, serializer: Serializer, frame: bytes
) -> None:
    async with open_rig() as rig:
        topic = rig.open("queue:a")
        rig.submit(OpenVirtual(CONN, APP, None if serializer in ("sse", "tail") else "ann", serializer))
        if serializer in ("sse", "tail"):
            rig.submit(Admit(CONN, SUB, topic, False, False, None, None, True))
        else:
            join = ["1", "1", "queue:a", "phx_join", {}]
            shape = dict(zip(("join_ref", "ref", "topic", "event", "payload"), join, strict=True))
            text = json.dumps(join if serializer == "phoenix-2.0.0" else shape).encode()
            rig.submit(Feed(CONN, [text], False))
            await rig.heard(MailReady)
        rig.submit(erase(topic, 1, 1))
        rig.submit(TakeMail(CONN, 1, 1 << 20))
        assert (await rig.heard(Mail, request=1)).frames[-1] == frame


async def test_what_waits_in_a_queue_goes_out_before_members_are_told(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        topic = rig.open("queue:a")
        rig.submit(OpenVirtual(CONN, APP, None, "tail"), Admit(CONN, SUB, topic, False, False, None, None, True))
        await rig.publish_many("queue:a", 2)
        rig.submit(erase(topic, 1, 1))
        await rig.publish_many("queue:a", 1)
        rig.submit(TakeMail(CONN, 1, 1 << 20))
        frames = [json.loads(frame) for frame in (await rig.heard(Mail, request=1)).frames]
        assert [next(iter(frame)) for frame in frames] == ["event", "event", "erased", "event"]
