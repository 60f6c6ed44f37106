"""History, channels and usage over HTTP; and that no app ever reads another's."""

from typing import Any

import pytest
import trio
from gateway_rig import BEGUN_US, Rig, event, open_rig
from trio.testing import MockClock

from polyglotd.access.api_keys import new_api_key
from polyglotd.gateway.callers import Caller, Credentials
from polyglotd.gateway.requests import HistoryRequest, SignalRequest
from polyglotd.log.interface import ChannelHead
from polyglotd.model import Forbidden, Invalid, NotFound, Scope, Unauthorized, UnknownChannelKind
from polyglotd.model.latency import Latency
from polyglotd.store.interface import Usage


async def seqs(rig: Rig, channel: str = "room:lobby", caller: Caller | None = None, **request: Any) -> list[int]:
    page = await rig.gateway.history(caller or await rig.key_caller(), channel, HistoryRequest(**request))
    return [one.seq for one in page.events]


async def test_history_of_a_closed_channel_opens_none(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 3)
    rig.store.events = [event(1), event(2)]
    rig.log.events = [event(3)]
    page = await rig.gateway.history(await rig.key_caller(), "room:lobby", HistoryRequest(limit=2))
    assert (page.epoch, page.seq, [e.seq for e in page.events], page.more) == ("e1", 3, [2, 3], True)
    assert rig.plane.topics == {}


