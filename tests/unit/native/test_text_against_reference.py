"""The driver's reading and writing of Phoenix's text against the Python plane's: same verdicts, same bytes."""

import json
import os
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polyglotd.model import (
    Event,
    EventIds,
    Forbidden,
    Invalid,
    PayloadTooLarge,
    RateLimited,
    Refusal,
    Unavailable,
    UnmatchedTopic,
    encode_event,
    encode_signal,
    format_ts,
)
from polyglotd.plane.asgi import publishing
from polyglotd.plane.asgi.refusals import encode_refusal, reason_of
from polyglotd.protocol.json_text import NotJson, check_json, encode_str
from polyglotd.protocol.message import PayloadNotJson, ProtocolFault
from polyglotd.protocol.serializers import EndEvent, Serializer, serializer_for

Tool = Callable[..., list[bytes]]

V1, V2 = serializer_for("1.0.0"), serializer_for("2.0.0")
EXAMPLES = 3_000 if os.environ.get("POLYGLOT_TEST_FULL") == "1" else 300

both = pytest.mark.parametrize("serializer", [V1, V2], ids=["1.0.0", "2.0.0"])


@pytest.fixture(scope="module")
def driver(start_tool: Callable[[str], Tool]) -> Tool:
    return start_tool("text_tool")


# --- the reference's answers, in the tool's form


def checked(text: bytes) -> list[bytes]:
    try:
        check_json(text)
    except NotJson as error:
        return [str(error).encode()]
    return [b"none"]


def decoded(serializer: Serializer, frame: bytes, *, binary: bool = False) -> list[bytes]:
    try:
        message = (serializer.decode_binary if binary else serializer.decode_text)(frame)
        verdict = b"message"
    except ProtocolFault as fault:
        return [b"fault", b"%d" % fault.code, fault.reason.encode()]
    except PayloadNotJson as error:
        message = error.head
        verdict = b"payload_not_json"
    return [verdict, message.join_ref, message.ref, message.topic.encode(), message.event.encode(), message.payload]


def read_content(payload: bytes) -> list[bytes]:
    try:
        content = publishing._content(payload)
    except Refusal as refusal:
        return [b"refused", encode_refusal(refusal)]
    return [b"content", content.type.encode(), content.data, (content.id or "").encode()]


# --- JSON

