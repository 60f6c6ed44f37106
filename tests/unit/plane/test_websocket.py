"""WebSocket framing: each rule of RFC 6455 by hand, and against wsproto as a second opinion."""

import os
import struct

import pytest
import wsproto.events
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.frame_protocol import FrameProtocol, ParseFailed

from polyglotd.plane.asgi.websocket import (
    Close,
    Fault,
    FrameReader,
    Message,
    Opcode,
    Ping,
    Pong,
    encode_close,
    encode_frame,
)

MAX = 1000
MASK = b"\x01\x02\x03\x04"


def masked(first: int, data: bytes, *, length: bytes | None = None) -> bytes:
    """A client's frame, well-formed but for what the test breaks."""
    if length is None:
        size = len(data)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0x80 | 126]) + struct.pack("!H", size)
        else:
            length = bytes([0x80 | 127]) + struct.pack("!Q", size)
    return bytes([first]) + length + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


def close(code: int, reason: bytes = b"") -> bytes:
    return masked(0x88, struct.pack("!H", code) + reason)


ROWS = [
    ("text", masked(0x81, b"hello"), [Message(False, b"hello")]),
    ("binary", masked(0x82, b"\x00\xff"), [Message(True, b"\x00\xff")]),
    ("empty text", masked(0x81, b""), [Message(False, b"")]),
    ("126 bytes", masked(0x81, b"a" * 126), [Message(False, b"a" * 126)]),
    ("as long as allowed", masked(0x81, b"a" * MAX), [Message(False, b"a" * MAX)]),
    (
        "fragments with a ping between them",
        masked(0x01, b"he") + masked(0x89, b"now") + masked(0x00, b"") + masked(0x80, b"llo"),
        [Ping(b"now"), Message(False, b"hello")],
    ),
    (
        "binary fragments, then a text",
        masked(0x02, b"\x00") + masked(0x80, b"\x01") + masked(0x81, b"x"),
        [Message(True, b"\x00\x01"), Message(False, b"x")],
    ),
    ("pong", masked(0x8A, b"p"), [Pong(b"p")]),
    ("close with a reason", close(1000, b"bye"), [Close(1000, "bye")]),
    ("close without a code", masked(0x88, b""), [Close(1005, "")]),
    ("private close code", close(4999), [Close(4999, "")]),
    ("what follows a close is not read", close(1001) + b"\xff" * 20, [Close(1001, "")]),
]

FAULTS = [
    ("unmasked", encode_frame(Opcode.TEXT, b"x"), 1002),
    ("first reserved bit", masked(0xC1, b"x"), 1002),
    ("second reserved bit", masked(0xA1, b"x"), 1002),
    ("third reserved bit of a ping", masked(0x99, b""), 1002),
    ("unknown data opcode", masked(0x83, b""), 1002),
    ("unknown control opcode", masked(0x8B, b""), 1002),
    ("fragmented ping", masked(0x09, b""), 1002),
    ("long ping", masked(0x89, b"a" * 126), 1002),
    ("continuation of nothing", masked(0x80, b"x"), 1002),
    ("a text within a message", masked(0x01, b"x") + masked(0x81, b"y"), 1002),
    ("length of two bytes where one does", masked(0x81, b"a" * 9, length=b"\xfe\x00\x09"), 1002),
    ("length of eight bytes where two do", masked(0x81, b"", length=b"\xff" + struct.pack("!Q", 65535)), 1002),
    ("length with the highest bit", masked(0x81, b"", length=b"\xff" + struct.pack("!Q", 1 << 63)), 1002),
    ("a byte too long, by the head alone", masked(0x81, b"", length=b"\xfe" + struct.pack("!H", MAX + 1)), 1009),
    ("too long in fragments", masked(0x01, b"a" * MAX) + masked(0x80, b"a"), 1009),
    ("close code of one byte", masked(0x88, b"\x03"), 1002),
    ("close reason that is not UTF-8", close(1000, b"\xff"), 1007),
    *((f"close code {code}", close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)),
]


