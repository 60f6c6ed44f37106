"""The driver's framing against the Python plane's: the same items and close codes, in whatever pieces."""

import itertools
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyglotd.plane.asgi import websocket
from polyglotd.plane.asgi.websocket import Close, Fault, FrameReader, Message, Opcode, Received

Tool = Callable[..., list[bytes]]

LIMIT = 1000
MASK = b"\x01\x82\x03\xf4"


def frame(first: int, data: bytes, *, mask: bytes | None = MASK, length: bytes | None = None) -> bytes:
    """A client's frame, well-formed but for what the caller breaks."""
    size = len(data)
    if length is None:
        length = (
            bytes([size])
            if size < 126
            else struct.pack("!BH" if size < 1 << 16 else "!BQ", 126 + (size >> 16 > 0), size)
        )
    if mask is None:
        return bytes([first]) + length + data
    key = (mask * (size // 4 + 1))[:size]
    masked = bytes(a ^ b for a, b in zip(data, key, strict=True))
    return bytes([first, length[0] | 0x80]) + length[1:] + mask + masked


def expected(chunks: list[tuple[int, bytes]]) -> list[tuple[str, bool, int, bytes]]:
    reader, items = FrameReader(0), []
    for limit, data in chunks:
        reader.message_bytes_max = limit
        items += [shown(item) for item in reader.feed(data)]
    return items


def shown(item: Received) -> tuple[str, bool, int, bytes]:
    kind = type(item).__name__.lower()
    if isinstance(item, Close | Fault):
        return kind, False, item.code, item.reason.encode()
    return kind, isinstance(item, Message) and item.binary, 0, item.data


def said(websocket_tool: Tool, chunks: list[tuple[int, bytes]], how: str) -> list[tuple[str, bool, int, bytes]]:
    fields = iter(websocket_tool("frames", how, *(field for chunk in chunks for field in chunk)))
    return [
        (kind.decode(), form == b"binary", int(code), data)
        for kind, form, code, data in zip(fields, fields, fields, fields, strict=True)
    ]


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(0x88, struct.pack("!H", code) + reason)


STREAMS = {
    "nothing": b"",
    "a text": frame(0x81, b"hello"),
    "an empty binary": frame(0x82, b""),
    "125 bytes": frame(0x81, b"a" * 125),
    "126 bytes": frame(0x81, b"a" * 126),
    "as long as allowed": frame(0x81, b"a" * LIMIT),
    "a byte too long": frame(0x81, b"a" * (LIMIT + 1)),
    "too long in fragments": frame(0x01, b"a" * LIMIT) + frame(0x80, b"a"),
    "fragments with a ping between them": frame(0x01, b"he")
    + frame(0x89, b"now")
    + frame(0x00, b"")
    + frame(0x80, b"llo"),
    "fragments, then a short text": frame(0x02, b"\0") + frame(0x80, b"\1") + frame(0x81, b"x"),
    "empty fragments": frame(0x01, b"") + frame(0x00, b"") + frame(0x80, b"") + frame(0x81, b"x"),
    "the longest ping": frame(0x89, b"p" * 125),
    "a pong": frame(0x8A, b"p"),
    "close with a reason": close(1000, b"bye"),
    "close without a code": frame(0x88, b""),
    "what follows a close": close(1001) + frame(0x81, b"late"),
    "a close code of one byte": frame(0x88, b"\x03"),
    "half a character in a close reason": close(1000, "é".encode()[:1]),
    "a surrogate in a close reason": close(1000, b"\xed\xa0\x80"),
    "the longest close reason": close(4000, b"r" * 123),
    "unmasked": frame(0x81, b"x", mask=None),
    "each reserved bit": frame(0xC1, b"x"),
    "a ping with a reserved bit": frame(0x99, b""),
    "unknown data opcode": frame(0x83, b""),
    "unknown control opcode": frame(0x8B, b""),
    "fragmented ping": frame(0x09, b""),
    "long ping": frame(0x89, b"a" * 126),
    "a long close, told by two bytes": b"\x88\xfe",
    "continuation of nothing": frame(0x80, b"x"),
    "a text within a message": frame(0x01, b"x") + frame(0x81, b"y"),
    "two bytes of length where one does": frame(0x81, b"a" * 9, length=b"\x7e\x00\x09"),
    "eight bytes of length where two do": frame(0x81, b"", length=b"\x7f" + struct.pack("!Q", 65535)),
    "a length with the highest bit": frame(0x81, b"", length=b"\x7f" + struct.pack("!Q", 1 << 63)),
    "the longest length there is": frame(0x81, b"", length=b"\x7f" + struct.pack("!Q", (1 << 63) - 1)),
    "a frame after a fault": frame(0x83, b"") + frame(0x81, b"x"),
}


@pytest.mark.parametrize("how", ["go on", "hold"])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_gives_the_same_items_however_it_is_cut(
    websocket_tool: Tool, stream: bytes, step: int, how: str
) -> None:
    data = frame(0x81, b"first") + stream
    chunks = [(LIMIT, data[at : at + step]) for at in range(0, len(data), step)]
    assert said(websocket_tool, chunks, how) == expected([(LIMIT, data)])


def test_each_close_code_gets_the_same_verdict(websocket_tool: Tool) -> None:
    for code in [*range(990, 1030), *range(2990, 3010), *range(4990, 5010), 0, 255, 256, 65535]:
        chunks = [(LIMIT, close(code, b"why"))]
        assert said(websocket_tool, chunks, "go on") == expected(chunks), code


def test_a_message_of_some_hundred_kilobytes_arrives(websocket_tool: Tool) -> None:
    data = bytes(range(256)) * 1200
    stream = frame(0x82, data) + frame(0x01, data) + frame(0x80, data)
    for step in (1 << 14, 1 << 16, 1 << 22):
        chunks = [(1 << 20, stream[at : at + step]) for at in range(0, len(stream), step)]
        assert said(websocket_tool, chunks, "go on") == [
            ("message", True, 0, data),
            ("message", False, 0, data + data),
        ]


payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda size, byte: bytes([byte]) * size,
        st.sampled_from([125, 126, 127, 500, LIMIT, LIMIT + 1]),
        st.integers(0, 255),
    ),
    st.builds(lambda code, reason: struct.pack("!H", code) + reason, st.integers(990, 5010), st.binary(max_size=9)),
    st.builds(lambda code, reason: struct.pack("!H", code) + reason.encode(), st.just(1000), st.text(max_size=30)),
)
masks = st.binary(min_size=4, max_size=4)
good_frames = st.builds(
    lambda first, data, mask: frame(first, data, mask=mask),
    st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
    payloads,
    masks,
)
any_frames = st.builds(
    lambda first, data, mask, length: frame(first, data, mask=mask, length=length),
    st.one_of(st.sampled_from([0x88, 0x81, 0x00, 0x80]), st.integers(0, 255)),
    payloads,
    st.none() | masks,
    st.none()
    | st.builds(
        lambda form, size: struct.pack(form, 126 + (form == "!BQ"), size), st.just("!BH"), st.integers(0, 65535)
    )
    | st.builds(
        lambda size: struct.pack("!BQ", 127, size), st.integers(0, (1 << 64) - 1) | st.integers(65000, 66000)
    ),
)