VALUES = [
    *(
        b"null",
        b"true",
        b"false",
        b"{}",
        b"[]",
        b'""',
        b"0",
        b"-0",
        b"1",
        b"-1",
        b"10",
        b"1.5",
        b"-1.50e+07",
        b"1E-2",
    ),
    *(b"1e999", b"12345678901234567890123", b"-12345678901234567890123", b"18446744073709551616", b"0.0", b"0e0"),
    *(b'"a"', b'"\\u0041"', b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\x7f"'),
    *(b'"\xc3\xa9"', b'"\xe2\x80\xa8"', b'"\xf4\x8f\xbf\xbf"', b'"\xee\x80\x80"', b'"\xed\x9f\xbf"', b'"\xc2\x80"'),
    *(b'"0123456789abcdef"', b'"0123456789abcde\\n0123456789abcdef0123456789abcdef\xc3\xa9"', b'"%b"' % (b"x" * 300)),
    *(b'[1,"a",null]', b'{"a":1,"a":2}', b'{ "a" : [ 1 , { } ] }', b"[" * 500 + b"]" * 500),
    *(b'{"a":' * 500 + b"1" + b"}" * 500, b'{"":""}', b'{"\\u0061":1}'),
]

NOT_VALUES = [
    *(
        b"",
        b" ",
        b"x",
        b"nul",
        b"nulll",
        b"nullx",
        b"tru",
        b"True",
        b"fals",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"\x00",
    ),
    *(b"-", b"+1", b"01", b"-01", b"00", b".5", b"1.", b"1.e5", b"1e", b"1e+", b"1e-", b"1e5.5", b"--1", b"1_000"),
    *(b"0x10", b"1 2", b"- 1", b"1.5.5", b"1ee5", b"\xd9\xa1", b"'a'", b"[", b"]", b"[1", b"[1,", b"[1,]", b"[,1]"),
    *(b"[1 2]", b"[1,,2]", b"[}", b"{", b"}", b"{]", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{,}"),
    *(b'{"a" 1}', b'{"a":1 "b":2}', b'{"a"::1}', b"{a:1}", b"{1:1}", b"{null:1}", b'{"a":}', b'{"a"}', b'{"a":1,,}'),
    *(
        b'"',
        b'"a',
        b'"\\',
        b'"\\"',
        b'"\\x41"',
        b'"\\a"',
        b'"\\\'"',
        b'"\\u"',
        b'"\\u004"',
        b'"\\u004g"',
        b'"\\U0041"',
    ),
    *(
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\udc00\\udc00"',
        b'"\\ud800x"',
        b'"\\ud800\\n"',
    ),
    *(b'"\\ud800\\u0041"', b'"\\ud800\\udc0"', b'"\\ud800\\', b'"\\ud800\\u"', b'"\\ud800', b'"\\udbff\\ue000"'),
    *(b'"\n"', b'"\t"', b'"\x00"', b'"\x1f"', b'"0123456789abcdef\x1f0123456789"', b'"\\\n"'),
    *(b'"\xff"', b'"\xc0\xaf"', b'"\xc1\xbf"', b'"\xe0\x80\x80"', b'"\xe0\x9f\xbf"', b'"\xed\xa0\x80"', b'"\x80"'),
    *(
        b'"\xf0\x80\x80\x80"',
        b'"\xf0\x8f\xbf\xbf"',
        b'"\xf4\x90\x80\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xc3"',
        b'"\xe2\x80"',
    ),
    *(b'"\xf0\x9f\x98"', b'"\xe2\x28\xa1"', b'"\xf0\x9f\x28\x80"', b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf1", b"\xa0"),
    *(b"[" * 1001, b"[" * 1001 + b"]" * 1001, b'{"a":' * 1001 + b"1" + b"}" * 1001, b"[" * 10_000 + b"\xff"),
    *(b"1\x0c", b"\x0b1", b"1\x85", b"/**/1", b"1//", b"[1]]", b"{}{}", b"{}x", b'"a"x', b"1\x00", b'{"a":1}\x00'),
]

PIECES = st.sampled_from(
    [*b'{}[]:,"\\ \n\t', *b"0123456789-+.eEtfnu", 0, 0x1F, 0x7F, 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xFF]
).map(lambda byte: bytes([byte]))
FRAGMENTS = st.sampled_from([value for value in VALUES + NOT_VALUES if len(value) < 60])
TEXTS = st.lists(st.one_of(PIECES, FRAGMENTS), max_size=12).map(b"".join)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SPACE = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\r\n\t"])


@pytest.mark.parametrize("text", VALUES + NOT_VALUES, ids=range(len(VALUES + NOT_VALUES)))
def test_the_same_text_is_json(driver: Tool, text: bytes) -> None:
    assert (checked(text) == [b"none"]) is (text in VALUES)
    for whole in (text, b" \r\n\t" + text + b"\t\n\r ", b"[" + text + b"]", b'{"a":' + text + b"}", b"[1," + text):
        assert driver("check", whole) == checked(whole)


@settings(max_examples=EXAMPLES)
@given(TEXTS)
def test_any_text_is_found_the_same(driver: Tool, text: bytes) -> None:
    assert driver("check", text) == checked(text)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=60), st.integers(0, 20))
def test_utf8_in_a_string_is_checked_in_the_same_way(driver: Tool, text: bytes, shift: int) -> None:
    whole = b'"%b"' % (b"x" * shift + text)
    assert driver("check", whole) == checked(whole)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.none() | st.booleans() | st.integers() | FLOATS | st.text(), max_size=6))
def test_what_others_write_is_json(driver: Tool, value: object) -> None:
    for ascii_only in (False, True):
        assert driver("check", json.dumps(value, ensure_ascii=ascii_only).encode()) == [b"none"]


@settings(max_examples=EXAMPLES)
@given(FRAGMENTS | TEXTS)
def test_strings_are_decoded_to_the_same_text(driver: Tool, text: bytes) -> None:
    try:
        wanted = [msgspec.json.decode(text, type=str).encode()] if text[:1] == b'"' and text[-1:] == b'"' else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wanted = []
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # `decode_string` leaves that to whoever had the whole
    assert driver("string", text) == wanted


