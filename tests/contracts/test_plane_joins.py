"""The plane's contract: joins, resumes without a gap, snapshots, ends of subscriptions."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
import trio
from plane_client import PhoenixClient, open_client
from plane_rig import EPOCH, KINDS, MAKES, Rig, event

from polyglotd.model import now_us
from polyglotd.plane.interface import (
    Backfill,
    Disconnected,
    EndSubscription,
    Join,
    Joined,
    Left,
    NeedHistory,
    NewEpoch,
    Published,
    PublishItem,
    RefuseJoin,
    SetPolicy,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]


def seqs(events: list[Any]) -> list[int]:
    return [item["seq"] for item in events]


async def test_a_join_is_answered_with_the_channel_s_place(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        assert await ann.join("room:a") == {"kind": "room", "epoch": EPOCH, "seq": 0}
        joined = await rig.heard(Joined)
        assert (joined.seq, joined.recovered) == (0, None)
        assert await ann.silent()


async def test_a_live_member_gets_each_event_once_and_in_order(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        await rig.publish_many("room:a", 5, b'{"n": 1.10}')
        events = await ann.events(5)
        assert seqs(events) == [1, 2, 3, 4, 5]
        assert events[0]["data"] == {"n": 1.1}
        assert set(events[0]) == {"id", "app_id", "channel", "type", "data", "seq", "meta"}
        assert await ann.silent()


async def test_since_brings_what_was_missed_and_nothing_else(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 9)
        reply = await ann.join("room:a", {"since": {"epoch": EPOCH, "seq": 4}})
        assert (reply["seq"], reply["recovered"], seqs(reply["events"])) == (9, True, [5, 6, 7, 8, 9])
        assert (await rig.heard(Joined)).recovered is True
        await rig.publish_many("room:a", 1)
        assert seqs(await ann.events(1)) == [10]


async def test_since_of_now_brings_an_empty_list(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 3)
        reply = await ann.join("room:a", {"since": {"epoch": EPOCH, "seq": 3}})
        assert (reply["recovered"], reply["events"]) == (True, [])


@pytest.mark.parametrize(
    "since", [{"epoch": "other", "seq": 3}, {"epoch": EPOCH, "seq": 999}], ids=["epoch", "future"]
)
@pytest.mark.parametrize(("history", "expected"), [(None, 100), (3, 3), (0, 0)])
async def test_where_resuming_fails_the_newest_come_instead(
    open_rig: OpenRig, since: Any, history: int | None, expected: int
) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 120)
        params = {"since": since} | ({} if history is None else {"history": history})
        reply = await ann.join("room:a", params)
        assert reply["recovered"] is False
        assert seqs(reply["events"]) == list(range(121 - expected, 121))
        assert (await rig.heard(Joined)).recovered is False


async def test_since_wins_over_history(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 9)
        reply = await ann.join("room:a", {"since": {"epoch": EPOCH, "seq": 4}, "history": 2})
        assert seqs(reply["events"]) == [5, 6, 7, 8, 9]


async def test_history_brings_the_newest_n_and_says_nothing_of_recovery(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("room:a", 9)
        reply = await ann.join("room:a", {"history": 2})
        assert "recovered" not in reply
        assert seqs(reply["events"]) == [8, 9]


async def test_a_memory_kind_that_forgot_what_was_missed_says_so(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("match:a", 150)  # it keeps 100
        reply = await ann.join("match:a", {"since": {"epoch": EPOCH, "seq": 49}})
        assert (reply["recovered"], seqs(reply["events"])) == (False, list(range(51, 151)))
        reply = await ann.join("match:a", {"since": {"epoch": EPOCH, "seq": 50}})
        assert (reply["recovered"], len(reply["events"])) == (True, 100)


async def test_history_ends_where_events_are_older_than_history_s(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        hours_ago = [now_us() - hours * 3_600_000_000 for hours in (3, 2, 0, 0)]
        rig.open("match:a", seq=4, window=[event("match:a", n + 1, ts_us=ts) for n, ts in enumerate(hours_ago)])
        reply = await ann.join("match:a", {"since": {"epoch": EPOCH, "seq": 1}})  # a match keeps an hour
        assert (reply["recovered"], seqs(reply["events"])) == (False, [3, 4])


async def test_a_snapshot_is_the_newest_event_of_each_type_in_seq_order(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        topic = rig.open("ticker:a")
        for type_ in ("x", "y", "x", "z"):
            await rig.publish(PublishItem(topic, type_, b"1", None, None))
        reply = await ann.join("ticker:a")
        assert [(item["type"], item["seq"]) for item in reply["snapshot"]] == [("y", 2), ("x", 3), ("z", 4)]
        assert "events" not in reply


# --- long resumes


@pytest.fixture
def publishing() -> Callable[[Rig, str, trio.Nursery], None]:
    """Publish to a channel without a pause, until the nursery is cancelled."""

    async def on_and_on(rig: Rig, channel: str) -> None:
        while True:
            rig.start_publish(PublishItem(rig.open(channel), "m", b"0", None, None))
            await trio.sleep(0.001)

    return lambda rig, channel, nursery: nursery.start_soon(on_and_on, rig, channel)


async def resumed(client: PhoenixClient, channel: str, since: int) -> Any:
    """Join with `since`; each event, to some way beyond the join, has to come once and in order. The reply."""
    reply = await client.join(channel, {"since": {"epoch": EPOCH, "seq": since}})
    assert reply["recovered"] is True
    got = seqs(reply["events"])
    while not got or got[-1] < reply["seq"] + 30:
        got += seqs(await client.events(1))
    assert got == list(range(since + 1, got[-1] + 1))
    return reply


@pytest.mark.parametrize("channel", ["room:a", "queue:a"])
async def test_a_resume_within_the_window_has_no_gap_under_constant_publishing(
    open_rig: OpenRig, channel: str, publishing: Callable[..., None]
) -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        await rig.publish_many(channel, 400)
        publishing(rig, channel, nursery)
        for since in (0, 200, 390):
            async with open_client(rig.address) as client:
                reply = await resumed(client, channel, since)
                assert reply["seq"] == reply["events"][-1]["seq"]
        nursery.cancel_scope.cancel()


async def test_more_than_a_reply_holds_follows_as_pushes_before_anything_newer(
    open_rig: OpenRig, publishing: Callable[..., None]
) -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery, open_client(rig.address) as ann:
        rig.policies["queue"] = msgspec.structs.replace(KINDS["queue"], history_events=100_000)
        await rig.publish_many("queue:a", 3_500)
        publishing(rig, "queue:a", nursery)
        reply = await resumed(ann, "queue:a", 0)
        assert len(reply["events"]) == 1_000
        assert reply["seq"] >= 3_500
        nursery.cancel_scope.cancel()


async def test_a_reply_holds_at_most_a_mebibyte(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        data = b'"%b"' % (b"x" * 50_000)
        await rig.publish_many("room:a", 18, data)
        reply = await ann.join("room:a", {"since": {"epoch": EPOCH, "seq": 0}})
        got = seqs(reply["events"])
        assert len(got) * 50_000 <= 1 << 20
        assert got + seqs(await ann.events(18 - len(got))) == list(range(1, 19))


async def test_what_the_window_lost_comes_from_history_without_a_gap(
    open_rig: OpenRig, publishing: Callable[..., None]
) -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery, open_client(rig.address) as ann:
        await rig.publish_many("post:a", 600, b'"%b"' % (b"x" * 8_000))  # nearly 5 MiB, the window holds one
        assert (await rig.window("post:a")).first > 400
        publishing(rig, "post:a", nursery)
        await resumed(ann, "post:a", 10)
        asked = rig.all_heard(NeedHistory)
        assert asked[0].after == 10
        assert len(asked) > 2
        nursery.cancel_scope.cancel()


async def test_who_is_asked_for_history_was_told_of_all_that_it_ends_with(open_rig: OpenRig) -> None:
    """In the log's index nothing exists before it was told of: a page read too early would end too early."""
    async with open_rig() as rig, open_client(rig.address) as ann:
        del rig.automatic[NeedHistory]
        for number in range(10):
            channel = f"post:{number}"
            topic = rig.open(channel)
            await rig.publish_many(channel, 80, b'"%b"' % (b"x" * 16_000))
            ref = await ann.push(channel, "phx_join", {"history": 80})
            need = await rig.heard(NeedHistory)
            told = [record.last_seq for record in rig.all_heard(Published) if record.topic == topic]
            assert told, "what is only bookkeeping waits some ms for more, but not past this"
            assert told[-1] >= need.until
            rig.submit(Backfill(need.conn, need.sub, [], gone=True))
            assert await ann.reply(ref)