async def test_history_is_filtered_in_store_and_log(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    rig.store.events = [event(1, type="a"), event(2, type="b", ts_us=BEGUN_US + 1)]
    rig.log.events = [event(3, type="a", ts_us=BEGUN_US + 2), event(4, type="b", ts_us=BEGUN_US + 3)]
    assert await seqs(rig, type="a") == [1, 3]
    assert await seqs(rig, from_us=BEGUN_US + 1, to_us=BEGUN_US + 3) == [2, 3]
    assert await seqs(rig, type="b", limit=1) == [4]
    assert await seqs(rig, type="b", after=0, limit=1) == [2]


async def test_an_open_channel_keeps_its_epoch_when_the_log_renews_its_own(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.joined(await rig.connect())
    rig.log.own_epoch = "own1"
    for filters in ({}, {"type": "message"}):
        page = await rig.gateway.history(await rig.key_caller(), "room:lobby", HistoryRequest(**filters))
        assert (page.epoch, page.seq) == ("own0", 0)


async def test_history_of_a_memory_kind_is_filtered_in_its_window(autojump_clock: MockClock, rig: Rig) -> None:
    for type_ in ("a", "b", "a", "b"):
        await rig.publish("match:1", b"1", type_=type_)
    assert await seqs(rig, "match:1", type="a") == [1, 3]
    assert await seqs(rig, "match:1", type="a", limit=1) == [3]
    assert await seqs(rig, "match:1", type="b", after=0, limit=1) == [2]
    assert await seqs(rig, "match:1", before=3) == [1, 2]
    page = await rig.gateway.history(await rig.key_caller(), "match:1", HistoryRequest(type="a", limit=1))
    assert page.more


async def test_history_of_a_memory_kind_that_nobody_uses_is_empty(autojump_clock: MockClock, rig: Rig) -> None:
    page = await rig.gateway.history(await rig.key_caller(), "match:1", HistoryRequest())
    assert (page.seq, page.events, page.more) == (0, [], False)
    assert page.epoch
    assert rig.plane.topics == {}


@pytest.mark.parametrize("limit", [0, 1001])
async def test_history_with_a_wrong_limit_is_invalid(autojump_clock: MockClock, rig: Rig, limit: int) -> None:
    with pytest.raises(Invalid):
        await seqs(rig, limit=limit)


@pytest.mark.parametrize(("channel", "error"), [("lobby", Invalid), ("nosuch:a", UnknownChannelKind)])
async def test_history_of_what_is_no_channel_is_refused(
    autojump_clock: MockClock, rig: Rig, channel: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await seqs(rig, channel)


async def test_history_takes_join_from_users_and_read_from_keys(autojump_clock: MockClock, rig: Rig) -> None:
    assert await seqs(rig, caller=await rig.user_caller("ann")) == []
    assert await seqs(rig, caller=await rig.gateway.operator("demo")) == []
    with pytest.raises(Forbidden):
        await seqs(rig, caller=await rig.user_caller("ann", channels={"room:*": ["publish"]}))
    with pytest.raises(Forbidden):
        await seqs(rig, caller=await key_with(rig, "publish"))


async def key_with(rig: Rig, *scopes: Scope) -> Caller:
    shown, key = new_api_key("demo", now_us=0, scopes=scopes)
    await rig.registry.add_key(key)
    await rig.gateway.registry_changed()
    return await rig.gateway.authenticate("demo", Credentials(api_key=shown))


# --- channels ---


async def test_a_channel_tells_where_it_stands_and_who_is_there(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.joined(await rig.connect("ann"))
    await rig.joined(await rig.connect("ann"))
    await rig.publish("room:lobby", b"1", b"2")
    info = await rig.gateway.channel_info(await rig.key_caller(), "room:lobby")
    assert (info.channel, info.kind, info.seq, info.subscriptions, info.users) == ("room:lobby", "room", 2, 2, 1)
    assert info.epoch == rig.plane.topic("room:lobby").epoch


@pytest.mark.parametrize(("channel", "users"), [("room:x", 0), ("match:x", 0), ("ticker:x", None)])
async def test_a_channel_that_nobody_uses_has_nobody(
    autojump_clock: MockClock, rig: Rig, channel: str, users: int | None
) -> None:
    info = await rig.gateway.channel_info(await rig.key_caller(), channel)
    assert (info.seq, info.subscriptions, info.users) == (0, 0, users)
    assert rig.plane.topics == {}


async def test_occupied_channels_are_listed_by_name_in_pages(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    for channel in ("room:b", "room:a", "match:1", "room:c"):
        await rig.joined(conn, channel)
    await rig.publish("room:published-only", b"1")
    caller = await rig.key_caller()
    first = await rig.gateway.channels(caller, prefix="room:", cursor=None, limit=2)
    assert [info.channel for info in first.channels] == ["room:a", "room:b"]
    rest = await rig.gateway.channels(caller, prefix="room:", cursor=first.cursor, limit=2)
    assert ([info.channel for info in rest.channels], rest.cursor) == (["room:c"], None)
    with pytest.raises(Forbidden):
        await rig.gateway.channels(await rig.user_caller("ann"), prefix="", cursor=None, limit=2)


# --- usage ---


async def test_usage_adds_what_the_store_does_not_know_yet(autojump_clock: MockClock, rig: Rig) -> None:
    rig.store.used = Usage(events=10, bytes=100)
    await rig.connect()
    await rig.publish("match:1", b"12", b"345")
    await rig.settle()
    usage = await rig.gateway.usage(await rig.key_caller())
    assert (usage.month, usage.events, usage.bytes) == ("2023-11", 12, 105)
    assert (usage.connections, usage.channels, usage.limits.connections) == (1, 1, 10_000)


async def test_events_of_memory_kinds_are_metered_once_a_second_and_logged_ones_are_not(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.joined(await rig.connect(), "match:1")
    await rig.publish("match:1", b"12", b"345")
    await rig.publish("room:1", b"12")
    await trio.sleep(3)
    (meter,) = rig.log.meters
    assert (meter.app_id, meter.events, meter.bytes, meter.deliveries, meter.connections_peak) == ("demo", 2, 5, 2, 1)


async def test_of_logged_kinds_a_meter_tells_deliveries_and_what_they_took(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.joined(await rig.connect(), "room:1")
    await rig.publish("room:1", b"12")
    rig.plane.latencies = {"demo": Latency(300, {20: 1}), "other": Latency(7, {7: 1})}
    await trio.sleep(3)
    found = {meter.app_id: (meter.events, meter.bytes, meter.deliveries, meter.latency) for meter in rig.log.meters}
    assert found == {"demo": (0, 0, 1, Latency(300, {20: 1})), "other": (0, 0, 0, Latency(7, {7: 1}))}


async def test_a_second_in_which_connections_come_and_go_tells_the_most_and_the_next_what_is_left(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conns = [await rig.connect("ann"), await rig.connect("bob"), await rig.connect("cleo")]
    await trio.sleep(3)
    rig.plane.drop(conns[0])
    rig.plane.drop(conns[1])
    await trio.sleep(3)
    assert [meter.connections_peak for meter in rig.log.meters] == [3, 3, 1]


async def test_an_app_that_only_holds_connections_is_metered_once_a_minute_and_without_any_not_at_all(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect()
    await trio.sleep(10)
    rig.log.meters.clear()
    await trio.sleep(600)
    assert {meter.connections_peak for meter in rig.log.meters} == {1}
    assert 9 <= len(rig.log.meters) <= 11
    rig.plane.drop(conn)
    await trio.sleep(10)
    assert rig.log.meters[-1].connections_peak == 0
    rig.log.meters.clear()
    await trio.sleep(600)
    assert rig.log.meters == []


async def test_a_second_that_can_not_be_written_is_added_to_the_next(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.failed = "the disk is full"
    await rig.publish("match:1", b"1")
    await trio.sleep(2)
    await rig.publish("match:1", b"1")
    rig.log.failed = None
    await trio.sleep(2)
    assert [meter.events for meter in rig.log.meters] == [2]


# --- two apps with the same names ---


async def test_no_app_sees_another_of_the_same_names(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant("demo")
        await rig.tenant("twin")
        await rig.joined(await rig.connect("ann", "demo"))
        await rig.publish("room:lobby", b'"secret"')
        twin = await rig.key_caller("twin")
        assert await seqs(rig, caller=twin) == []
        assert await rig.gateway.presence(twin, "room:lobby") == {}
        assert (await rig.gateway.channel_info(twin, "room:lobby")).subscriptions == 0
        assert (await rig.gateway.channels(twin, prefix="", cursor=None, limit=10)).channels == []
        assert (await rig.gateway.usage(twin)).connections == 0
        assert await rig.gateway.kick(twin, "room:lobby", "ann") == 0
        assert await rig.gateway.disconnect_user(twin, "ann") == 0
        with pytest.raises(NotFound):
            await rig.gateway.signal_user(twin, "ann", SignalRequest("room:lobby", "hi", b"1"))
        await rig.gateway.revoke_user(twin, "ann")
        await trio.sleep(1)
        assert len(rig.plane.conns) == 1
        for shown in (rig.tenants["demo"].key, rig.token("ann", "demo")):
            with pytest.raises(Unauthorized):
                await rig.gateway.authenticate("twin", Credentials(bearer=shown))
