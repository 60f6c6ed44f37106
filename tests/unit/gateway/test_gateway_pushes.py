"""The events on a joined channel that the gateway answers, but presence."""

import base64
from typing import Any

import msgspec
import pytest
import trio
from gateway_rig import Rig, event, open_rig
from trio.testing import MockClock

from polyglotd.access.revocation import keep_until_us
from polyglotd.log.interface import ChannelHead
from polyglotd.plane.interface import Disconnect, EndSubscription, ReadWindow, Reply, SetCapabilities


def seqs(page: Any) -> list[int]:
    return [one["seq"] for one in page["events"]]


async def past(rig: Rig, first_in_window: int = 3, last: int = 5) -> tuple[int, int]:
    """A member of a channel of which the window holds only the newest events."""
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", last)
    rig.store.events = [event(seq) for seq in range(1, last + 1)]
    conn = await rig.connect()
    sub = await rig.joined(conn)
    rig.plane.topic("room:lobby").window = [event(seq) for seq in range(first_in_window, last + 1)]
    rig.store.reads = 0
    return conn, sub


@pytest.mark.parametrize(
    ("payload", "expected", "more", "store_reads"),
    [
        (b'{"limit":2}', [4, 5], True, 0),
        (b'{"limit":3}', [3, 4, 5], True, 0),
        (b'{"limit":4}', [2, 3, 4, 5], True, 1),
        (b"{}", [1, 2, 3, 4, 5], False, 1),
        (b'{"after":2}', [3, 4, 5], False, 0),
        (b'{"after":2,"limit":1}', [3], True, 0),
        (b'{"after":0,"limit":2}', [1, 2], True, 1),
        (b'{"before":5,"limit":1}', [4], True, 0),
        (b'{"before":3}', [1, 2], False, 1),
        (b'{"after":5}', [], False, 0),
        (b'{"limit":null}', None, None, 0),
    ],
)
async def test_history_comes_from_the_window_where_it_can_and_from_the_store_where_it_must(
    autojump_clock: MockClock,
    rig: Rig,
    payload: bytes,
    expected: list[int] | None,
    more: bool | None,
    store_reads: int,
) -> None:
    conn, sub = await past(rig)
    ok, page = await rig.push(conn, sub, "history", payload)
    if expected is None:
        assert (ok, page["reason"], page["field"]) == (False, "invalid", "limit")
        return
    assert (ok, page["epoch"], page["seq"], seqs(page), page["more"]) == (True, "e1", 5, expected, more)
    assert rig.store.reads == store_reads


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b'{"limit":0}', "limit"),
        (b'{"limit":1001}', "limit"),
        (b'{"before":-1}', "before"),
        (b'{"after":"x"}', "after"),
        (b"[]", "payload"),
        (b"nothing", "payload"),
    ],
)
async def test_history_with_wrong_bounds_is_refused(
    autojump_clock: MockClock, rig: Rig, payload: bytes, field: str
) -> None:
    conn = await rig.connect()
    ok, reply = await rig.push(conn, await rig.joined(conn), "history", payload)
    assert (ok, reply["reason"], reply["field"]) == (False, "invalid", field)