def read(data: bytes, step: int) -> list[object]:
    reader = FrameReader(MAX)
    return [item for at in range(0, len(data), step) for item in reader.feed(data[at : at + step])]


@pytest.mark.parametrize("step", [1, 3, 1 << 20], ids=["byte by byte", "in threes", "whole"])
@pytest.mark.parametrize(("data", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_frames_when_well_formed_are_read_however_they_are_cut(
    data: bytes, expected: list[object], step: int
) -> None:
    assert read(data, step) == expected


@pytest.mark.parametrize("step", [1, 3, 1 << 20], ids=["byte by byte", "in threes", "whole"])
@pytest.mark.parametrize(("data", "code"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_frames_when_a_rule_is_broken_end_in_its_close_code(data: bytes, code: int, step: int) -> None:
    before = masked(0x81, b"good")
    items = read(before + data + before, step)
    assert items[0] == Message(False, b"good")
    assert [item.code for item in items[1:] if isinstance(item, Fault)] == [code]
    assert isinstance(items[-1], Fault)


def test_a_raised_message_limit_holds_for_the_next_frame() -> None:
    reader = FrameReader(10)
    reader.message_bytes_max = 20
    assert reader.feed(masked(0x81, b"a" * 20)) == [Message(False, b"a" * 20)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_an_encoded_frame_is_read_by_wsproto_as_it_was(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(encode_frame(Opcode.BINARY, os.urandom(size)))
    (event,) = client.events()
    assert isinstance(event, wsproto.events.BytesMessage)
    assert len(event.data) == size
    assert event.message_finished


def test_a_close_reason_is_cut_at_a_character_s_border() -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(encode_close(4009, "é" * 100))
    (event,) = client.events()
    assert isinstance(event, wsproto.events.CloseConnection)
    assert (event.code, event.reason) == (4009, "é" * 61)


@given(
    messages=st.lists(
        st.tuples(st.booleans(), st.lists(st.binary(max_size=300), min_size=1, max_size=3)), max_size=5
    ),
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=20),
)
def test_whatever_a_client_sends_in_whatever_pieces_arrives(
    messages: list[tuple[bool, list[bytes]]], cuts: list[int]
) -> None:
    client = FrameProtocol(client=True, extensions=[])
    wire = bytearray()
    for binary, fragments in messages:
        for at, fragment in enumerate(fragments):
            part = fragment if binary else fragment.hex()
            wire += client.send_data(part, fin=at == len(fragments) - 1)
            wire += client.ping(b"p")
    reader, received, at, turn = FrameReader(MAX * 2), [], 0, 0
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        received += reader.feed(bytes(wire[at : at + size]))
        at, turn = at + size, turn + 1
    expected = [
        Message(binary, b"".join(f if binary else f.hex().encode() for f in fragments))
        for binary, fragments in messages
    ]
    assert [item for item in received if isinstance(item, Message)] == expected
    assert received.count(Ping(b"p")) == sum(len(fragments) for _, fragments in messages)


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans(), st.binary(max_size=125)), min_size=1, max_size=3))
def test_whole_frames_of_any_kind_get_the_verdict_that_wsproto_gives(frames: list[tuple[int, bool, bytes]]) -> None:
    wire = b"".join(
        masked(first, data) if is_masked else bytes([first, len(data)]) + data for first, is_masked, data in frames
    )
    verdict: tuple[str, int] | None = None
    server = FrameProtocol(client=False, extensions=[])
    server.receive_bytes(wire)
    try:
        for frame in server.received_frames():
            if int(frame.opcode) == Opcode.CLOSE:
                verdict = ("close", int(frame.payload[0]))
    except ParseFailed as failed:
        verdict = ("fault", int(failed.code))
    ours: tuple[str, int] | None = None
    for item in FrameReader(MAX).feed(wire):
        if isinstance(item, Close):
            ours = ("close", item.code)
        elif isinstance(item, Fault):
            ours = ("fault", item.code)
    # wsproto checks the UTF-8 of texts too, and knows no 1014; ours leaves texts to the serializers.
    if verdict != ("fault", 1007) and ours != ("close", 1014):
        assert ours == verdict