@settings(max_examples=EXAMPLES)
@example("".join(map(chr, range(0x300))))
@example("\u2028\ufeff\U0010ffff")
@given(st.text())
def test_text_is_escaped_in_the_same_way(driver: Tool, text: str) -> None:
    assert driver("json_string", text) == [encode_str(text)]
    assert driver("string", encode_str(text)) == [text.encode()]


# --- text frames

PARTS = ["join_ref", "ref", "topic", "event", "payload"]
GOOD = {
    "join_ref": [b'"1"', b"null", b"7"],
    "ref": [b'"2"', b"null", b"-0", b'"\\u0031\xc3\xa9"', b'"%b"' % (b"r" * 254), b"1" * 256],
    "topic": [b'"room:lobby"', b'"\\u0072oom:\\n"', b'"\xf0\x9f\x98\x80\\ud83d\\ude00"', b'""', b'"\\u0000"'],
    "event": [b'"publish"', b'"phx_join"', b'"phx_j\\u006fin"', b'"\xc3\xa9"'],
    "payload": VALUES,
}
ODD_REFS = [b"1.0", b"1e2", b"true", b"[]", b'["1"]', b"{}", b"-", b'"%b"' % (b"r" * 255), b"1" * 257, b"1e999"]
ANY = [*VALUES, *NOT_VALUES, *ODD_REFS]
FLAT = [
    value for value in ANY if len(value) < 1000
]  # Hypothesis raises the recursion limit that bounds the reference


def text_frame(serializer: Serializer, parts: dict[str, bytes], space: bytes = b"") -> bytes:
    comma, colon = b"%b,%b" % (space, space), b"%b:%b" % (space, space)
    if serializer is V2:
        return b"%b[%b%b%b]%b" % (space, space, comma.join(parts.values()), space, space)
    members = comma.join(b'"%b"%b%b' % (name.encode(), colon, part) for name, part in parts.items())
    return b"%b{%b%b%b}%b" % (space, space, members, space, space)


def agree(driver: Tool, serializer: Serializer, frame: bytes) -> None:
    assert driver("decode", serializer.version, "text", frame) == decoded(serializer, frame)


@both
@pytest.mark.parametrize("name", PARTS)
def test_frames_with_any_part_in_any_place_are_decoded_the_same(
    driver: Tool, serializer: Serializer, name: str
) -> None:
    good = {part: values[0] for part, values in GOOD.items()}
    for value in [*GOOD[name], *ANY]:
        agree(driver, serializer, text_frame(serializer, good | {name: value}))
        agree(driver, serializer, text_frame(serializer, good | {name: value}, b" \r\n\t"))
        agree(driver, serializer, text_frame(serializer, good | {name: value}) + b"\xff")
        agree(driver, serializer, text_frame(serializer, good | {name: value, "payload": b'"\xff"'}))