async def test_history_reaches_below_the_window_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("post:a", 200, b'"%b"' % (b"x" * 16_000))
        reply = await ann.join("post:a", {"history": 150})
        got = seqs(reply["events"])
        assert got + seqs(await ann.events(150 - len(got))) == list(range(51, 201))


async def test_a_resume_that_history_can_t_serve_gets_the_newest_instead(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.automatic[NeedHistory] = lambda need: rig.submit(Backfill(need.conn, need.sub, [], gone=True))
        await rig.publish_many("post:a", 200, b'"%b"' % (b"x" * 16_000))
        first = (await rig.window("post:a")).first
        reply = await ann.join("post:a", {"since": {"epoch": EPOCH, "seq": 5}})
        assert reply["recovered"] is False
        assert seqs(reply["events"]) == list(range(first, 201))


async def test_a_resume_whose_rest_is_gone_ends_in_phx_error(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:

        def backfill_once(need: NeedHistory) -> None:
            if need.after == 5:
                rig.backfill(need)
            else:
                rig.submit(Backfill(need.conn, need.sub, [], gone=True))

        rig.automatic[NeedHistory] = backfill_once
        await rig.publish_many("post:a", 400, b'"%b"' % (b"x" * 16_000))
        reply = await ann.join("post:a", {"since": {"epoch": EPOCH, "seq": 5}})
        assert reply["recovered"] is True
        assert (await ann.message())[3] == "phx_error"
        assert (await rig.heard(Left)).why == "ended"


async def test_a_page_of_history_is_taken_up_to_its_first_hole(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        del rig.automatic[NeedHistory]
        await rig.publish_many("post:a", 100, b'"%b"' % (b"x" * 16_000))
        ref = await ann.push("post:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 5}})
        need = await rig.heard(NeedHistory)
        page = [item for item in rig.log.of("post:a") if 5 < item.seq < 30 and item.seq != 9]
        rig.submit(Backfill(need.conn, need.sub, page, gone=False))
        assert seqs((await ann.reply(ref))["events"]) == [6, 7, 8]
        need = await rig.heard(NeedHistory)
        assert need.after == 8
        rig.submit(Backfill(need.conn, need.sub, page[4:], gone=False))  # not what was asked for: 9 is missing
        assert (await ann.message())[3] == "phx_error"


async def test_while_a_resume_waits_for_history_what_is_new_waits_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        del rig.automatic[NeedHistory]
        await rig.publish_many("post:a", 100, b'"%b"' % (b"x" * 16_000))
        ref = await ann.push("post:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 5}})
        need = await rig.heard(NeedHistory)
        await rig.publish_many("post:a", 80, b'"%b"' % (b"x" * 16_000))  # the window moves on meanwhile
        assert await ann.silent()
        assert not rig.all_heard(Joined)
        rig.automatic[NeedHistory] = rig.backfill
        rig.backfill(need)
        reply = await ann.reply(ref)
        got = seqs(reply["events"])
        assert reply["seq"] == 180
        assert got + seqs(await ann.events(180 - got[-1])) == list(range(6, 181))


async def test_a_resume_is_paced_by_the_socket_and_never_ends_a_slow_client(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address, receive_buffer=4096) as ann:
        await rig.publish_many("post:a", 600, b'"%b"' % (b"x" * 16_000))
        ref = await ann.push("post:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 0}})
        await rig.heard(Joined)
        await trio.sleep(0.1)  # it reads nothing
        assert rig.plane.counters().queued_bytes < 2 << 20
        reply = await ann.reply(ref)
        got = seqs(reply["events"])
        assert got + seqs(await ann.events(600 - len(got))) == list(range(1, 601))


async def test_who_comes_back_to_many_channels_at_once_is_not_taken_for_slow(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        channels = [f"queue:{n}" for n in range(12)]
        for channel in channels:
            await rig.publish_many(channel, 17, b'"%b"' % (b"x" * 60_000))  # a mebibyte each
        since = {"since": {"epoch": EPOCH, "seq": 0}}
        joins = [json.dumps([channel, channel, channel, "phx_join", since]) for channel in channels]
        await ann.send_texts(joins)
        got: dict[str, list[int]] = {}
        while sum(map(len, got.values())) < 17 * len(channels):
            _, _, channel, name, payload = await ann.message()
            if name == "phx_reply":
                assert payload["response"]["recovered"] is True
                got[channel] = seqs(payload["response"]["events"])
            else:
                got[channel].append(payload["seq"])
        assert list(got.values()) == [list(range(1, 18))] * len(channels)


# --- refusals, leaves and ends


async def test_a_refused_join_leaves_the_topic_unjoined(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        refusal = await ann.reply(await ann.push("nope:a", "phx_join", {}), "error")
        assert refusal["reason"] == "unknown_channel_kind"
        refusal = await ann.ask("nope:a", "publish", {"type": "m"}, "error")
        assert refusal["reason"] == "unmatched topic"
        assert not rig.all_heard(Left)


async def test_leaving_gets_ok_then_phx_close_and_no_more_events(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        assert await ann.ask("room:a", "phx_leave", {}) == {}
        assert (await ann.message())[:4] == ("1", "1", "room:a", "phx_close")
        assert (await rig.heard(Left)).why == "leave"
        await rig.publish_many("room:a", 1)
        assert await ann.silent()
        assert rig.plane.counters().subscriptions == 0


async def test_a_second_join_replaces_the_first(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        await ann.join("room:a")
        assert (await ann.message())[:4] == ("1", "1", "room:a", "phx_close")
        assert (await rig.heard(Left)).why == "replaced"
        await rig.publish_many("room:a", 1)
        assert seqs(await ann.events(1)) == [1]
        assert await ann.silent()


@pytest.mark.parametrize(("how", "frame"), [("closed", "phx_close"), ("error", "phx_error")])
async def test_an_ended_subscription_is_told_how(open_rig: OpenRig, how: Any, frame: str) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        joined = await rig.heard(Joined)
        rig.submit(EndSubscription(joined.conn, joined.sub, how))
        assert (await ann.message())[:4] == ("1", "1", "room:a", frame)
        assert await rig.heard(Left) == Left(joined.conn, joined.sub, joined.topic, "ended")
        assert (await ann.ask("room:a", "publish", {"type": "m"}, "error"))["reason"] == "unmatched topic"


async def test_a_join_that_still_waits_can_be_ended_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        del rig.automatic[Join]
        ref = await ann.push("room:a", "phx_join", {})
        join = await rig.heard(Join)
        rig.submit(EndSubscription(join.conn, join.sub, "closed"))
        assert (await ann.reply(ref, "error"))["reason"] == "unavailable"
        rig.admit(join)  # too late: it finds no sub
        assert await ann.silent()
        assert not rig.all_heard(Joined)
        assert not rig.all_heard(Left)


async def test_a_new_epoch_makes_members_rejoin(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await rig.publish_many("queue:a", 3)
        await ann.join("queue:a")
        rig.submit(NewEpoch(rig.topics["queue:a"], "epoch2"))
        assert (await ann.message())[:4] == ("1", "1", "queue:a", "phx_error")
        assert (await rig.heard(Left)).why == "ended"
        reply = await ann.join("queue:a", {"since": {"epoch": EPOCH, "seq": 3}})
        assert reply == {"kind": "queue", "epoch": "epoch2", "seq": 0, "recovered": False, "events": []}
        await rig.publish_many("queue:a", 1)
        assert seqs(await ann.events(1)) == [1]


async def test_a_new_epoch_decides_joins_anew_that_wait_for_history(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        del rig.automatic[NeedHistory]
        await rig.publish_many("post:a", 200, b'"%b"' % (b"x" * 16_000))
        ref = await ann.push("post:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 5}})
        need = await rig.heard(NeedHistory)
        rig.submit(NewEpoch(rig.topics["post:a"], "epoch2"))
        reply = await ann.reply(ref)
        assert (reply["epoch"], reply["recovered"], reply["events"]) == ("epoch2", False, [])
        rig.backfill(need)  # of the old epoch: too late
        assert await ann.silent()


async def test_left_comes_before_disconnected(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        async with open_client(rig.address) as ann:
            await ann.join("room:a")
            await ann.join("room:b")
        gone = await rig.heard(Disconnected)
        assert gone.code == 1006
        assert [record.why for record in rig.story if isinstance(record, Left)] == ["disconnected", "disconnected"]
        assert rig.plane.counters().connections == 0


async def test_commands_about_what_is_gone_do_nothing(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        async with open_client(rig.address) as ann:
            await ann.join("room:a")
        joined = await rig.heard(Joined)
        await rig.heard(Disconnected)
        rig.submit(
            EndSubscription(joined.conn, joined.sub, "closed"),
            Backfill(joined.conn, joined.sub, [], gone=True),
            RefuseJoin(joined.conn, joined.sub, b"{}"),
            NewEpoch(999, "e"),
            SetPolicy(999, KINDS["room"]),
        )


# --- own events


async def test_self_false_brings_no_own_publishes_live_or_catching_up(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address, receive_buffer=4096) as ann:
        rig.policies["queue"] = msgspec.structs.replace(KINDS["queue"], history_events=100_000)
        await rig.publish_many("queue:a", 3_500)
        join = await ann.push("queue:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 0}, "self": False})
        ann.join_refs["queue:a"] = join
        await rig.heard(Joined)
        publish = await ann.push("queue:a", "publish", {"type": "m", "data": "mine"})  # it is still catching up
        await rig.heard(Published, last_seq=3_501)
        await rig.publish_many("queue:a", 1)
        got, answered = seqs((await ann.reply(join))["events"]), False
        while got[-1] < 3_502:
            _, ref, _, name, payload = await ann.message()
            if name == "event":
                got.append(payload["seq"])
            else:
                assert (name, ref) == ("phx_reply", publish)
                answered = True
        assert answered
        assert got == [*range(1, 3_501), 3_502]
        assert (await ann.ask("queue:a", "publish", {"type": "m", "data": "mine"}))["seq"] == 3_503
        await rig.publish_many("queue:a", 1)
        assert seqs(await ann.events(1)) == [3_504]
