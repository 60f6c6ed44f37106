"""Connections without a socket: long-poll sessions, event streams and tails."""

from collections.abc import Sequence
from urllib.parse import urlencode

import pytest
import trio
from gateway_rig import Rig, event, open_rig, request
from trio.testing import MockClock

from polyglotd.gateway.gateway import SessionGone, StreamEnded
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.log.interface import ChannelHead
from polyglotd.model import (
    Forbidden,
    Invalid,
    QuotaExceeded,
    RateLimited,
    Refusal,
    Unauthorized,
    Unavailable,
    UnknownChannelKind,
)
from polyglotd.plane.interface import Admit, Disconnect, EndSubscription, Feed, OpenVirtual, TakeMail
from polyglotd.store.interface import EventPage, HistoryQuery


def poll_request(rig: Rig, session: str | None = None, user: str = "ann", **more: str) -> ConnectRequest:
    pairs = [("vsn", "2.0.0"), ("app_id", "demo"), ("token", rig.tokens[user]), *more.items()]
    return request(urlencode([*pairs, *([("token", session)] if session else [])]))


@pytest.fixture
async def session(rig: Rig) -> tuple[str, int]:
    """A long-poll session of ann, and its connection."""
    rig.tokens = {user: rig.token(user) for user in ("ann", "bob")}
    token = await rig.gateway.open_longpoll(poll_request(rig))
    await rig.settle()
    return token, rig.plane.last(OpenVirtual).conn


# --- long-poll ---