SHAPES = [
    *ANY,
    *(b"[]", b"[ ]", b"[,]", b"[1,2,3,4,5,6]", b'["1","2","t","e"]', b'["1","2","t","e",]', b'["1","2","t","e",{},]'),
    *(b'["1","2","t","e",{},{}]', b'["1","2","t","e",{},x', b'["1","2","t","e",{},', b'["1","2","t","e",{},\x00'),
    *(b'["1","2","t","e",{},]x', b'["1","2","t","e",{} {}]', b'["1","2","t","e",{}]x', b'["1","2","t","e",{}]\x00'),
    *(b'["1","2","t","e",{}]\xff', b'["1","2","t","e",{}', b'["1","2","t",]', b'["1","2",]', b'["1","2","t" "e",{}]'),
    *(
        b'["1","2",[x',
        b'["1","2",{x',
        b'["1","2",nul',
        b'["1","2",1.',
        b'["1","2",1,x',
        b'["1","2",7',
        b'["1","2","t',
    ),
    *(
        b'["1","2"]x',
        b'["1"x',
        b'[["1","2","t","e",{}]]',
        b"[1.5,x",
        b"[" + b"[" * 1001,
        b'["1","2","t",' + b"[" * 1001,
    ),
    *(b"1.5x", b"nullx", b'"a"x', b'"a', b"{x", b"[x", b"{}", b"{} x", b"{,}", b'{"topic":1,"topic":', b'{"topic"}'),
    *(b'{"topic":"t"}', b'{"event":"e"}', b'{"topic":1}', b'{"topic":"t","event":1}', b'{"topic":"t","event":"e"}'),
    *(b'{"topic":"t","event":"e","ref":1.5}', b'{"topic":"t","event":"e","ref":"1"}', b'{"topic":null,"x":1,"x":2}'),
    *(b'{"topic":"t","event":"e","payload":1,"ref":"1","join_ref":true}', b'{"topic":"t","event":"e","payload":1}'),
    *(b'{"t\\u006fpic":"t","event":"e","payload":1,"ref":"1"}', b'{"topic":"t","topic":"t","event":1}'),
    *(b'{"topic":"t","event":"phx_join","payload":{},"ref":"9"}', b'{"x":1,"\\u0078":2,"topic":1}', b'{"":1,"":2}'),
    *(b'{"topic":"t","event":"phx_join","payload":{},"ref":"9","join_ref":null}', b'{"x":1,"\xff":2,"x":1}'),
    *(b'{"topic":"t","event":"e","payload":{},"ref":"9","x":1,"y":2,"":3,"X":4,"\\n":5,"\\u000A6":6}',),
    *(b'{"topic":"t","event":"e","payload":{},"ref":"9","\\u0061":1,"\\u0062":2,"\\u0061\\u0061":3,"\\u0062":2}',),
    *(b'{"topic":"t","event":"e","payload":{},"ref":"9",%b}' % b",".join(b'"%d":1' % i for i in range(500)),),
    *(b'{"topic":"t","event":"e","payload":{},"ref":"9",%b,"7":1}' % b",".join(b'"%d":1' % i for i in range(500)),),
    *(b'{"topic":"t","event":"e","payload":{},"ref":"9","topic":"t"}', b'{"topic":"t","topic":"t"} x', b'{"a":1 "a"'),
]


@both
@pytest.mark.parametrize("frame", SHAPES, ids=range(len(SHAPES)))
def test_frames_of_any_shape_are_decoded_the_same(driver: Tool, serializer: Serializer, frame: bytes) -> None:
    agree(driver, serializer, frame)
    agree(driver, serializer, frame + b"\xff")
    agree(driver, serializer, b"\n" + frame + b" ")