@st.composite
def split_streams(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    frames = draw(st.lists(st.one_of(good_frames, good_frames, good_frames, any_frames), max_size=8))
    stream = b"".join(frames)
    stream = stream[: len(stream) - draw(st.integers(0, 5))]
    cuts = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=10))})
    limits = draw(st.lists(st.sampled_from([LIMIT, LIMIT, LIMIT, 2 * LIMIT, 10]), min_size=1, max_size=4))
    return [
        (limits[at % len(limits)], stream[start:stop]) for at, (start, stop) in enumerate(itertools.pairwise(cuts))
    ]


@given(chunks=split_streams(), how=st.sampled_from(["go on", "hold"]))
def test_whatever_a_client_sends_in_whatever_pieces_gives_the_same_items(
    websocket_tool: Tool, chunks: list[tuple[int, bytes]], how: str
) -> None:
    assert said(websocket_tool, chunks, how) == expected(chunks)


@given(
    data=st.binary(max_size=300), size=st.sampled_from([0, 125, 126, 65535, 65536]), opcode=st.sampled_from(Opcode)
)
def test_a_frame_is_written_the_same(websocket_tool: Tool, data: bytes, size: int, opcode: Opcode) -> None:
    for payload in (data, b"x" * size):
        assert websocket_tool("encode", int(opcode), payload) == [websocket.encode_frame(opcode, payload)]


@given(
    code=st.integers(0, 65535) | st.sampled_from([1000, 1005, 1006]),
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=140),
)
@example(code=4009, reason="é" * 100)
@example(code=4009, reason="a" * 122 + "é")
@example(code=4009, reason="a" * 120 + "𝄞")
def test_a_close_frame_is_written_the_same(websocket_tool: Tool, code: int, reason: str) -> None:
    assert websocket_tool("encode_close", code, reason) == [websocket.encode_close(code, reason)]
