"""The plane's contract: connections without a socket, for long-poll, event streams and tails."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from plane_client import PATIENCE_S, open_client
from plane_rig import APP, EPOCH, KINDS, MAKES, Rig

from polyglotd.plane.interface import (
    VIRTUAL_CONN_FIRST,
    Admit,
    Broadcast,
    Disconnect,
    Disconnected,
    EndSubscription,
    Feed,
    Joined,
    Left,
    Mail,
    MailReady,
    NewEpoch,
    Notice,
    OpenVirtual,
    SendTo,
    Serializer,
    TakeMail,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]

CONN = VIRTUAL_CONN_FIRST
SUB = VIRTUAL_CONN_FIRST + 500
HEARTBEAT = b'[null,"9","phoenix","heartbeat",{}]'


async def take(rig: Rig, bytes_max: int = 1 << 20) -> list[bytes]:
    rig.submit(TakeMail(CONN, 1, bytes_max))
    return (await rig.heard(Mail, request=1)).frames


async def take_all(rig: Rig) -> list[bytes]:
    """Until there is none, as a long-poll would over several requests."""
    frames: list[bytes] = []
    while taken := await take(rig):
        frames += taken
    return frames


def open_phoenix(rig: Rig) -> None:
    rig.submit(OpenVirtual(CONN, APP, "ann", "phoenix-2.0.0"))


def feed(rig: Rig, *messages: Any) -> None:
    rig.submit(Feed(CONN, [json.dumps(message).encode() for message in messages], binary=False))


def open_stream(rig: Rig, channel: str, serializer: Serializer, since: tuple[str, int] | None = None) -> None:
    rig.submit(
        OpenVirtual(CONN, APP, None, serializer),
        Admit(CONN, SUB, rig.open(channel), False, False, since, None, True),
    )


# --- long-poll


async def test_a_long_poll_session_speaks_phoenix_without_frames_of_a_socket(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_phoenix(rig)
        feed(rig, ["1", "1", "room:a", "phx_join", {}])
        await rig.heard(Joined)
        feed(rig, ["1", "2", "room:a", "publish", {"type": "m", "data": 1}])
        await rig.heard(MailReady)
        await rig.appended(1)
        await trio.testing.wait_all_tasks_blocked()
        frames = [json.loads(frame) for frame in await take(rig)]
        assert [frame[3] for frame in frames] == ["phx_reply", "event", "phx_reply"]
        assert frames[1][4]["meta"]["user_id"] == "ann"
        assert await take(rig) == []


async def test_binary_pushes_may_be_fed_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_phoenix(rig)
        feed(rig, ["1", "1", "queue:a", "phx_join", {}])
        await rig.heard(Joined)
        await take(rig)
        rig.submit(Feed(CONN, [b"\x00\x01\x01\x07\x0712queue:apublish" + b'{"type":"m"}'], binary=True))
        await rig.at_rest()
        assert [json.loads(frame)[3] for frame in await take(rig)] == ["event", "phx_reply"]


async def test_mail_ready_comes_when_the_queue_was_empty_and_only_then(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_phoenix(rig)
        rig.submit(Feed(CONN, [HEARTBEAT] * 3, binary=False))
        await rig.heard(MailReady)
        assert not rig.all_heard(MailReady)
        assert len(await take(rig, bytes_max=1)) == 1  # at least one, whatever its size
        rig.submit(Feed(CONN, [HEARTBEAT], binary=False))
        assert len(await take(rig)) == 3
        assert not rig.all_heard(MailReady)
        rig.submit(Feed(CONN, [HEARTBEAT], binary=False))
        await rig.heard(MailReady)


async def test_a_fault_in_what_was_fed_ends_the_connection(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_phoenix(rig)
        rig.submit(Feed(CONN, [b"nope", HEARTBEAT], binary=False))
        assert (await rig.heard(Disconnected)).code == 1007


async def test_the_last_mail_may_be_taken_after_the_end_has_begun(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_phoenix(rig)
        feed(rig, ["1", "1", "queue:a", "phx_join", {}])
        await rig.heard(Joined)
        rig.submit(Notice(CONN, "draining", "bye"), Disconnect(CONN, 1012, "draining"))
        assert (await rig.heard(Left)).why == "disconnected"
        assert not rig.all_heard(Disconnected)
        assert [json.loads(frame)[3] for frame in await take(rig)] == ["phx_reply", "system"]
        assert await rig.heard(Disconnected) == Disconnected(CONN, 1012, "draining")


async def test_mail_that_nobody_takes_is_let_go(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig:
        open_phoenix(rig)
        rig.submit(Feed(CONN, [HEARTBEAT], binary=False), Disconnect(CONN, 1000, ""))
        assert (await rig.heard(Disconnected)).code == 1000
        assert rig.plane.counters().queued_bytes == 0
        rig.submit(TakeMail(CONN, 1, 100))  # too late: it does nothing


async def test_a_session_that_is_not_polled_overflows_like_a_socket(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig, open_client(rig.address) as bob:
        open_phoenix(rig)
        feed(rig, ["1", "1", "queue:a", "phx_join", {}])
        await bob.join("queue:a")
        for _ in range(110):
            await rig.publish_many("queue:a", 1, b'"%b"' % (b"x" * 10_000))
            await bob.events(1)
        assert await rig.heard(Disconnected) == Disconnected(CONN, 4009, "slow consumer")


async def test_a_long_resume_is_paced_by_the_polls(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        await rig.publish_many("post:a", 400, b'"%b"' % (b"x" * 10_000))
        open_phoenix(rig)
        feed(rig, ["1", "1", "post:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 0}}])
        await rig.heard(Joined)
        seqs: list[int] = []
        while len(seqs) < 400:
            frames = [json.loads(frame) for frame in await take(rig)]
            assert rig.plane.counters().queued_bytes < 1 << 20
            for frame in frames:
                if frame[3] == "phx_reply":
                    seqs += [event["seq"] for event in frame[4]["response"]["events"]]
                else:
                    seqs.append(frame[4]["seq"])
            if not frames:
                await rig.heard(MailReady)
        assert seqs == list(range(1, 401))


async def test_a_dropping_kind_drops_nothing_of_a_resume_and_what_came_after_it_as_ever(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.policies["match"] = msgspec.structs.replace(KINDS["match"], history_events=100_000)
        await rig.publish_many("match:a", 3_000)
        open_phoenix(rig)
        feed(rig, ["1", "1", "match:a", "phx_join", {"since": {"epoch": EPOCH, "seq": 0}}])
        await rig.heard(Joined)
        await rig.publish_many("match:a", 400)
        reply, *pushes = (json.loads(frame) for frame in await take_all(rig))
        assert reply[4]["response"]["seq"] == 3_000
        seqs = [item["seq"] for item in reply[4]["response"]["events"]] + [push[4]["seq"] for push in pushes]
        assert seqs[:3_000] == list(range(1, 3_001))
        assert 1 <= len(seqs[3_000:]) <= 64
        assert seqs[3_000:] == list(range(3_400 - len(seqs[3_000:]) + 1, 3_401))


async def test_abuse_closes_a_session_too(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig:
        open_phoenix(rig)
        rig.submit(Feed(CONN, [b'[null,"1","nope:a","publish",{}]'] * 250, binary=False))
        assert (await rig.heard(Disconnected)).code == 4008


# --- streams


async def test_an_event_stream_gets_events_under_their_cursor(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_stream(rig, "room:a", "sse")
        assert (await rig.heard(Joined)).sub == SUB
        await rig.publish_many("room:a", 2)
        frames = await take_all(rig)
        assert [frame.split(b"\n")[0] for frame in frames] == [b"id: epoch1:1", b"id: epoch1:2"]


async def test_an_event_stream_resumes_and_says_where_it_can_t(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        await rig.publish_many("room:a", 5)
        open_stream(rig, "room:a", "sse", since=(EPOCH, 3))
        assert (await rig.heard(Joined)).recovered is True
        assert [frame.split(b"\n")[0] for frame in await take_all(rig)] == [b"id: epoch1:4", b"id: epoch1:5"]
        rig.submit(Disconnect(CONN, 1000, ""))
        await rig.heard(Disconnected)
        open_stream(rig, "room:a", "sse", since=("other", 3))
        assert (await rig.heard(Joined)).recovered is False
        frames = await take_all(rig)
        assert frames[0].startswith(b"event: reset\n")
        assert len(frames) == 6


async def test_a_tail_gets_events_with_cursors_and_notices(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_stream(rig, "queue:a", "tail")
        await rig.publish_many("queue:a", 1)
        rig.submit(Notice(CONN, "draining", "bye"))
        event, notice = (json.loads(frame) for frame in await take_all(rig))
        assert (event["cursor"], event["event"]["seq"]) == ("epoch1:1", 1)
        assert notice == {"notice": {"code": "draining", "message": "bye"}}


async def test_a_stream_gets_neither_signals_nor_presence(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        open_stream(rig, "queue:a", "sse")
        await ann.join("queue:a")
        await ann.push("queue:a", "signal", {"type": "m"})
        assert (await ann.message())[3] == "signal"
        rig.submit(Broadcast(rig.topics["queue:a"], "presence_diff", b"{}", False), SendTo(CONN, SUB, "x", b"{}"))
        assert await take(rig) == []


async def test_a_new_epoch_ends_a_stream_s_subscription(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_stream(rig, "queue:a", "sse")
        rig.submit(NewEpoch(rig.topics["queue:a"], "epoch2"))
        assert (await rig.heard(Left)).why == "ended"
        assert not rig.all_heard(Disconnected)


@pytest.mark.parametrize("serializer", ["sse", "tail"])
async def test_a_stream_resumes_over_more_than_the_window_without_a_gap(
    open_rig: OpenRig, serializer: Serializer
) -> None:
    async with open_rig() as rig:
        await rig.publish_many("post:a", 300, b'"%b"' % (b"x" * 10_000))
        open_stream(rig, "post:a", serializer, since=(EPOCH, 0))
        seqs: list[int] = []
        with trio.fail_after(PATIENCE_S):
            while len(seqs) < 300:
                await rig.heard(MailReady)
                for frame in await take_all(rig):
                    text = frame.partition(b"data: ")[2] if serializer == "sse" else frame
                    event = json.loads(text)
                    seqs.append((event if serializer == "sse" else event["event"])["seq"])
        assert seqs == list(range(1, 301))


async def test_a_tail_may_be_a_member_of_several_topics_and_leave_each_by_itself(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        open_stream(rig, "queue:a", "tail")
        rig.submit(Admit(CONN, SUB + 1, rig.open("queue:b"), False, False, None, None, True))
        assert {(await rig.heard(Joined)).sub, (await rig.heard(Joined)).sub} == {SUB, SUB + 1}
        await rig.publish_many("queue:a", 1)
        await rig.publish_many("queue:b", 1)
        rig.submit(EndSubscription(CONN, SUB, "closed"))
        assert (await rig.heard(Left)).sub == SUB
        await rig.publish_many("queue:a", 1)
        await rig.publish_many("queue:b", 1)
        seen = [json.loads(frame)["event"] for frame in await take_all(rig)]
        assert [(event["channel"], event["seq"]) for event in seen] == [
            ("queue:a", 1),
            ("queue:b", 1),
            ("queue:b", 2),
        ]
        rig.submit(Admit(CONN, SUB + 2, rig.open("queue:a"), False, False, (EPOCH, 1), None, True))
        assert (await rig.heard(Joined)).sub == SUB + 2
        assert [json.loads(frame)["event"]["seq"] for frame in await take_all(rig)] == [2]