def parts(name: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from(FLAT) if name == "payload" else st.sampled_from(GOOD[name] * 20 + FLAT)


@both
@settings(max_examples=EXAMPLES)
@given(st.fixed_dictionaries({name: parts(name) for name in PARTS}), st.permutations(PARTS), SPACE, st.data())
def test_any_frame_is_decoded_the_same(
    driver: Tool, serializer: Serializer, found: dict[str, bytes], order: list[str], space: bytes, data: st.DataObject
) -> None:
    if serializer is V1:
        found = {name: found[name] for name in order}
    frame = text_frame(serializer, found, space)
    agree(driver, serializer, frame)
    at = data.draw(st.integers(0, len(frame)))
    cut = data.draw(st.integers(0, 3))
    agree(driver, serializer, frame[:at])
    agree(driver, serializer, frame[:at] + data.draw(PIECES | FRAGMENTS) + frame[at + cut :])


# --- binary frames


def binary_frame(join_ref: bytes, ref: bytes, topic: bytes, event: bytes, data: bytes) -> bytes:
    texts = (join_ref, ref, topic, event)
    return bytes([0, *map(len, texts)]) + b"".join(texts) + data


HEADS = [
    b"",
    b"1",
    b"room:x",
    b"publish",
    b'"\\\n\x00\x1f\x7f',
    b"\xc3\xa9",
    b"r" * 255,
    b'"' * 255,
    b"\xff",
    b"\xc3",
]
LONG_HEAD = binary_frame(b"1", b"2", b"topic", b"event", b"{}")


@both
@settings(max_examples=EXAMPLES)
@example([b"1", b"2", b"t", b"e"], b'{"a":1}')
@example([b"\xc3", b"\xa9", b"t", b"e"], b"{}")
@given(st.lists(st.sampled_from(HEADS), min_size=4, max_size=4), st.sampled_from(FLAT) | TEXTS)
def test_binary_frames_are_decoded_the_same(
    driver: Tool, serializer: Serializer, heads: list[bytes], data: bytes
) -> None:
    frame = binary_frame(*heads, data)
    assert driver("decode", serializer.version, "binary", frame) == decoded(serializer, frame, binary=True)


@pytest.mark.parametrize("frame", [LONG_HEAD[:i] for i in range(len(LONG_HEAD))] + [b"\x01" + LONG_HEAD[1:]])
def test_binary_frames_that_are_none_have_the_same_fault(driver: Tool, frame: bytes) -> None:
    assert driver("decode", "2.0.0", "binary", frame) == decoded(V2, frame, binary=True)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_as_a_binary_frame_are_decoded_the_same(driver: Tool, frame: bytes, push: bool) -> None:
    frame = b"\0" + frame if push else frame
    assert driver("decode", "2.0.0", "binary", frame) == decoded(V2, frame, binary=True)


# --- what a publish holds

NAMES = [
    *(
        "message",
        "a",
        "A-Z_a.z:0/9",
        "-",
        "_",
        ".",
        "evt_1",
        "evt",
        "Evt_1",
        "evt-1",
        "e",
        "-.:_",
        "-a",
        "/",
        "a/b",
        "",
    ),
    *("x" * 64, "x" * 65, "-" * 64, "a b", "a\n", "\n", "é", "message\u0000", "ſ", "１", "a\u2028", "\U0001f600"),
]
CONTENT_VALUES = [
    b"null",
    b"1",
    b"true",
    b"[]",
    b"{}",
    b"1e999",
    *map(encode_str, NAMES),
    b'"m\\u0065ssage"',
    b'"\\n"',
]
CONTENT_KEYS = [
    b"type",
    b"data",
    b"id",
    b"t\\u0079pe",
    b"\\u0069d",
    b"Type",
    b"",
    b"x",
    b"\\u0078",
    b"\xc3\xa9",
    b"\\u00e9",
]


def agree_on_content(driver: Tool, payload: bytes) -> None:
    assert checked(payload) == [b"none"]  # what is no JSON has not come so far
    assert driver("content", payload) == read_content(payload)


@pytest.mark.parametrize("value", CONTENT_VALUES)
def test_each_field_of_a_content_is_checked_in_the_same_way(driver: Tool, value: bytes) -> None:
    for payload in (
        b'{"type":%b}' % value,
        b'{"type":%b,"data":{"a": 1} }' % value,
        b'{"type":"t","id":%b,"data":%b}' % (value, value),
        b'{"id":%b,"type":%b}' % (value, value),
        b'{"id":%b}' % value,
        b'{"id":1,"type":%b}' % value,
        b' { "type" : "t" , "data" : %b , "id" : %b } ' % (value, value),
    ):
        agree_on_content(driver, payload)


@pytest.mark.parametrize("payload", [value for value in VALUES if len(value) < 500])
def test_a_payload_of_any_value_is_taken_or_refused_the_same(driver: Tool, payload: bytes) -> None:
    agree_on_content(driver, payload)
    agree_on_content(driver, b'{"data":%b,"type":"t"}' % payload)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.sampled_from(CONTENT_KEYS), st.sampled_from(CONTENT_VALUES)), max_size=6), SPACE)
def test_any_content_is_read_the_same(driver: Tool, members: list[tuple[bytes, bytes]], space: bytes) -> None:
    payload = b",".join(b'%b"%b"%b:%b%b' % (space, key, space, space, value) for key, value in members)
    agree_on_content(driver, b"%b{%b%b}%b" % (space, payload, space, space))


@pytest.mark.parametrize("names", [range(3000), [*range(3000), 1500], [*range(3000), 0], [7, 7]], ids=range(4))
def test_many_unknown_fields_are_read_the_same(driver: Tool, names: list[int]) -> None:
    for form in (b'"x%d":1', b'"\\u0078%d":1'):
        agree_on_content(driver, b'{"type":"t",%b}' % b",".join(form % name for name in names))


# --- what the server says


@both
@given(st.text(max_size=20), st.sampled_from(GOOD["ref"]), st.sampled_from(VALUES[:-3]), st.booleans())
def test_frames_have_the_same_bytes(
    driver: Tool, serializer: Serializer, text: str, ref: bytes, payload: bytes, ok: bool
) -> None:
    vsn, topic, event = serializer.version, encode_str(text), encode_str(text[::-1])
    reply = serializer.encode_reply(b"3", ref, text, ok, payload)
    assert driver("reply", vsn, b"3", ref, topic, "ok" if ok else "error", payload) == [reply]
    push = serializer.encode_push(ref, text, text[::-1], payload)
    assert driver("push", vsn, ref, topic, event, payload) == [push]
    broadcast = serializer.encode_broadcast(text, text[::-1], payload)
    assert driver("broadcast", vsn, topic, event, payload) == [broadcast]
    ends: list[EndEvent] = ["phx_close", "phx_error"]
    for how in ends:
        assert driver("end", vsn, ref, topic, encode_str(how)) == [serializer.encode_end(ref, text, how)]