async def test_history_keeps_the_bytes_of_data(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    data = b'{"b": 1.10,"a":12345678901234567890123, "n":1e999}'
    await rig.publish("room:lobby", data)
    rig.plane.push(conn, sub, "history")
    await rig.settle()
    assert b'"data":' + data + b"," in rig.plane.last(Reply).response


async def test_history_of_a_lost_store_is_unavailable(autojump_clock: MockClock, rig: Rig) -> None:
    conn, sub = await past(rig)
    rig.store.lost = True
    ok, reply = await rig.push(conn, sub, "history")
    assert (ok, reply["reason"]) == (False, "unavailable")
    assert reply["retry_after_ms"] > 0


async def test_history_that_is_cut_by_its_bytes_within_the_window_needs_no_disk(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn, sub = await past(rig, 1, 40)
    data = b'"%b"' % (b"x" * 60_000)
    rig.plane.topic("room:lobby").window = [event(n, data=data) for n in range(3, 41)]
    _, page = await rig.push(conn, sub, "history")
    assert (len(seqs(page)), seqs(page)[-1], page["more"]) == (17, 40, True)
    assert rig.store.reads == 0


async def test_history_of_a_memory_kind_never_asks_the_store(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn, "match:1")
    await rig.publish("match:1", b"1", b"2")
    ok, page = await rig.push(conn, sub, "history")
    assert (ok, seqs(page), page["more"]) == (True, [1, 2], False)
    assert rig.store.reads == 0


async def test_history_is_cut_at_one_mebibyte(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn, "match:1")
    rig.plane.topic("match:1").window = [
        event(n, channel="match:1", data=b'"%s"' % (b"1" * 60_000)) for n in range(1, 41)
    ]
    rig.plane.topic("match:1").seq = 40
    _, page = await rig.push(conn, sub, "history")
    assert rig.plane.last(ReadWindow).bytes_max == 1 << 20
    assert (len(seqs(page)), seqs(page)[-1], page["more"]) == (17, 40, True)


async def test_an_event_that_no_channel_has_is_refused(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    ok, reply = await rig.push(conn, await rig.joined(conn), "dance")
    assert (ok, reply["reason"]) == (False, "unknown_event")


async def test_questions_are_counted_like_publishes(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(publishes_per_connection=3)
        conn = await rig.connect()
        sub = await rig.joined(conn)
        answers = [await rig.push(conn, sub, "history") for _ in range(4)]
        assert [ok for ok, _ in answers] == [True, True, True, False]
        assert answers[3][1]["reason"] == "rate_limited"
        assert answers[3][1]["retry_after_ms"] > 0
        await trio.sleep(1)
        assert (await rig.push(conn, sub, "history"))[0]


async def test_a_push_on_a_sub_that_is_gone_gets_no_answer(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    rig.plane.push(conn, sub, "history")
    rig.plane.drop(conn)
    await rig.settle()
    assert rig.gateway.counters().connections == 0


# --- access_token ---


async def replace(rig: Rig, conn: int, sub: int, token: str) -> tuple[bool, Any]:
    return await rig.push(conn, sub, "access_token", msgspec.json.encode({"access_token": token}))


async def test_a_new_token_of_another_user_is_forbidden(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    ok, reply = await replace(rig, conn, await rig.joined(conn), rig.token("bob"))
    assert (ok, reply["reason"]) == (False, "forbidden")


async def test_a_new_token_of_another_app_is_unauthorized(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.tenant("other")
    conn = await rig.connect("ann")
    ok, reply = await replace(rig, conn, await rig.joined(conn), rig.token("ann", "other"))
    assert (ok, reply["reason"]) == (False, "unauthorized")


async def test_a_new_token_that_is_revoked_ends_the_connection(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    new = rig.token("ann")
    await replace(rig, conn, await rig.joined(conn), new)
    at_us = rig.wall_us()
    jti = msgspec.json.decode(_claims(new))["jti"]
    await rig.registry.revoke("demo", "token", jti, at_us, keep_until_us(at_us, ttl_max_s=60, leeway_s=10))
    await trio.sleep(1)
    assert [(c.conn, c.code) for c in rig.plane.of(Disconnect)] == [(conn, 4003)]


async def test_a_member_that_may_not_join_any_more_reads_no_history_while_its_end_is_on_the_way(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect("ann")
    sub = await rig.joined(conn)
    rig.plane.mute.add(EndSubscription)
    await replace(rig, conn, sub, rig.token("ann", channels={}))
    ok, reply = await rig.push(conn, sub, "history")
    assert (ok, reply["reason"]) == (False, "forbidden")


@pytest.mark.parametrize("payload", [b"{}", b'{"access_token":1}', b"[]"])
async def test_a_new_token_that_is_no_text_is_invalid(autojump_clock: MockClock, rig: Rig, payload: bytes) -> None:
    conn = await rig.connect()
    ok, reply = await rig.push(conn, await rig.joined(conn), "access_token", payload)
    assert (ok, reply["reason"]) == (False, "invalid")


async def test_a_new_token_changes_what_every_subscription_may_do(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    lobby, match = await rig.joined(conn), await rig.joined(conn, "match:1")
    channels = {"room:*": ["join"]}
    assert await replace(rig, conn, lobby, rig.token("ann", channels=channels)) == (True, {})
    assert rig.plane.of(SetCapabilities) == [SetCapabilities(conn, lobby, False, False)]
    assert rig.plane.of(EndSubscription) == [EndSubscription(conn, match, "closed")]
    assert (await rig.push(conn, lobby, "presence"))[1]["reason"] == "forbidden"
    assert rig.plane.join_refusal(await rig.join(conn, "match:1"))["reason"] == "forbidden"


async def test_a_new_token_that_shows_presence_brings_the_state(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", channels={"room:*": ["join"]})
    sub = await rig.joined(conn)
    await replace(rig, conn, sub, rig.token("ann"))
    assert [list(state) for state in rig.plane.sent_to(sub, "presence_state")] == [["ann"]]


async def test_the_old_token_revoked_does_not_end_who_has_a_new_one(autojump_clock: MockClock, rig: Rig) -> None:
    old = rig.token("ann")
    jti = msgspec.json.decode(_claims(old))["jti"]
    conn = rig.plane.connect(f"app_id=demo&token={old}")
    await rig.settle()
    sub = await rig.joined(conn)
    await replace(rig, conn, sub, rig.token("ann"))
    at_us = rig.wall_us()
    await rig.registry.revoke("demo", "token", jti, at_us, keep_until_us(at_us, ttl_max_s=60, leeway_s=10))
    await trio.sleep(1)
    assert rig.plane.of(Disconnect) == []
    ok, reply = await replace(rig, conn, sub, old)
    assert (ok, reply["reason"]) == (False, "unauthorized")


def _claims(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
