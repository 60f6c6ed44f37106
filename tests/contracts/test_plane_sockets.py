"""The plane's contract: handshakes, framing over real sockets, deadlines, abuse, a gateway that is behind."""

import json
import os
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
import wsproto.events
from plane_client import Closed, PhoenixClient, Rejected, open_client
from plane_rig import APP, GENEROUS, MAKES, Rig

from polyglotd.model import Limits
from polyglotd.plane.interface import (
    Accept,
    Connect,
    Disconnect,
    Disconnected,
    Handoff,
    Joined,
    Left,
    Push,
    Refuse,
    Reply,
    StopAccepting,
)

pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())
OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]

HEAD = (
    b"GET /socket/websocket?vsn=2.0.0&token=ann HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(first: int, data: bytes, *, masked: bool = True) -> bytes:
    """A frame of a client, its mask all zero."""
    mask = 0x80 if masked else 0
    length = bytes([mask | len(data)]) if len(data) < 126 else bytes([mask | 126]) + struct.pack("!H", len(data))
    return bytes([first]) + length + (bytes(4) if masked else b"") + data


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def read_all(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(5):
        return b"".join([part async for part in stream])


# --- handshakes


async def test_connect_says_all_that_the_gateway_decides_on(open_rig: OpenRig) -> None:
    query = "app_id=demo&token=a%20b"
    async with open_rig() as rig, open_client(rig.address, query) as ann:
        connect = await rig.heard(Connect)
        assert connect.query == query + "&vsn=2.0.0"
        assert connect.address == "127.0.0.1"
        assert ("host", "localhost") in connect.headers
        assert await ann.silent()
        assert rig.plane.counters().connections == 1


async def test_the_client_s_auth_token_is_answered_with_its_sub_protocol(open_rig: OpenRig) -> None:
    offered = ["phoenix", "base64url.bearer.phx.dG9rZW4"]
    async with open_rig() as rig, open_client(rig.address, subprotocols=offered) as ann:
        assert ann.subprotocol == "phoenix"
        connect = await rig.heard(Connect)
        assert dict(connect.headers)["sec-websocket-protocol"] == ", ".join(offered)


async def test_a_refused_handshake_gets_the_gateway_s_answer(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        headers = [("content-type", "application/problem+json"), ("retry-after", "7")]
        rig.automatic[Connect] = lambda c: rig.submit(Refuse(c.conn, 429, headers, b'{"code":"rate_limited"}'))
        with pytest.raises(Rejected) as rejected:
            async with open_client(rig.address):
                pass
        assert rejected.value.status == 429
        assert rejected.value.headers["retry-after"] == "7"
        assert rejected.value.body == b'{"code":"rate_limited"}'
        connect = await rig.heard(Connect)
        await rig.heard(Disconnected, conn=connect.conn)
        assert not rig.all_heard(Disconnected)
        assert rig.plane.counters().handshakes_refused_total == 1
        rig.submit(Accept(connect.conn, APP, "ann"))  # too late: it does nothing


async def test_a_handshake_that_nobody_decides_gets_503(open_rig: OpenRig) -> None:
    async with open_rig(accept_deadline_s=0.1) as rig:
        del rig.automatic[Connect]
        with pytest.raises(Rejected) as rejected:
            async with open_client(rig.address):
                pass
        assert rejected.value.status == 503
        await rig.heard(Disconnected)


@pytest.mark.parametrize("vsn", ["0.9.0", "1.5.0", "2.1.0", "abc", ""])
async def test_an_unknown_serializer_is_refused_by_the_plane_itself(open_rig: OpenRig, vsn: str) -> None:
    async with open_rig() as rig:
        with pytest.raises(Rejected) as rejected:
            async with open_client(rig.address, vsn=vsn):
                pass
        assert rejected.value.status == 403
        assert json.loads(rejected.value.body)["code"] == "forbidden"
        assert not rig.story


async def test_no_handshake_of_rfc_6455_gets_400(open_rig: OpenRig) -> None:
    async with open_rig() as rig, await trio.open_tcp_stream(*rig.address) as stream:
        await stream.send_all(HEAD.replace(b"Sec-WebSocket-Key", b"X-Key"))
        assert (await read_all(stream)).startswith(b"HTTP/1.1 400 ")
        assert not rig.story


async def test_a_head_in_pieces_with_frames_right_behind_it_is_served(open_rig: OpenRig) -> None:
    async with open_rig() as rig, await trio.open_tcp_stream(*rig.address) as stream:
        for at in range(0, len(HEAD), 50):
            await stream.send_all(HEAD[at : at + 50] + (b"" if at + 50 < len(HEAD) else frame(0x89, b"early")))
            await trio.sleep(0.002)
        got = b""
        with trio.fail_after(5):
            while not got.endswith(b"early"):
                got += await stream.receive_some()
        assert got.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in got  # the answer that RFC 6455 gives for this key (1.3)


async def test_other_connections_go_up_with_nothing_read(open_rig: OpenRig) -> None:
    async with open_rig() as rig, await trio.open_tcp_stream(*rig.address) as stream:
        request = b"POST /apps/a/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        await stream.send_all(request)
        handoff = await rig.heard(Handoff)
        assert handoff.address == "127.0.0.1"
        with socket.socket(fileno=handoff.fd) as sock:
            assert sock.recv(1000) == request


async def test_a_head_that_does_not_come_in_time_gets_408(open_rig: OpenRig) -> None:
    async with open_rig(head_deadline_s=0.1) as rig, await trio.open_tcp_stream(*rig.address) as stream:
        await stream.send_all(HEAD[:-1])
        assert (await read_all(stream)).startswith(b"HTTP/1.1 408 ")


async def test_commands_that_follow_accept_at_once_find_the_connection(open_rig: OpenRig) -> None:
    async with open_rig() as rig:

        def accept_and_end(connect: Connect) -> None:
            rig.submit(Accept(connect.conn, APP, "ann"), Disconnect(connect.conn, 4003, "suspended"))

        rig.automatic[Connect] = accept_and_end
        async with open_client(rig.address) as ann:
            assert ((await ann.closed()).code) == 4003


# --- frames


async def test_pings_are_answered_and_heartbeats_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig, await trio.open_tcp_stream(*rig.address) as stream:
        heartbeat = b'[null,1,"phoenix","heartbeat",{}]'
        await stream.send_all(HEAD + frame(0x89, b"ping") + frame(0x81, heartbeat))
        expected = b"\x8a\x04ping\x81\x3d" + b'[null,1,"phoenix","phx_reply",{"status":"ok","response":{}}]'
        got = b""
        with trio.fail_after(5):
            while len(got.partition(b"\r\n\r\n")[2]) < len(expected):
                got += await stream.receive_some()
        frames = got.partition(b"\r\n\r\n")[2]
        assert frames[:6] == expected[:6]
        assert json.loads(frames[8:]) == json.loads(expected[8:])


async def test_a_fragmented_message_with_a_ping_inside_is_one_message(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.stream.send_all(
            frame(0x01, b'["1","1","queue:a"') + frame(0x89, b"") + frame(0x80, b',"phx_join",{}]')
        )
        assert (await ann.reply("1"))["kind"] == "queue"


FAULTS = [
    ("an unmasked frame", frame(0x81, b"[]", masked=False), "2.0.0", 1002),
    ("a reserved bit", frame(0xC1, b"[]"), "2.0.0", 1002),
    ("an unknown opcode", frame(0x83, b"[]"), "2.0.0", 1002),
    ("a close code that may not be sent", frame(0x88, b"\x03\xed"), "2.0.0", 1002),
    ("a binary frame in 1.0.0", frame(0x82, b"\x00\x00\x00\x00\x00{}"), "1.0.0", 1003),
    ("no JSON", frame(0x81, b"nope"), "2.0.0", 1007),
    ("JSON of another shape", frame(0x81, b"{}"), "2.0.0", 1007),
    ("an array in 1.0.0", frame(0x81, b"[]"), "1.0.0", 1007),
    ("no UTF-8", frame(0x81, b'["1","1","a","\xff",{}]'), "2.0.0", 1007),
    ("ten thousand brackets", frame(0x81, b'["1","1","a","b",' + b"[" * 10_000), "2.0.0", 1007),
    ("a binary frame that is no push", frame(0x82, b"\x07"), "2.0.0", 1007),
]


@pytest.mark.parametrize(("data", "vsn", "code"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
async def test_a_protocol_fault_closes_with_its_code(open_rig: OpenRig, data: bytes, vsn: str, code: int) -> None:
    async with open_rig() as rig, open_client(rig.address) as bob:
        async with open_client(rig.address, vsn=vsn) as ann:
            await ann.join("queue:a")
            await ann.stream.send_all(data + frame(0x81, b'[null,1,"phoenix","heartbeat",{}]'))
            with pytest.raises(Closed) as closed:
                await ann.message()
            assert closed.value.code == code
        assert (await rig.heard(Disconnected)).code == code
        assert await bob.silent()


async def test_a_message_has_room_for_the_app_s_payload_and_its_envelope(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.configure(msgspec.structs.replace(GENEROUS, payload_bytes=1000))
        await ann.join("queue:a")
        too_much_data = json.dumps(["1", "2", "queue:a", "publish", {"type": "m", "data": "x" * 10_000}])
        await ann.send_text(too_much_data)
        assert (await ann.reply("2", "error"))["reason"] == "payload_too_large"
        await ann.send_text("x" * (1000 + 16 * 1024 + 1))
        assert (await ann.closed()).code == 1009


# --- ends


async def test_a_client_s_close_is_answered_with_its_code(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.send_event(wsproto.events.CloseConnection(code=3007, reason="enough"))
        assert (await ann.closed()).code == 3007
        gone = await rig.heard(Disconnected)
        assert (gone.code, gone.reason) == (3007, "enough")


async def test_a_client_s_close_is_answered_before_what_is_queued(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address, receive_buffer=4096) as ann:
        await ann.join("queue:a")
        await rig.publish_many("queue:a", 90, b'"%b"' % (b"x" * 10_000))
        await ann.send_event(wsproto.events.CloseConnection(code=1000))
        await rig.heard(Left)
        got = 0
        with suppress(Closed):
            while await ann.message():
                got += 1
        assert (await ann.closed()).code == 1000
        assert got < 60


async def test_a_close_without_a_code_is_1005(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.stream.send_all(frame(0x88, b""))
        assert (await ann.closed()).code == 1005
        assert (await rig.heard(Disconnected)).code == 1005


async def test_a_reset_connection_is_1006(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("queue:a")
        ann.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await ann.stream.aclose()
        await rig.publish_many("queue:a", 10)
        assert (await rig.heard(Disconnected)).code == 1006


async def test_silence_is_ended_with_1001_and_a_heartbeat_prevents_it(open_rig: OpenRig) -> None:
    async with open_rig(silence_s=0.2) as rig, open_client(rig.address) as ann, open_client(rig.address) as bob:
        for _ in range(6):
            await trio.sleep(0.05)
            assert await bob.silent()
        assert (await ann.closed()).code == 1001
        assert (await rig.heard(Disconnected)).code == 1001
        assert await bob.silent()


async def test_a_disconnect_comes_after_what_is_queued(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address, receive_buffer=4096) as ann:
        await ann.join("queue:a")
        joined = await rig.heard(Joined)
        await rig.publish_many("queue:a", 40, b'"%b"' % (b"x" * 10_000))
        rig.submit(Disconnect(joined.conn, 1012, "draining"))
        await rig.publish_many("queue:a", 1)
        assert [event["seq"] for event in await ann.events(40)] == list(range(1, 41))
        closed = await ann.closed()
        assert (closed.code, closed.reason) == (1012, "draining")


async def test_who_does_not_answer_a_close_is_dropped(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig, open_client(rig.address) as ann:
        ann.answers_close = False
        connect = await rig.heard(Connect)
        rig.submit(Disconnect(connect.conn, 4003, "revoked"))
        assert (await rig.heard(Disconnected)).code == 4003
        assert (await ann.closed()).code == 4003
        assert await ann.stream.receive_some() == b""


async def test_who_takes_nothing_before_a_close_is_dropped(open_rig: OpenRig) -> None:
    async with open_rig(close_s=0.1) as rig, open_client(rig.address, receive_buffer=4096) as ann:
        await ann.join("queue:a")
        joined = await rig.heard(Joined)
        await rig.publish_many("queue:a", 60, b'"%b"' % (b"x" * 10_000))
        rig.submit(Disconnect(joined.conn, 4003, "revoked"))
        assert (await rig.heard(Disconnected)).code == 4003


async def refuses(address: tuple[str, int]) -> bool:
    try:
        stream = await trio.open_tcp_stream(*address)
    except OSError:
        return True
    await stream.aclose()
    return False


async def test_stop_accepting_lets_connections_live(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.submit(StopAccepting())
        with trio.fail_after(10):
            while not await refuses(rig.address):
                await trio.sleep(0.01)  # it has not heard yet
        await ann.join("queue:a")


# --- bounds


async def test_a_hundred_refusals_a_second_pause_reading_and_again_close_with_4008(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        for _ in range(100):
            await ann.send(None, "1", "nope:a", "publish", {})
        for _ in range(100):
            await ann.message()
        began_s = trio.current_time()
        for _ in range(120):
            await ann.send(None, "1", "nope:a", "publish", {})
        await ann.message()
        assert 0.8 < trio.current_time() - began_s < 3
        assert (await ann.closed()).code == 4008
        assert (await rig.heard(Disconnected)).code == 4008


async def test_refusals_by_the_gateway_count_as_abuse_too(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        rig.configure(Limits())
        for _ in range(99):
            await ann.push("nope:a", "phx_join", {})
        for _ in range(99):
            await ann.message()
        assert await ann.silent()
        began_s = trio.current_time()
        await ann.push("nope:a", "phx_join", {})
        await ann.message()
        assert await ann.silent()
        assert trio.current_time() - began_s > 0.8


async def test_unanswered_pushes_are_bounded(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        refs = [await ann.push("room:a", "history", {}) for _ in range(257)]
        assert (await ann.reply(refs[256], "error"))["reason"] == "rate_limited"
        pushes = [await rig.heard(Push) for _ in range(256)]
        rig.submit(*(Reply(push.reply, True, b"{}") for push in pushes))
        for ref in refs[:256]:
            await ann.reply(ref)
        assert not rig.all_heard(Push)


async def test_while_the_gateway_is_behind_sockets_are_not_read_and_nothing_is_lost(open_rig: OpenRig) -> None:
    async with open_rig(records_unread_max=50, silence_s=0.2) as rig, open_client(rig.address) as ann:
        await ann.join("room:a")
        before = rig.plane.counters().frames_in_total
        async with rig.deaf(), trio.open_nursery() as nursery:

            async def push_on() -> None:
                for n in range(200):
                    await ann.push("room:a", "history", {"limit": n})

            nursery.start_soon(push_on)
            await trio.sleep(0.4)  # longer than silence is allowed to last
            assert rig.plane.counters().frames_in_total - before <= 51
        pushes = [await rig.heard(Push) for _ in range(200)]
        assert [json.loads(push.payload)["limit"] for push in pushes] == list(range(200))


async def test_a_client_that_asks_and_does_not_read_is_not_read_either(open_rig: OpenRig) -> None:
    async with open_rig(send_progress_s=0.5) as rig, open_client(rig.address, receive_buffer=4096) as ann:
        most_queued = 0
        with suppress(trio.BrokenResourceError):
            while True:
                await ann.stream.send_all(frame(0x89, b"x" * 120) * 500)
                most_queued = max(most_queued, rig.plane.counters().queued_bytes)
        assert (await rig.heard(Disconnected)).code == 1006  # it took nothing for too long
        assert 100_000 < most_queued < 2 << 20


async def test_answers_that_the_socket_took_in_part_go_on_where_they_stopped(open_rig: OpenRig) -> None:
    async with open_rig(send_buffer_bytes=4096) as rig, open_client(rig.address, receive_buffer=4096) as ann:
        expected, received = bytearray(), bytearray()
        for number in range(600):  # one by one, so that each is answered alone
            text = b"%0120d" % number
            expected += b"\x8a\x78" + text
            await ann.stream.send_all(frame(0x89, text))
            await trio.lowlevel.checkpoint()
        while len(received) < len(expected):
            piece = await ann.stream.receive_some(4096)
            assert piece, "closed"
            received += piece
        assert received == expected


async def test_cancelling_the_plane_closes_every_socket(open_rig: OpenRig) -> None:
    clients: list[PhoenixClient] = []
    async with open_rig() as rig:
        for _ in range(3):
            sock = await trio.open_tcp_stream(*rig.address)
            client = PhoenixClient(sock)
            await client.connect("/socket/websocket?token=ann&vsn=2.0.0")
            clients.append(client)
    for client in clients:
        assert (await client.closed()).code == 1006
        await client.stream.aclose()


async def test_many_connections_leave_nothing_behind(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        before = open_descriptors()
        for _ in range(2_000 if os.environ.get("POLYGLOT_TEST_FULL") else 50):
            async with open_client(rig.address) as ann:
                await ann.join("queue:a")
            await rig.heard(Disconnected)
        assert open_descriptors() <= before
        assert rig.plane.counters().connections == 0
        assert rig.plane.counters().subscriptions == 0
        assert rig.plane.counters().queued_bytes == 0


async def test_two_devices_of_a_user_are_two_connections(open_rig: OpenRig) -> None:
    async with open_rig() as rig, open_client(rig.address) as one, open_client(rig.address) as two:
        await one.join("queue:a")
        await two.join("queue:a")
        joined = [await rig.heard(Joined) for _ in range(2)]
        assert len({record.conn for record in joined}) == 2
        assert len({record.sub for record in joined}) == 2
