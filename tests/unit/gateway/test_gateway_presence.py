"""What members see of each other, and what HTTP is told."""

from typing import Any

import msgspec
import pytest
import trio
from gateway_rig import Rig
from trio.testing import MockClock

from polyglotd.broker.interface import PresenceChange
from polyglotd.model import Forbidden, Unavailable, UnknownChannelKind
from polyglotd.plane.interface import Broadcast


def diffs(rig: Rig, event: str = "presence_diff") -> list[Any]:
    return [msgspec.json.decode(c.payload) for c in rig.plane.of(Broadcast) if c.event == event]


async def test_a_member_gets_the_state_with_itself_in_it(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", info=b'{"name":"Ann","n":1.10}')
    sub = await rig.joined(conn)
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert list(state) == ["ann"]
    (meta,) = state["ann"]["metas"]
    assert meta["info"] == {"name": "Ann", "n": 1.1}


async def test_a_second_device_is_a_second_meta(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.joined(await rig.connect("ann"))
    sub = await rig.joined(await rig.connect("ann"))
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert len(state["ann"]["metas"]) == 2


async def test_comings_and_goings_are_gathered_for_100_ms(autojump_clock: MockClock, rig: Rig) -> None:
    ann = await rig.connect("ann")
    await rig.joined(ann)
    await trio.sleep(1)
    rig.plane.forget()
    bob, cid = await rig.connect("bob"), await rig.connect("cid")
    await rig.joined(bob)
    await rig.joined(cid)
    await trio.sleep(0.09)
    assert diffs(rig) == []
    await trio.sleep(0.02)
    (diff,) = diffs(rig)
    assert (sorted(diff["joins"]), diff["leaves"]) == (["bob", "cid"], {})
    assert all(command.presence_only for command in rig.plane.of(Broadcast))
    rig.plane.drop(bob)
    await trio.sleep(0.2)
    assert (diffs(rig)[1]["joins"], list(diffs(rig)[1]["leaves"])) == ({}, ["bob"])


async def test_who_comes_and_goes_within_a_gathering_is_not_spoken_of(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.joined(await rig.connect("ann"))
    await trio.sleep(1)
    rig.plane.forget()
    conn = await rig.connect("bob", channels={"room:*": ["join"]})
    rig.plane.leave(conn, await rig.joined(conn))
    await trio.sleep(1)
    assert diffs(rig) == []


async def test_without_the_capability_no_state_comes(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", channels={"room:*": ["join"]})
    sub = await rig.joined(conn)
    assert rig.plane.sent_to(sub, "presence_state") == []
    ok, reply = await rig.push(conn, sub, "presence")
    assert (ok, reply["reason"]) == (False, "forbidden")


async def test_a_kind_without_presence_shows_none(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn, "ticker:acme")
    await trio.sleep(1)
    assert rig.plane.sent_to(sub, "presence_state") == []
    assert diffs(rig) == []
    assert (await rig.push(conn, sub, "presence"))[1]["reason"] == "forbidden"


async def test_a_count_only_kind_shows_one_key_with_the_count(autojump_clock: MockClock, rig: Rig) -> None:
    sub = await rig.joined(await rig.connect("ann"), "post:1")
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert (list(state), state[""]["metas"][0]["count"]) == ([""], 1)
    await trio.sleep(1)
    rig.plane.forget()
    await rig.joined(await rig.connect("bob"), "post:1")
    await trio.sleep(1)
    (diff,) = diffs(rig)
    assert (diff["joins"][""]["metas"][0]["count"], diff["leaves"][""]["metas"][0]["count"]) == (2, 1)


async def test_a_lower_presence_max_makes_a_crowd_of_who_is_there(autojump_clock: MockClock, rig: Rig) -> None:
    for user in ("ann", "bob"):
        await rig.joined(await rig.connect(user))
    await trio.sleep(1)
    await rig.set_kind("room", presence_max=1)
    await trio.sleep(1)
    (state,) = diffs(rig, "presence_state")
    assert state[""]["metas"][0]["count"] == 2


async def test_an_update_before_the_own_arrival_was_heard_of_does_not_lose_the_state(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect("ann")
    present = rig.broker.present
    gate = trio.Event()

    async def slow(changes: list[PresenceChange]) -> None:
        await gate.wait()
        await present(changes)

    rig.broker.present = slow  # type: ignore[method-assign, assignment]
    sub = await rig.joined(conn)
    await rig.push(conn, sub, "presence_update", b'{"info":{"v":2}}')
    gate.set()
    await rig.settle()
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert state["ann"]["metas"][0]["info"] == {"v": 2}


async def test_a_crowd_is_shown_as_a_count_with_a_new_state_for_all(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.set_kind("room", presence_max=2)
    conns = [await rig.connect(f"user{n}") for n in range(3)]
    for conn in conns:
        await rig.joined(conn)
    await trio.sleep(1)
    (state,) = diffs(rig, "presence_state")
    assert state[""]["metas"][0]["count"] == 3
    rig.plane.drop(conns[0])
    rig.plane.drop(conns[1])
    await trio.sleep(1)
    assert list(diffs(rig, "presence_state")[1]) == ["user2"]


async def test_the_presence_event_answers_the_state(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    sub = await rig.joined(conn)
    ok, reply = await rig.push(conn, sub, "presence")
    assert ok
    assert reply == {"presence": rig.plane.sent_to(sub, "presence_state")[0]}


async def test_an_update_replaces_the_meta_and_names_the_one_before(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", info=b'{"mood":"here"}')
    sub = await rig.joined(conn)
    await trio.sleep(1)
    rig.plane.forget()
    assert await rig.push(conn, sub, "presence_update", b'{"info":{"mood":"away"}}') == (True, {})
    await trio.sleep(1)
    (diff,) = diffs(rig)
    (joined,), (left,) = diff["joins"]["ann"]["metas"], diff["leaves"]["ann"]["metas"]
    assert joined["info"] == {"mood": "away"}
    assert joined["phx_ref_prev"] == left["phx_ref"]


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        (b"{}", "invalid", "info"),
        (b'{"info":null}', "invalid", "info"),
        (b'{"info":"away"}', "invalid", "info"),
        (b'{"info":{"a":"' + b"x" * 1024 + b'"}}', "payload_too_large", None),
    ],
)
async def test_an_update_that_is_no_small_object_is_refused(
    autojump_clock: MockClock, rig: Rig, payload: bytes, reason: str, field: str | None
) -> None:
    conn = await rig.connect()
    ok, reply = await rig.push(conn, await rig.joined(conn), "presence_update", payload)
    assert (ok, reply["reason"], reply.get("field")) == (False, reason, field)


async def test_a_new_token_shows_its_info(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", info=b'{"v":1}')
    sub = await rig.joined(conn)
    token = msgspec.json.encode({"access_token": rig.token("ann", info=b'{"v":2}')})
    assert await rig.push(conn, sub, "access_token", token) == (True, {})
    _, reply = await rig.push(conn, sub, "presence")
    assert reply["presence"]["ann"]["metas"][0]["info"] == {"v": 2}


async def test_presence_over_http_is_what_members_see(autojump_clock: MockClock, rig: Rig) -> None:
    sub = await rig.joined(await rig.connect("ann"))
    (state,) = rig.plane.sent_to(sub, "presence_state")
    for caller in (await rig.key_caller(), await rig.user_caller("bob"), await rig.gateway.operator("demo")):
        found = await rig.gateway.presence(caller, "room:lobby")
        assert msgspec.json.decode(msgspec.json.encode(found)) == state
    assert await rig.gateway.presence(await rig.key_caller(), "room:empty") == {}


async def test_presence_over_http_holds_to_capability_and_kind(autojump_clock: MockClock, rig: Rig) -> None:
    joins_only = await rig.user_caller("bob", channels={"room:*": ["join"]})
    with pytest.raises(Forbidden):
        await rig.gateway.presence(joins_only, "room:lobby")
    with pytest.raises(UnknownChannelKind):
        await rig.gateway.presence(await rig.key_caller(), "nosuch:lobby")


async def test_presence_of_one_app_is_not_in_another_of_the_same_names(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.tenant("other")
    await rig.joined(await rig.connect("ann"))
    await rig.joined(await rig.connect("ann", "other"))
    sub = await rig.joined(await rig.connect("bob", "other"))
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert [len(one["metas"]) for one in state.values()] == [1, 1]


async def test_a_broker_that_was_away_hears_everything_in_order(autojump_clock: MockClock, rig: Rig) -> None:
    present = rig.broker.present
    away = True

    async def sometimes(changes: list[PresenceChange]) -> None:
        if away:
            raise Unavailable("the broker is away")
        await present(changes)

    rig.broker.present = sometimes  # type: ignore[method-assign, assignment]
    conn = await rig.connect("ann")
    sub = await rig.joined(conn)
    bob = await rig.joined(await rig.connect("bob"))
    rig.plane.leave(conn, sub)
    await trio.sleep(5)
    assert rig.plane.sent_to(bob, "presence_state") == []
    away = False
    await trio.sleep(2)
    (state,) = rig.plane.sent_to(bob, "presence_state")
    assert list(state) == ["bob"]


async def test_a_kind_that_begins_to_have_presence_shows_who_is_there(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    sub = await rig.joined(conn, "ticker:acme")
    await rig.set_kind("ticker", presence="roster")
    (state,) = rig.plane.sent_to(sub, "presence_state")
    assert list(state) == ["ann"]
    await rig.set_kind("ticker", presence="none")
    assert await rig.broker.roster("demo", "ticker:acme") == {}