REFUSALS = [
    Invalid("type is missing", field="type"),
    Invalid('words "with" \n what JSON escapes, é', field="payload"),
    Forbidden("this token may not publish on this channel"),
    PayloadTooLarge("data has at most 65536 bytes", limit=65536),
    PayloadTooLarge("data has at most 0 bytes", limit=0),
    RateLimited("too many publishes and signals a second", retry_after_ms=17),
    Unavailable("the log is full", retry_after_ms=1000),
    UnmatchedTopic("this topic is not joined on this connection"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_refusals_have_the_same_bytes(driver: Tool, refusal: Refusal) -> None:
    found = refusal.details()
    numbers = (found.get("limit", -1), found.get("retry_after_ms", -1))
    wanted = encode_refusal(refusal)
    assert driver("refusal", refusal.reason, refusal.message, found.get("field", ""), *numbers) == [
        wanted,
        refusal.reason.encode(),
    ]


@pytest.mark.parametrize(
    "response",
    [
        *(
            b'{"reason":"forbidden"}',
            b'{"message":"x","reason":"rate_limited","n":1}',
            b"{}",
            b'{"message":"reason"}',
        ),
        *(b'{"a":{"reason":"x"}}', b' { "reason" : "not_found" } ', b'{"reason":"a","reason":"b"}', b'{"x":[1,2]}'),
    ],
)
def test_the_reason_of_an_answer_is_found_in_the_same_way(driver: Tool, response: bytes) -> None:
    assert driver("reason", response) == [reason_of(response).encode()]


# --- events

TIMES = st.integers(0, 253_402_300_799_999_999)  # to the end of 9999
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=EXAMPLES)
@example(0)
@example(951_782_400_000_000)  # 2000-02-29
@example(951_868_799_999_999)
@example(1_709_164_800_000_001)  # 2024-02-29
@example(4_107_542_399_999_999)  # the day before 2100-03-01: no leap day
@example(4_107_542_400_000_000)
@example(253_402_300_799_999_999)
@given(TIMES)
def test_times_have_the_same_text(driver: Tool, ts_us: int) -> None:
    assert driver("time", ts_us) == [format_ts(ts_us).encode()]


@settings(max_examples=EXAMPLES)
@given(TEXT, TEXT, st.none() | TEXT.filter(bool), st.integers(0, 2**64 - 1), TIMES, st.sampled_from(VALUES[:-3]))
def test_events_and_signals_have_the_same_bytes(
    driver: Tool, channel: str, name: str, user_id: str | None, seq: int, ts_us: int, data: bytes
) -> None:
    event = Event(name, "chat-app", channel, "epoch", seq, "message", data, user_id, ts_us)
    assert driver("envelope", name, "chat-app", channel, "epoch", seq, "message", data, user_id or "", ts_us) == [
        encode_event(event)
    ]
    assert driver("signal", "chat-app", channel, name, data, user_id or "", ts_us) == [
        encode_signal("chat-app", channel, name, data, user_id, ts_us)
    ]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 2**46), min_size=1, max_size=300))
def test_ids_begin_with_the_time_as_the_references_do_and_rise(driver: Tool, times: list[int]) -> None:
    reference = EventIds()
    ids = driver("ids", *times)
    assert ids == sorted(set(ids))
    for ours, ts_us in zip(ids, times, strict=True):
        theirs = reference.new(ts_us).encode()
        assert len(ours) == len(theirs) == 30
        assert ours[:14] == theirs[:14]
        assert set(ours[4:]) <= set(b"0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_are_random_in_all_their_bits_but_the_spare_one(driver: Tool) -> None:
    ids = driver("ids", *range(1000, 1_000_000, 1000))
    for place in range(15, 30):
        assert len({one[place] for one in ids}) == 32
    assert len({one[14] for one in ids}) == 16
