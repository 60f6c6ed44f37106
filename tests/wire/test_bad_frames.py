"""Frames that RFC 6455 or the serializer does not allow, sent to the real daemon: the close code of each, and that
nobody else notices. And what may look wrong but is not: numbers that no machine has, kept byte for byte.
"""

import json
import struct

import httpx
import pytest
import trio
import wsproto.events
from daemon_process import DaemonProcess
from phoenix_wire import Lost, PhoenixWire, connect, target

KEY = {"X-API-Key": "valid_key_chat-app"}
TEXT, BINARY, CLOSE, PING, CONTINUATION = 1, 2, 8, 9, 0


def frame(opcode: int, data: bytes, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """As a client sends it, with a mask of zeros."""
    size, mask = len(data), 0x80 if masked else 0
    head = struct.pack("!B", (0x80 if fin else 0) | rsv << 4 | opcode)
    if size < 126:
        head += struct.pack("!B", mask | size)
    elif size < 1 << 16:
        head += struct.pack("!BH", mask | 126, size)
    else:
        head += struct.pack("!BQ", mask | 127, size)
    return head + (bytes(4) if masked else b"") + data


def message(
    payload: bytes, ref: bytes = b'"9"', topic: bytes = b'"room:frames"', event: bytes = b'"publish"'
) -> bytes:
    return b'["1",%b,%b,%b,%b]' % (ref, topic, event, payload)


PUSH_NOT_JSON = bytes([0, 1, 1, 11, 7]) + b"19" + b"room:frames" + b"publish" + b"\xff{"
DEEP = b"[" * 10_000 + b"]" * 10_000

FAULTS: dict[str, tuple[bytes, int]] = {
    # RFC 6455
    "not masked": (frame(TEXT, message(b"{}"), masked=False), 1002),
    "a reserved bit": (frame(TEXT, message(b"{}"), rsv=4), 1002),
    "an unknown opcode": (frame(3, b""), 1002),
    "an unknown control opcode": (frame(11, b""), 1002),
    "a ping in pieces": (frame(PING, b"", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, bytes(126)), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message inside a message": (frame(TEXT, b"[", fin=False) + frame(TEXT, b"]"), 1002),
    "a length not in its shortest form": (b"\x81\xfe\x00\x05" + bytes(9), 1002),
    "a length of 2^63": (b"\x81\xff" + b"\x80" + bytes(7) + bytes(4), 1002),
    "a close code of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close code 1005": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "close code 999": (frame(CLOSE, struct.pack("!H", 999)), 1002),
    "close code 65535": (frame(CLOSE, struct.pack("!H", 65535)), 1002),
    "a close reason that is not UTF-8": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "more than a message may have": (b"\x81\xff" + struct.pack("!Q", 1 << 40) + bytes(4), 1009),
    "a little more, in pieces": (frame(TEXT, b"[" * 60_000, fin=False) + frame(CONTINUATION, b"[" * 60_000), 1009),
    # the serializer
    "text that is not UTF-8": (frame(TEXT, b'["1","9","room:x","publish",{"type":"\xff"}]'), 1007),
    "text that ends inside a character": (frame(TEXT, message(b'{"type":"\xc3"}')), 1007),
    "a surrogate in UTF-8": (frame(TEXT, message(b'{"type":"\xed\xa0\x80"}')), 1007),
    "no JSON": (frame(TEXT, b"hello"), 1007),
    "nothing": (frame(TEXT, b""), 1007),
    "JSON cut short": (frame(TEXT, b'["1","9","room:x","pub'), 1007),
    "two values": (frame(TEXT, message(b"{}") + b"1"), 1007),
    "an object": (frame(TEXT, b'{"topic":"room:x","event":"publish","payload":{},"ref":"1"}'), 1007),
    "four members": (frame(TEXT, b'["1","9","room:x","publish"]'), 1007),
    "six members": (frame(TEXT, b'["1","9","room:x","publish",{},1]'), 1007),
    "a topic that is no string": (frame(TEXT, message(b"{}", topic=b"7")), 1007),
    "an event that is no string": (frame(TEXT, message(b"{}", event=b"null")), 1007),
    "a ref that is an object": (frame(TEXT, message(b"{}", ref=b"{}")), 1007),
    "NaN": (frame(TEXT, message(b'{"type":"m","data":NaN}')), 1007),
    "a leading zero": (frame(TEXT, message(b'{"type":"m","data":01}')), 1007),
    "a byte order mark": (frame(TEXT, b"\xef\xbb\xbf" + message(b"{}")), 1007),
    "10,000 brackets": (frame(TEXT, DEEP), 1007),
    "10,000 brackets as data": (frame(TEXT, message(b'{"type":"m","data":%b}' % DEEP)), 1007),
    "10,000 brackets without an end": (frame(TEXT, DEEP[:10_000]), 1007),
    "a binary frame that is no push": (frame(BINARY, b"\x00\x01"), 1007),
    "an empty binary frame": (frame(BINARY, b""), 1007),
    "a binary reply from a client": (frame(BINARY, b"\x01" + bytes(20)), 1007),
    "a binary push with a topic that is not UTF-8": (frame(BINARY, bytes([0, 1, 1, 1, 1]) + b"19\xffp{}"), 1007),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_closes_its_own_connection_with_the_right_code(daemon: DaemonProcess, fault: str) -> None:
    data, code = FAULTS[fault]
    async with connect(daemon.port, "valid_token_bystander") as bystander, connect(daemon.port) as wire:
        _ = (await wire.join("room:frames")).ok
        await wire.send_bytes(data)
        closed = await wire.end()
        assert closed.code == code, closed
        assert closed.reason
        assert "/" not in closed.reason.replace("RFC 6455", ""), "nothing of the server's inside goes out"
        await bystander.beat()


VERSION_1_FAULTS: dict[str, tuple[bytes, int]] = {
    "a binary frame": (frame(BINARY, PUSH_NOT_JSON), 1003),
    "an array": (frame(TEXT, message(b"{}")), 1007),
    "a repeated key": (
        frame(TEXT, b'{"topic":"room:a","topic":"room:b","event":"phx_join","payload":{},"ref":"1"}'), 1007,
    ),
    "a key that is not there": (frame(TEXT, b'{"topic":"room:a","event":"phx_join","ref":"1"}'), 1007),
}  # fmt: skip


@pytest.mark.parametrize("fault", VERSION_1_FAULTS)
async def test_the_same_of_serializer_1(daemon: DaemonProcess, fault: str) -> None:
    data, code = VERSION_1_FAULTS[fault]
    async with connect(daemon.port, path=target("chat-app", "valid_token_ann", vsn="1.0.0")) as wire:
        await wire.send_bytes(data)
        assert (await wire.end()).code == code


async def test_a_binary_push_without_json_is_an_error_reply_and_no_end(daemon: DaemonProcess) -> None:
    async with connect(daemon.port) as wire:
        _ = (await wire.join("room:frames")).ok
        await wire.send_bytes(frame(BINARY, PUSH_NOT_JSON))
        reply = (await wire.answer("9")).refused
        assert (reply["reason"], reply["field"]) == ("invalid", "payload")
        await wire.beat()


async def test_a_handshake_and_frames_one_byte_at_a_time_are_served(daemon: DaemonProcess) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", daemon.port) as stream:
        wire = PhoenixWire(Dripping(stream))  # type: ignore[arg-type]
        await wire.shake_hands(target("chat-app", "valid_token_slow"), "localhost", [], [])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.read)
            _ = (await wire.join("room:drip")).ok
            await wire.send_bytes(frame(PING, b"in between"))
            published = (await wire.ask("room:drip", "publish", {"type": "m", "data": "x" * 300})).ok
            assert (await wire.event("room:drip")).payload["seq"] == published["seq"]
            nursery.cancel_scope.cancel()


class Dripping:
    """A stream that sends each byte by itself."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)

    async def send_all(self, data: bytes) -> None:
        for byte in data:
            await self._stream.send_all(bytes([byte]))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))


async def test_a_message_in_a_thousand_pieces_with_pings_between_is_one_message(daemon: DaemonProcess) -> None:
    async with connect(daemon.port) as wire:
        _ = (await wire.join("room:pieces")).ok
        text = message(b'{"type":"m","data":"%b"}' % (b"x" * 900), topic=b'"room:pieces"')
        pieces = [frame(TEXT, text[:1], fin=False)]
        for at in range(1, len(text) - 1):
            pieces.append(frame(CONTINUATION, text[at : at + 1], fin=False))
            if at % 100 == 0:
                pieces.append(frame(PING, b"%d" % at))
        pieces.append(frame(CONTINUATION, text[-1:]))
        await wire.send_bytes(b"".join(pieces))
        assert (await wire.answer("9")).ok["seq"] >= 1


# --- kept as it came

KEPT = [
    b"1e999", b"-1e-999", b"12345678901234567890", b"-98765432109876543210987654321", b"0.10", b"1E+2", b"-0", b"0.0",
    b'"\\u0041\\/\\ud83d\\ude00"', '"ä€𝄞\u2028"'.encode(), b'"\\u0000"', b'{"b":1,"a":2,"b":3,"":{}}', b"{}", b"[]",
    b"null", b'{ "spaced" : [ 1 ,\t2 ] }', b'{"a":{"seq":99,"id":"evt_x","meta":null}}', b"[" * 100 + b"]" * 100,
]  # fmt: skip


async def test_data_is_kept_byte_for_byte_in_event_history_and_over_a_restart(own_daemon: DaemonProcess) -> None:
    daemon = own_daemon
    channels = ("room:kept", "match:kept")
    async with connect(daemon.port) as wire:
        for channel in channels:
            _ = (await wire.join(channel)).ok
            for number, data in enumerate(KEPT):
                text = b'{"type":"m","id":"k-%d","data":%b}' % (number, data)
                if number % 2:
                    _ = (await wire.ask(channel, "publish", text)).ok
                else:
                    await wire.send_bytes(frame(BINARY, binary_push(channel, text)))
                    _ = (await wire.answer("b")).ok
                assert holds((await wire.event(channel)).text, data)
            reply = await wire.ask(channel, "history", {"limit": 1000})
            for data in KEPT:
                assert holds(reply.text, data)
    async with httpx.AsyncClient(base_url=daemon.url, headers=KEY) as client:
        for data in KEPT:
            body = b'{"type":"m","data":%b}' % data
            url = "/apps/chat-app/channels/post:kept/publish"
            answer = await client.post(url, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
        await trio.to_thread.run_sync(daemon.restart)
        for channel in ("room:kept", "post:kept"):
            page = await client.get(f"/apps/chat-app/channels/{channel}/history", params={"limit": 1000})
            for data in KEPT:
                assert holds(page.content, data)
    async with connect(daemon.port) as wire:
        joined = await wire.join("room:kept", {"history": 1000})
        for data in KEPT:
            assert holds(joined.text, data)


def holds(text: bytes, data: bytes) -> bool:
    return b'"data":' + data + b',"seq":' in text


def binary_push(channel: str, payload: bytes) -> bytes:
    parts = [b"1", b"b", channel.encode(), b"publish"]
    return bytes([0, *map(len, parts)]) + b"".join(parts) + payload


async def test_a_close_of_the_client_is_answered_and_what_it_sent_before_counts(daemon: DaemonProcess) -> None:
    async with connect(daemon.port) as wire:
        _ = (await wire.join("room:closing")).ok
        await wire.push("room:closing", "publish", {"type": "m", "data": "last words", "id": "last"})
        await wire.send_event(wsproto.events.CloseConnection(code=1000, reason="bye"))
        closed = await wire.end()
        assert closed.code == 1000
        with pytest.raises(Lost):
            await wire.beat()
    async with httpx.AsyncClient(base_url=daemon.url, headers=KEY) as client:
        page = (await client.get("/apps/chat-app/channels/room:closing/history")).json()
        assert [event["id"] for event in page["events"]] == ["last"]
        assert json.dumps(page["events"][0]["data"]) == '"last words"'
