"""Who may become a member of what, and what is kept of members."""

from typing import Any

import pytest
import trio
from gateway_rig import BEGUN_US, Rig, event, open_rig
from trio.testing import MockClock

from polyglotd.log.interface import ChannelHead
from polyglotd.model import LimitsPatch, Policy, Unavailable
from polyglotd.plane.interface import (
    Admit,
    Backfill,
    CloseTopic,
    EndSubscription,
    Join,
    Joined,
    Left,
    NeedHistory,
    OpenTopic,
    Published,
    RefuseJoin,
    TopicClosed,
)
from polyglotd.store.interface import HistoryQuery


async def test_a_join_of_a_room_may_publish_and_see_presence(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    admit = rig.plane.last(Admit)
    assert (admit.conn, admit.sub, admit.may_publish, admit.sees_presence) == (conn, sub, True, True)
    assert (admit.since, admit.history, admit.echo) == (None, None, True)


async def test_a_join_passes_on_what_it_asks_for(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    await rig.joined(conn, params=b'{"since":{"epoch":"e1","seq":7},"history":50,"self":false,"own":[1]}')
    admit = rig.plane.last(Admit)
    assert (admit.since, admit.history, admit.echo) == (("e1", 7), 50, False)


@pytest.mark.parametrize(
    ("channel", "params", "reason", "field"),
    [
        ("lobby", b"{}", "invalid", "channel"),
        ("room:", b"{}", "invalid", "channel"),
        ("room:a b", b"{}", "invalid", "channel"),
        ("room:*", b"{}", "invalid", "channel"),
        ("room:" + "ä" * 98, b"{}", "invalid", "channel"),
        ("Room:lobby", b"{}", "invalid", "channel"),
        ("nosuch:topic", b"{}", "unknown_channel_kind", None),
        ("room:lobby", b"[]", "invalid", "payload"),
        ("room:lobby", b'{"since":{"epoch":"e","seq":-1}}', "invalid", "since.seq"),
        ("room:lobby", b'{"since":{"epoch":1,"seq":1}}', "invalid", "since.epoch"),
        ("room:lobby", b'{"since":{"epoch":"e"}}', "invalid", "since.seq"),
        ("room:lobby", b'{"since":{"epoch":"e","seq":1e999}}', "invalid", "since.seq"),
        ("room:lobby", b'{"history":1.5}', "invalid", "history"),
        ("room:lobby", b'{"self":"no"}', "invalid", "self"),
        ("room:lobby", b"\xff", "invalid", "payload"),
        ("room:lobby", b'{"since":' + b"[" * 10_000, "invalid", "since"),
    ],
)
async def test_a_join_that_is_wrong_is_refused_with_what_is_wrong(
    autojump_clock: MockClock, rig: Rig, channel: str, params: bytes, reason: str, field: str | None
) -> None:
    sub = await rig.join(await rig.connect(), channel, params)
    refusal = rig.plane.join_refusal(sub)
    assert (refusal["reason"], refusal.get("field")) == (reason, field)
    assert refusal["message"]
    assert rig.plane.of(OpenTopic) == []


@pytest.mark.parametrize(
    ("channels", "may_join", "may_publish", "sees_presence"),
    [
        ({"room:*": ["join"]}, True, False, False),
        ({"room:*": ["join", "publish"]}, True, True, False),
        ({"room:*": ["join"], "room:lobby": ["presence"]}, True, False, True),
        ({"room:other": ["join"]}, False, False, False),
        ({"room:lobby": ["publish"]}, False, False, False),
        ({}, False, False, False),
    ],
)
async def test_the_channels_of_a_token_are_the_limit(
    autojump_clock: MockClock, rig: Rig, channels: Any, may_join: bool, may_publish: bool, sees_presence: bool
) -> None:
    conn = await rig.connect(channels=channels)
    sub = await rig.join(conn)
    if may_join:
        assert (rig.plane.last(Admit).may_publish, rig.plane.last(Admit).sees_presence) == (
            may_publish,
            sees_presence,
        )
    else:
        assert rig.plane.join_refusal(sub)["reason"] == "forbidden"


async def test_a_private_kind_takes_the_capability(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.set_kind("vault", join="capability")
    sub = await rig.join(await rig.connect(), "vault:one")
    assert rig.plane.join_refusal(sub)["reason"] == "forbidden"
    await rig.joined(await rig.connect(channels={"vault:*": ["join"]}), "vault:one")


# --- limits ---


async def test_a_connection_joins_no_more_channels_than_its_limit(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels_per_connection=2)
        conn = await rig.connect()
        first = await rig.joined(conn, "room:1")
        await rig.joined(conn, "room:2")
        await trio.sleep(1)
        assert rig.plane.join_refusal(await rig.join(conn, "room:3"))["reason"] == "too_many_channels"
        again = rig.plane.replace_join(conn, first, "room:1")  # no third channel
        await rig.settle()
        assert again in rig.plane.conns[conn].topics
        rig.plane.leave(conn, again)
        await trio.sleep(1)
        await rig.joined(conn, "room:3")


async def test_joins_faster_than_the_rate_are_refused_with_when_to_come_back(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(joins_per_second=1, channels_per_connection=3)
        conn = await rig.connect()
        for n in range(3):
            await rig.joined(conn, f"room:{n}")
        refusal = rig.plane.join_refusal(await rig.join(conn, "room:3"))
        assert (refusal["reason"], refusal["retry_after_ms"]) == ("rate_limited", 1000)
        other = await rig.connect("bob")
        await rig.joined(other, "room:3")


async def test_an_app_opens_no_more_channels_than_its_quota(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels=1)
        await rig.tenant("other")
        conn = await rig.connect()
        sub = await rig.joined(conn, "room:1")
        refusal = rig.plane.join_refusal(await rig.join(conn, "room:2"))
        assert (refusal["reason"], refusal["quota"]) == ("quota_exceeded", "channels")
        await rig.joined(await rig.connect(app_id="other"), "room:2")
        rig.plane.leave(conn, sub)
        rig.plane.idle(rig.plane.topic("room:1").opened.topic)
        await rig.settle()
        await rig.joined(conn, "room:2")


# --- opening ---


async def test_a_logged_channel_opens_where_the_log_stands_with_what_store_and_log_hold(
    autojump_clock: MockClock, rig: Rig
) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    rig.store.events = [event(1), event(2)]
    rig.log.events = [event(3), event(4)]
    await rig.joined(await rig.connect())
    opened = rig.plane.last(OpenTopic)
    assert (opened.epoch, opened.seq, [e.seq for e in opened.window]) == ("e1", 4, [1, 2, 3, 4])


async def test_a_window_begins_after_a_gap_that_retention_left(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 5)
    rig.store.events = [event(1), event(4), event(5)]
    await rig.joined(await rig.connect())
    assert [e.seq for e in rig.plane.last(OpenTopic).window] == [4, 5]


async def test_a_lost_store_keeps_no_channel_closed(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    rig.log.events = [event(3), event(4)]
    rig.store.lost = True
    await rig.joined(await rig.connect())
    opened = rig.plane.last(OpenTopic)
    assert (opened.seq, [e.seq for e in opened.window]) == (4, [3, 4])


async def test_a_window_holds_no_more_than_the_kinds_history(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.set_kind("room", history_events=2)
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    rig.log.events = [event(n) for n in range(1, 5)]
    rig.store.lost = True
    await rig.joined(await rig.connect())
    assert [e.seq for e in rig.plane.last(OpenTopic).window] == [3, 4]


async def test_many_who_join_a_closed_channel_share_one_opening(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
    rig.store.events = [event(1)]
    conns = [await rig.connect(f"user{n}") for n in range(5)]
    for conn in conns:
        rig.plane.join(conn, "room:lobby")
    await rig.settle()
    assert len(rig.plane.of(OpenTopic)) == 1
    assert rig.store.reads == 1
    assert len(rig.plane.topic("room:lobby").members) == 5


def slow_store(rig: Rig) -> trio.Event:
    """From now on reads of the store wait for the event."""
    gate = trio.Event()
    read = rig.store.history

    async def slow(query: HistoryQuery) -> Any:
        await gate.wait()
        return await read(query)

    rig.store.history = slow  # type: ignore[method-assign]
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
    rig.store.events = [event(1)]
    return gate


async def test_of_two_joins_of_one_channel_that_waits_the_second_counts(autojump_clock: MockClock, rig: Rig) -> None:
    gate = slow_store(rig)
    conn = await rig.connect()
    first = await rig.join(conn)
    second = rig.plane.replace_join(conn, first, "room:lobby")
    await rig.settle()
    gate.set()
    await rig.settle()
    assert [admit.sub for admit in rig.plane.of(Admit)] == [second]


async def test_a_join_is_decided_anew_when_its_channel_is_open(autojump_clock: MockClock, rig: Rig) -> None:
    gate = slow_store(rig)
    sub = await rig.join(await rig.connect())
    await rig.set_kind("room", join="capability")
    gate.set()
    await rig.settle()
    assert rig.plane.join_refusal(sub)["reason"] == "forbidden"


async def test_who_waits_for_an_opening_that_fails_shares_its_refusal(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels=1)
        rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
        reads = 0

        async def fail(*_: object, **__: object) -> Any:
            nonlocal reads
            reads += 1
            await trio.sleep(1)
            raise Unavailable("lost")

        rig.store.history = rig.log.tail = fail  # type: ignore[method-assign, assignment]
        subs = [rig.plane.join(await rig.connect(f"user{n}"), "room:lobby") for n in range(5)]
        await trio.sleep(5)
        assert [rig.plane.join_refusal(sub)["reason"] for sub in subs] == ["unavailable"] * 5
        assert reads == 2  # of the store, and then of the log alone
        await rig.joined(await rig.connect(), "match:1")  # what did not open takes no room


async def test_when_who_opens_a_channel_is_cancelled_another_takes_over(autojump_clock: MockClock, rig: Rig) -> None:
    gate = slow_store(rig)
    caller = await rig.key_caller()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: rig.publish("room:lobby", b"1", caller=caller))
            await rig.settle()
            conn = await rig.connect()
            sub = rig.plane.join(conn, "room:lobby")
            await rig.settle()
            scope.cancel()
    assert rig.plane.of(OpenTopic) == []
    gate.set()
    await rig.settle()
    assert sub in rig.plane.conns[conn].topics
    assert len(rig.plane.of(OpenTopic)) == 1


async def test_a_memory_channel_begins_a_new_epoch_at_seq_0_each_time_it_opens(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn, "match:1")
    rig.plane.leave(conn, sub)
    rig.plane.idle(rig.plane.topic("match:1").opened.topic)
    await rig.settle()
    await rig.joined(conn, "match:1")
    first, second = rig.plane.of(OpenTopic)
    assert (first.seq, second.seq) == (0, 0)
    assert first.epoch != second.epoch
    assert rig.log.heads == {}


async def test_a_join_while_the_channel_closes_waits_and_opens_it_again(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    rig.plane.leave(conn, sub)
    first = rig.plane.topic("room:lobby").opened.topic
    rig.plane.mute.add(CloseTopic)
    rig.plane.idle(first)
    await rig.settle()
    sub = rig.plane.join(conn, "room:lobby")
    await rig.settle()
    assert sub not in rig.plane.conns[conn].topics
    del rig.plane.topics[first]
    rig.plane.happen(TopicClosed(first, True))
    await rig.settle()
    assert rig.plane.conns[conn].topics[sub] != first


async def test_a_join_while_the_plane_refuses_to_close_goes_to_the_same_topic(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect()
    rig.plane.leave(conn, await rig.joined(conn))
    first = rig.plane.topic("room:lobby").opened.topic
    rig.plane.mute.add(CloseTopic)
    rig.plane.idle(first)
    await rig.settle()
    sub = rig.plane.join(conn, "room:lobby")
    await rig.settle()
    rig.plane.happen(TopicClosed(first, False))
    await rig.settle()
    assert rig.plane.conns[conn].topics[sub] == first
    assert len(rig.plane.of(OpenTopic)) == 1


async def test_a_join_that_can_not_be_decided_in_time_is_refused_as_unavailable(
    autojump_clock: MockClock, rig: Rig
) -> None:
    async def stuck(*_: object, **__: object) -> Any:
        await trio.sleep_forever()

    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
    rig.store.history = stuck  # type: ignore[method-assign]
    rig.log.tail = stuck  # type: ignore[method-assign, assignment]
    sub = rig.plane.join(await rig.connect(), "room:lobby")
    await trio.sleep(10)
    assert rig.plane.join_refusal(sub)["reason"] == "unavailable"


async def test_a_channel_that_was_logged_once_does_not_go_on_there_after_it_was_not(
    autojump_clock: MockClock, rig: Rig
) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    await rig.set_kind("room", durability="memory", route="local-first")
    await rig.joined(await rig.connect())
    head = rig.log.head("demo", "room:lobby")
    assert head.epoch not in ("e1", rig.plane.last(OpenTopic).epoch)
    assert head.seq == 0


# --- bookkeeping ---


async def test_a_join_that_its_client_took_back_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels_per_connection=1)
        conn = await rig.connect()
        rig.plane.mute.add(Admit)
        sub = await rig.join(conn, "room:1")
        rig.plane.give_up_join(conn, sub)
        rig.plane.mute.clear()
        await trio.sleep(1)
        assert rig.plane.join_refusal(await rig.join(conn, "room:2"))["reason"] == "too_many_channels"
        await trio.sleep(60)
        await rig.joined(conn, "room:2")


async def test_a_member_who_was_given_up_too_early_is_sent_to_join_again(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    rig.plane.mute.add(Admit)
    sub = await rig.join(conn)
    await trio.sleep(60)
    topic = rig.plane.topic("room:lobby").opened.topic
    rig.plane.happen(Joined(conn, sub, topic, 0, None))
    await rig.settle()
    assert rig.plane.last(EndSubscription) == EndSubscription(conn, sub, "error")


async def test_a_member_whose_past_was_still_fetched_counts_as_none(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    rig.plane.mute.add(Admit)
    sub = await rig.join(conn)
    rig.plane.happen(Left(conn, sub, rig.plane.topic("room:lobby").opened.topic, "leave"))
    await rig.settle()
    rig.plane.mute.clear()
    await rig.joined(conn)
    page = await rig.gateway.channels(await rig.key_caller(), prefix="", cursor=None, limit=10)
    assert [info.subscriptions for info in page.channels] == [1]


async def test_a_join_on_a_connection_that_is_gone_does_nothing(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    rig.plane.drop(conn)
    rig.plane.happen(Join(conn, 99, "room:lobby", b"{}"))
    await rig.settle()
    assert rig.plane.of(Admit) == rig.plane.of(RefuseJoin) == []


async def test_a_fault_of_ours_costs_one_join_and_not_the_service(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    conn = await rig.connect()
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
    rig.store.history = None  # type: ignore[method-assign, assignment]
    refusal = rig.plane.join_refusal(await rig.join(conn))
    assert refusal["reason"] == "internal"
    assert "NoneType" not in refusal["message"]
    assert "NoneType" in caplog.text
    await rig.joined(conn, "match:1")


# --- resumes beyond the window ---


async def backfill(rig: Rig, channel: str = "room:lobby", after: int = 0, until: int = 3) -> Backfill:
    conn = await rig.connect()
    sub = await rig.joined(conn, channel)
    topic = rig.plane.topic(channel).opened.topic
    rig.plane.happen(NeedHistory(conn, sub, topic, after, until, 100, 1 << 20))
    await rig.settle()
    return rig.plane.last(Backfill)


async def test_a_resume_beyond_the_window_gets_what_store_and_log_hold(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    rig.store.events = [event(1), event(2), event(3)]
    rig.log.events = [event(4)]
    answer = await backfill(rig, after=1, until=3)
    assert ([e.seq for e in answer.events], answer.gone) == ([2, 3], False)


async def test_a_resume_waits_for_what_the_log_is_told_a_moment_later(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    opened = rig.plane.topic("room:lobby").opened
    rig.plane.happen(NeedHistory(conn, sub, opened.topic, 0, 3, 100, 1 << 20))
    await trio.sleep(0.05)
    assert rig.plane.of(Backfill) == []
    rig.log.heads["demo", "room:lobby"] = ChannelHead(opened.epoch, 4)
    rig.log.events = [event(seq, epoch=opened.epoch) for seq in range(1, 5)]
    rig.plane.happen(Published(opened.topic, 1, 4, 100, 4, 0))
    await trio.sleep(0.1)
    assert [e.seq for e in rig.plane.last(Backfill).events] == [1, 2, 3]


async def test_a_resume_of_what_is_older_than_history_is_gone(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 4)
    day_ago = BEGUN_US - 86_401 * 1_000_000
    rig.store.events = [event(1, ts_us=day_ago), event(2, ts_us=day_ago), event(3), event(4)]
    answer = await backfill(rig, after=0, until=3)
    assert [e.seq for e in answer.events] == [3]  # the plane sees the hole and says so
    answer = await backfill(rig, after=0, until=2)
    assert answer.gone


async def test_a_memory_kind_has_nothing_beyond_its_window(autojump_clock: MockClock, rig: Rig) -> None:
    assert (await backfill(rig, "match:1")).gone


async def test_a_resume_that_can_not_be_read_sends_the_member_to_join_again(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    rig.log.heads["demo", "room:lobby"] = ChannelHead(rig.plane.last(OpenTopic).epoch, 4)
    rig.store.lost = True
    topic = rig.plane.topic("room:lobby").opened.topic
    rig.plane.happen(Published(topic, 1, 4, 100, 4, 0))
    rig.plane.happen(NeedHistory(conn, sub, topic, 0, 3, 100, 1 << 20))
    await rig.settle()
    assert rig.plane.last(EndSubscription) == EndSubscription(conn, sub, "error")
    assert rig.plane.of(Backfill) == []


# --- changed limits and policies ---


async def test_a_changed_limit_holds_on_live_connections(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    await rig.joined(conn, "room:1")
    await rig.registry.patch_limits("demo", LimitsPatch(channels_per_connection=1))
    await trio.sleep(1)
    assert rig.plane.join_refusal(await rig.join(conn, "room:2"))["reason"] == "too_many_channels"
    await rig.registry.patch_limits("demo", LimitsPatch(joins_per_second=1, channels_per_connection=2))
    await trio.sleep(1)
    await rig.joined(conn, "room:2")
    reasons = [rig.plane.join_refusal(await rig.join(conn, "room:3"))["reason"] for _ in range(2)]
    assert reasons == ["too_many_channels", "rate_limited"]


async def test_an_opening_sees_a_policy_that_changes_meanwhile(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 1)
    read = rig.store.history

    async def change_first(query: HistoryQuery) -> Any:
        rig.store.history = read  # type: ignore[method-assign]
        await rig.set_kind("room", history_events=7)
        return await read(query)

    rig.store.history = change_first  # type: ignore[method-assign]
    conn = await rig.connect()
    rig.plane.join(conn, "room:lobby")
    await trio.sleep(1)
    policy: Policy = rig.plane.last(OpenTopic).policy
    assert policy.history_events == 7


async def test_a_broker_that_never_gave_a_lease_refuses_joins(autojump_clock: MockClock, rig: Rig) -> None:
    async def lost(app_id: str, limit: str, per_second: int) -> float:
        raise Unavailable("the broker is lost")

    rig.broker.lease_rate = lost  # type: ignore[method-assign]
    conn = rig.plane.connect(rig.query("ann"))
    await rig.settle()
    assert conn not in rig.plane.conns