async def test_a_session_is_a_phoenix_connection_of_its_user(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    opened = rig.plane.last(OpenVirtual)
    assert (opened.app_id, opened.user_id, opened.serializer) == ("demo", "ann", "phoenix-2.0.0")
    assert len(token) >= 32
    assert await rig.broker.connections("demo") == 1
    await rig.gateway.feed_longpoll(token, [b"a", b"b"], binary=False)
    await rig.settle()
    assert rig.plane.last(Feed) == Feed(conn, [b"a", b"b"], False)


@pytest.mark.parametrize(("vsn", "serializer"), [("1.0.0", "phoenix-1.0.0"), (None, "phoenix-1.0.0")])
async def test_a_session_speaks_the_serializer_that_was_asked_for(
    autojump_clock: MockClock, rig: Rig, vsn: str | None, serializer: str
) -> None:
    query = {"app_id": "demo", "token": rig.token("ann")} | ({} if vsn is None else {"vsn": vsn})
    await rig.gateway.open_longpoll(request(urlencode(query)))
    await rig.settle()
    assert rig.plane.last(OpenVirtual).serializer == serializer


async def test_a_session_of_an_unknown_serializer_is_refused(autojump_clock: MockClock, rig: Rig) -> None:
    query = urlencode({"app_id": "demo", "token": rig.token("ann"), "vsn": "9.0.0"})
    with pytest.raises(Forbidden):
        await rig.gateway.open_longpoll(request(query))
    assert await rig.broker.connections("demo") == 0


async def test_a_session_takes_its_token_from_the_header(autojump_clock: MockClock, rig: Rig) -> None:
    shown = request("app_id=demo&vsn=2.0.0", ("x-phoenix-authtoken", rig.token("ann")))
    token = await rig.gateway.open_longpoll(shown)
    again = ConnectRequest(f"app_id=demo&vsn=2.0.0&token={token}", shown.headers, shown.address)
    assert rig.gateway.longpoll_session(again) == token
    bare = request(f"app_id=demo&vsn=2.0.0&token={token}")  # phoenix.js shows no header where it posts
    assert rig.gateway.longpoll_session(bare) == token
    twin = request(f"app_id=twin&vsn=2.0.0&token={token}")
    assert rig.gateway.longpoll_session(twin) is None
    other = request(bare.query, ("x-phoenix-authtoken", rig.token("bob")))
    assert rig.gateway.longpoll_session(other) is None


@pytest.mark.parametrize("query", ["", "app_id=demo", "app_id=demo&token=bad"])
async def test_a_session_without_a_credential_is_refused(autojump_clock: MockClock, rig: Rig, query: str) -> None:
    with pytest.raises(Unauthorized):
        await rig.gateway.open_longpoll(request(query))


async def test_a_session_is_found_by_those_alone_who_opened_it(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, _ = session
    find = rig.gateway.longpoll_session
    assert find(poll_request(rig, token)) == token
    assert find(poll_request(rig, token, user="bob")) is None
    assert find(request(urlencode({"app_id": "demo", "token": token}))) is None
    assert find(request(urlencode([("app_id", "twin"), ("token", rig.tokens["ann"]), ("token", token)]))) is None
    assert find(poll_request(rig, token + "x")) is None
    assert find(poll_request(rig)) is None
    assert find(request("token=%ff")) is None


async def test_a_poll_waits_for_frames_and_comes_back_empty_after_its_time(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    begun = trio.current_time()
    assert await rig.gateway.poll(token, 10) == []
    assert trio.current_time() - begun == 10
    rig.plane.mail(conn, b"one")
    assert await rig.gateway.poll(token, 10) == [b"one"]
    rig.nursery.start_soon(mail_later, rig, conn)
    assert await rig.gateway.poll(token, 10) == [b"two"]


async def mail_later(rig: Rig, conn: int) -> None:
    await trio.sleep(3)
    rig.plane.mail(conn, b"two")


async def test_a_poll_that_is_cancelled_loses_no_frame(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    rig.plane.mute.add(TakeMail)
    rig.plane.mail(conn, b"one")
    with trio.move_on_after(1):
        await rig.gateway.poll(token, 10)
        pass
    assert await rig.gateway.poll(token, 1) == []
    (asked,) = rig.plane.of(TakeMail)  # one question is enough
    rig.plane.mute.clear()
    rig.plane.submit([asked])  # the answer comes when nobody waits
    await rig.settle()
    assert await rig.gateway.poll(token, 10) == [b"one"]


async def test_mail_that_comes_in_parts_is_read_to_its_end(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    rig.plane.take_frames_max = 1
    rig.plane.mail(conn, b"one", b"two", b"three")
    for expected in ([b"one"], [b"two"], [b"three"], []):
        assert await rig.gateway.poll(token, 1) == expected


async def test_a_newer_poll_takes_the_place_of_one_that_waits(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    answers: list[tuple[str, Sequence[bytes]]] = []

    async def poll(name: str) -> None:
        answers.append((name, await rig.gateway.poll(token, 10)))

    for name in ("first", "second", "third"):
        rig.nursery.start_soon(poll, name)
        await rig.settle()
    rig.plane.mail(conn, b"one")
    await rig.settle()
    assert answers == [("first", []), ("second", []), ("third", [b"one"])]


async def test_what_waits_stays_in_the_plane_until_somebody_polls(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    rig.plane.mail(session[1], b"one")
    await trio.sleep(2)
    assert rig.plane.of(TakeMail) == []


async def test_a_session_whose_client_is_gone_for_a_window_is_dropped(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    for _ in range(3):
        await rig.gateway.poll(token, 10)
        await trio.sleep(8)
    assert rig.plane.of(Disconnect) == []
    await trio.sleep(5)
    assert [command.conn for command in rig.plane.of(Disconnect)] == [conn]
    with pytest.raises(SessionGone):
        await rig.gateway.poll(token, 10)
    with pytest.raises(SessionGone):
        await rig.gateway.feed_longpoll(token, [b"x"], binary=False)
    assert rig.gateway.longpoll_session(poll_request(rig, token)) is None
    assert await rig.broker.connections("demo") == 0


async def test_a_session_that_the_server_ends_gives_its_last_frames_and_is_gone(
    autojump_clock: MockClock, rig: Rig, session: tuple[str, int]
) -> None:
    token, conn = session
    rig.plane.mail(conn, b"last words")
    frames = await rig.gateway.poll(token, 10)
    await rig.gateway.disconnect_user(await rig.key_caller(), "ann")
    assert frames == [b"last words"]
    with pytest.raises(SessionGone):
        await rig.gateway.poll(token, 10)
    assert rig.gateway.counters().longpoll_sessions == 0


async def test_sessions_count_as_connections(autojump_clock: MockClock) -> None:
    async with open_rig(per_address=100) as rig:
        await rig.tenant(connections=1)
        rig.tokens = {"ann": rig.token("ann")}
        await rig.gateway.open_longpoll(poll_request(rig))
        with pytest.raises(QuotaExceeded):
            await rig.gateway.open_longpoll(poll_request(rig))


# --- streams ---


async def test_a_stream_follows_a_channel_from_where_its_reader_was(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.heads["demo", "room:lobby"] = ChannelHead("e1", 2)
    rig.store.events = [event(1), event(2)]
    caller = await rig.user_caller("ann")
    opening = rig.gateway.open_stream(caller, "room:lobby", kind="sse", since=("e1", 1), request=request())
    async with opening as stream:
        await rig.settle()
        opened, admit = rig.plane.last(OpenVirtual), rig.plane.last(Admit)
        assert (opened.user_id, opened.serializer) == ("ann", "sse")
        assert (admit.conn, admit.since, admit.may_publish) == (opened.conn, ("e1", 1), True)
        rig.plane.mail(opened.conn, b"data: 1\n\n", b"data: 2\n\n")
        assert await stream.frames(1) == [b"data: 1\n\n", b"data: 2\n\n"]
        assert await stream.frames(1) == []
        assert await rig.broker.connections("demo") == 1
        assert list(await rig.broker.roster("demo", "room:lobby")) == ["ann"]
    await trio.sleep(1)
    assert await rig.broker.connections("demo") == 0
    assert await rig.broker.roster("demo", "room:lobby") == {}
    assert rig.plane.topic("room:lobby").members == set()


async def test_a_stream_of_a_key_is_nobody_in_presence(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.key_caller()
    async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()):
        await rig.settle()
        assert rig.plane.last(OpenVirtual).user_id is None
        assert not rig.plane.last(Admit).may_publish
        assert await rig.broker.roster("demo", "room:a") == {}
        assert await rig.broker.connections("demo") == 1


async def test_a_tail_of_an_operator_counts_as_no_connection(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(connections=0)
        caller = await rig.gateway.operator("demo")
        async with rig.gateway.open_stream(caller, "room:a", kind="tail", since=None, request=request()):
            await rig.settle()
            assert rig.plane.last(OpenVirtual).serializer == "tail"
            assert await rig.broker.connections("demo") == 0
            assert len(rig.plane.topic("room:a").members) == 1
        await trio.sleep(1)
        assert await rig.broker.connections("demo") == 0


@pytest.mark.parametrize(
    ("channel", "error"), [("lobby", Invalid), ("nosuch:a", UnknownChannelKind), ("room:a", Forbidden)]
)
async def test_a_stream_that_is_refused_opens_nothing(
    autojump_clock: MockClock, rig: Rig, channel: str, error: type[Refusal]
) -> None:
    caller = await rig.user_caller("ann", channels={"room:b": ["join"]})
    with pytest.raises(error):
        async with rig.gateway.open_stream(caller, channel, kind="sse", since=None, request=request()):
            pass
    assert rig.plane.of(OpenVirtual) == []


async def test_a_stream_is_decided_anew_when_its_channel_is_open(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.user_caller("ann")
    rig.log.heads["demo", "room:a"] = ChannelHead("e1", 1)
    read = rig.store.history

    async def close_first(query: HistoryQuery) -> EventPage:
        rig.store.history = read  # type: ignore[method-assign]
        await rig.set_kind("room", join="capability")
        return await read(query)

    rig.store.history = close_first  # type: ignore[method-assign]
    with pytest.raises(Forbidden):
        await rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()).__aenter__()
    assert rig.plane.of(Admit) == []


async def test_a_stream_whose_channel_can_not_open_gives_its_place_back(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels=0)
        with pytest.raises(QuotaExceeded):
            async with rig.gateway.open_stream(
                await rig.key_caller(), "room:a", kind="sse", since=None, request=request()
            ):
                pass
        await trio.sleep(1)
        assert await rig.broker.connections("demo") == 0
        assert rig.gateway.counters().connections == 0


async def test_streams_obey_the_limits_of_connections(autojump_clock: MockClock) -> None:
    async with open_rig(per_address=1) as rig:
        await rig.tenant(connections=1)
        caller = await rig.key_caller()
        async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()):
            with pytest.raises(QuotaExceeded):
                await rig.gateway.open_stream(
                    caller, "room:a", kind="sse", since=None, request=request()
                ).__aenter__()
        for _ in range(8):
            with pytest.raises(Unauthorized):
                await rig.gateway.open_longpoll(request("app_id=demo&token=bad"))
        with pytest.raises(RateLimited):
            await rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()).__aenter__()


async def test_a_stream_whose_subscription_ends_is_closed_so_that_its_reader_comes_back(
    autojump_clock: MockClock, rig: Rig
) -> None:
    caller = await rig.user_caller("ann")
    async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()) as stream:
        await rig.settle()
        await rig.gateway.kick(await rig.key_caller(), "room:a", "ann")
        with pytest.raises(StreamEnded) as ended:
            await stream.frames(5)
        assert ended.value.code == 1001
        assert len(rig.plane.of(EndSubscription)) == 1


async def test_a_token_that_runs_out_ends_its_stream(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.user_caller("ann", ttl_s=5)
    async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()) as stream:
        with pytest.raises(StreamEnded) as ended:
            await stream.frames(20)
        assert ended.value.code == 4001


async def test_nobody_is_let_in_before_the_start_and_after_the_drain_began(
    autojump_clock: MockClock, rig: Rig
) -> None:
    caller = await rig.key_caller()
    await rig.gateway.drain()
    with pytest.raises(Unavailable):
        await rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()).__aenter__()
