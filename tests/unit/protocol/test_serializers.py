"""Frames to messages and back, in both serializers: spelled as bytes where bytes are promised."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyglotd.protocol.message import NULL, Message, PayloadNotJson, ProtocolFault
from polyglotd.protocol.serializers import REF_BYTES_MAX, Serializer, UnknownSerializer, serializer_for

V1 = serializer_for("1.0.0")
V2 = serializer_for("2.0.0")

both = pytest.mark.parametrize("serializer", [V1, V2], ids=["1.0.0", "2.0.0"])

# Payloads whose bytes must not change on their way through.
PAYLOADS = [
    b"{}",
    b"null",
    b'{ "b":1.10 ,\t"a" : 1e999,"a":12345678901234567890123}',
    b'"\\u0041\\/\xc3\xa9\xe2\x80\xa8"',
    b"[" * 400 + b"]" * 400,
]


def text_frame(
    serializer: Serializer, join_ref: bytes, ref: bytes, topic: bytes, event: bytes, payload: bytes
) -> bytes:
    if serializer is V1:
        return b'{"topic":%b,"event":%b,"payload":%b,"ref":%b,"join_ref":%b}' % (topic, event, payload, ref, join_ref)
    return b"[%b,%b,%b,%b,%b]" % (join_ref, ref, topic, event, payload)


def binary_frame(join_ref: bytes, ref: bytes, topic: bytes, event: bytes, data: bytes) -> bytes:
    texts = (join_ref, ref, topic, event)
    return bytes([0, *map(len, texts)]) + b"".join(texts) + data


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- which serializer


def test_no_vsn_means_1_0_0() -> None:
    assert serializer_for(None) is V1


@pytest.mark.parametrize("vsn", ["", "1", "1.0", "2", "0.9.0", "1.5.0", "2.0.0 ", "2.1.0", "3.0.0", "abc", "２.0.0"])
def test_any_other_vsn_is_refused(vsn: str) -> None:
    with pytest.raises(UnknownSerializer):
        serializer_for(vsn)


# --- text in


@both
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_comes_out_of_a_frame_as_the_same_bytes(serializer: Serializer, payload: bytes) -> None:
    frame = text_frame(serializer, b'"1"', b'"2"', b'"room:x"', b'"publish"', b" " + payload + b"\n")
    assert serializer.decode_text(frame) == Message(b'"1"', b'"2"', "room:x", "publish", payload)


@both
@pytest.mark.parametrize(
    "ref", [b'"1"', b'""', b'"\\u0031\xc3\xa9"', b"1", b"-7", b"0", b"123456789012345678901234567890", b"null"]
)
def test_a_ref_keeps_its_json_type_and_text(serializer: Serializer, ref: bytes) -> None:
    message = serializer.decode_text(text_frame(serializer, ref, ref, b'"t"', b'"e"', b"1"))
    assert (message.join_ref, message.ref) == (ref, ref)
    reply = serializer.encode_reply(ref, ref, "t", True, b"{}")
    assert ref in reply
    assert json.loads(reply)


@both
@pytest.mark.parametrize(
    "ref", [b"1.0", b"1e2", b"-1.5", b"true", b"false", b"[]", b"{}", b'["1"]', b"1E2", b"1e999"]
)
def test_a_ref_of_another_type_is_a_fault(serializer: Serializer, ref: bytes) -> None:
    for join_ref, own_ref in ((ref, b'"1"'), (b'"1"', ref)):
        with pytest.raises(ProtocolFault) as caught:
            serializer.decode_text(text_frame(serializer, join_ref, own_ref, b'"t"', b'"e"', b"1"))
        assert caught.value.code == 1007


@both
def test_a_ref_is_bounded(serializer: Serializer) -> None:
    longest = b'"%b"' % (b"r" * (REF_BYTES_MAX - 2))
    assert serializer.decode_text(text_frame(serializer, NULL, longest, b'"t"', b'"e"', b"1")).ref == longest
    for long in (b'"%b"' % (b"r" * (REF_BYTES_MAX - 1)), b"1" * (REF_BYTES_MAX + 1)):
        with pytest.raises(ProtocolFault):
            serializer.decode_text(text_frame(serializer, NULL, long, b'"t"', b'"e"', b"1"))


BAD_PARTS = {
    "a topic that is a number": (b'"1"', b"7", b'"e"', b"{}"),
    "a topic that is null": (b'"1"', b"null", b'"e"', b"{}"),
    "an event that is an array": (b'"1"', b'"t"', b"[]", b"{}"),
    "an event that is null": (b'"1"', b'"t"', b"null", b"{}"),
    "invalid UTF-8 in the topic": (b'"1"', b'"\xff"', b'"e"', b"{}"),
    "invalid UTF-8 in the payload": (b'"1"', b'"t"', b'"e"', b'{"a":"\xff"}'),
    "invalid UTF-8 in a ref": (b'"\xff"', b'"t"', b'"e"', b"{}"),
    "half a surrogate pair in the topic": (b'"1"', b'"\\ud800"', b'"e"', b"{}"),
    "half a surrogate pair in the payload": (b'"1"', b'"t"', b'"e"', b'{"a":"\\ud800"}'),
    "half a surrogate pair in a ref": (b'"\\udfff"', b'"t"', b'"e"', b"{}"),
    "NaN": (b'"1"', b'"t"', b'"e"', b"NaN"),
    "no payload at all": (b'"1"', b'"t"', b'"e"', b""),
    "10,000 brackets": (b'"1"', b'"t"', b'"e"', b"[" * 10_000 + b"]" * 10_000),
    "10,000 brackets in a ref": (b"[" * 10_000 + b"]" * 10_000, b'"t"', b'"e"', b"1"),
}


@both
@pytest.mark.parametrize("parts", BAD_PARTS.values(), ids=BAD_PARTS)
def test_a_frame_with_a_bad_part_is_a_fault(serializer: Serializer, parts: tuple[bytes, ...]) -> None:
    ref, topic, event, payload = parts
    with pytest.raises(ProtocolFault) as caught:
        serializer.decode_text(text_frame(serializer, NULL, ref, topic, event, payload))
    assert caught.value.code == 1007
    assert len(caught.value.reason.encode()) <= 123


BAD_FRAMES = {
    "nothing": b"",
    "no JSON": b"{not json",
    "a string": b'"heartbeat"',
    "null": b"null",
    "an empty array": b"[]",
    "four parts": b'["1","1","t","e"]',
    "six parts": b'["1","1","t","e",{},{}]',
    "an array round a message": b'[["1","1","t","e",{}]]',
    "an empty object": b"{}",
    "two messages": b'["1","1","t","e",{}]["1","1","t","e",{}]',
    "a byte order mark": b'\xef\xbb\xbf["1","1","t","e",{}]',
    "no topic": b'{"event":"e","payload":{},"ref":"1"}',
    "no event": b'{"topic":"t","payload":{},"ref":"1"}',
    "no payload": b'{"topic":"t","event":"e","ref":"1"}',
    "no ref": b'{"topic":"t","event":"e","payload":{}}',
    "a topic twice": b'{"topic":"t","topic":"t","event":"e","payload":{},"ref":"1"}',
    "a ref twice, once escaped": b'{"topic":"t","event":"e","payload":{},"ref":"1","r\\u0065f":"2"}',
    "an unknown key twice": b'{"topic":"t","event":"e","payload":{},"ref":"1","x":1,"x":2}',
}


@both
@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_frame_that_is_no_message_is_a_fault(serializer: Serializer, frame: bytes) -> None:
    with pytest.raises(ProtocolFault) as caught:
        serializer.decode_text(frame)
    assert caught.value.code == 1007
    assert len(caught.value.reason.encode()) <= 123


def test_a_message_of_one_serializer_is_a_fault_in_the_other() -> None:
    for ours, other in ((V1, V2), (V2, V1)):
        with pytest.raises(ProtocolFault):
            ours.decode_text(text_frame(other, b'"1"', b'"1"', b'"t"', b'"e"', b"{}"))


def test_unknown_keys_of_a_map_are_passed_over() -> None:
    frame = b'{"x":[],"topic":"t","event":"e","payload":{},"ref":"1"}'
    assert V1.decode_text(frame) == Message(NULL, b'"1"', "t", "e", b"{}")


def test_repeated_keys_in_a_payload_are_not_the_envelopes() -> None:
    frame = b'{"topic":"t","event":"e","payload":{"a":1,"a":2},"ref":"1"}'
    assert V1.decode_text(frame).payload == b'{"a":1,"a":2}'


@pytest.mark.parametrize("join_ref", [b"", b',"join_ref":null'], ids=["absent", "null"])
def test_the_ref_of_a_1_0_0_join_stands_in_for_its_join_ref(join_ref: bytes) -> None:
    frame = b'{"topic":"t","event":"phx_join","payload":{},"ref":"7"%b}' % join_ref
    assert V1.decode_text(frame).join_ref == b'"7"'


# --- binary in


def test_a_binary_push_is_read() -> None:
    frame = binary_frame(b"1", b"22", b"room:bin", b"publish", b' {"a": 1}\n')
    assert frame[:5] == b"\x00\x01\x02\x08\x07"
    assert V2.decode_binary(frame) == Message(b'"1"', b'"22"', "room:bin", "publish", b' {"a": 1}\n')


def test_binary_refs_become_strings_and_empty_ones_null() -> None:
    message = V2.decode_binary(binary_frame(b"", b"", b"t", b"e", b"1"))
    assert (message.join_ref, message.ref) == (NULL, NULL)
    message = V2.decode_binary(binary_frame(b"7", b'"\n\xc3\xa9', b"t", b"e", b"1"))
    assert (message.join_ref, json.loads(message.ref)) == (b'"7"', '"\né')


BAD_BINARY = {
    "nothing": b"",
    "half a head": b"\x00\x01\x01\x01",
    "shorter than its lengths": b"\x00\x01\x01\x01\x01abc",
    "a reply": b"\x01" + binary_frame(b"1", b"1", b"t", b"e", b"{}")[1:],
    "a broadcast": b"\x02" + binary_frame(b"1", b"1", b"t", b"e", b"{}")[1:],
    "an unknown kind": b"\xff" + binary_frame(b"1", b"1", b"t", b"e", b"{}")[1:],
    "a topic that is not UTF-8": binary_frame(b"1", b"1", b"\xff", b"e", b"{}"),
    "a ref that is not UTF-8": binary_frame(b"1", b"\xc3", b"t", b"e", b"{}"),
    "a character cut between ref and topic": binary_frame(b"1", b"\xc3", b"\xa9", b"e", b"{}"),
    "a text frame": b'["1","1","t","e",{}]',
}


@pytest.mark.parametrize("frame", BAD_BINARY.values(), ids=BAD_BINARY)
def test_a_binary_frame_that_is_no_push_is_a_fault(frame: bytes) -> None:
    with pytest.raises(ProtocolFault) as caught:
        V2.decode_binary(frame)
    assert caught.value.code == 1007


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01\x02\xfd\xfe\xff", b"{", b'"\xff"', b'"\\ud800"', b"[" * 10_000 + b"]" * 10_000]
)
def test_binary_data_that_is_no_json_leaves_the_rest_of_the_push_readable(data: bytes) -> None:
    with pytest.raises(PayloadNotJson) as caught:
        V2.decode_binary(binary_frame(b"1", b"2", b"room:x", b"publish", data))
    assert caught.value.head == Message(b'"1"', b'"2"', "room:x", "publish", NULL)


def test_1_0_0_has_no_binary_frames() -> None:
    with pytest.raises(ProtocolFault) as caught:
        V1.decode_binary(binary_frame(b"1", b"1", b"t", b"e", b"{}"))
    assert caught.value.code == 1003


# --- out


@both
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_goes_into_every_frame_as_the_same_bytes(serializer: Serializer, payload: bytes) -> None:
    for frame in (
        serializer.encode_reply(b'"1"', b'"2"', "room:x", True, payload),
        serializer.encode_push(b'"1"', "room:x", "event", payload),
        serializer.encode_broadcast("room:x", "event", payload),
    ):
        assert payload in frame


def test_frames_of_2_0_0_are_arrays() -> None:
    topic = 'room:"é"\u2028'
    text = b'"room:\\"\xc3\xa9\\"\xe2\x80\xa8"'
    assert V2.encode_reply(b'"1"', b"2", topic, True, b"{}") == (
        b'["1",2,' + text + b',"phx_reply",{"status":"ok","response":{}}]'
    )
    assert V2.encode_reply(b"null", b"2", "t", False, b"[]") == (
        b'[null,2,"t","phx_reply",{"status":"error","response":[]}]'
    )
    assert V2.encode_push(b'"1"', topic, "presence_state", b"{}") == b'["1",null,' + text + b',"presence_state",{}]'
    assert V2.encode_broadcast(topic, "event", b"{}") == b"[null,null," + text + b',"event",{}]'
    assert V2.encode_end(b'"1"', topic, "phx_close") == b'["1","1",' + text + b',"phx_close",{}]'
    assert V2.encode_end(b"7", "t", "phx_error") == b'[7,7,"t","phx_error",{}]'


def test_frames_of_1_0_0_are_maps_without_join_ref() -> None:
    assert V1.encode_reply(b'"1"', b"2", "t", True, b"{}") == (
        b'{"topic":"t","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":2}'
    )
    assert V1.encode_push(b'"1"', "t", "presence_state", b"{}") == (
        b'{"topic":"t","event":"presence_state","payload":{},"ref":null}'
    )
    assert V1.encode_broadcast("t", "event", b"{}") == b'{"topic":"t","event":"event","payload":{},"ref":null}'
    assert V1.encode_end(b'"1"', "t", "phx_close") == b'{"topic":"t","event":"phx_close","payload":{},"ref":"1"}'


refs = st.none() | st.integers(-(10**30), 10**30) | st.text(st.characters(codec="utf-8"), max_size=20)
words = st.text(st.characters(codec="utf-8"), max_size=40)


@both
@given(join_ref=refs, ref=refs, topic=words, event=words)
@example(join_ref=0, ref="", topic="", event="")
def test_what_a_client_writes_with_any_json_writer_is_read(
    serializer: Serializer, join_ref: object, ref: object, topic: str, event: str
) -> None:
    parts = [json.dumps(part).encode() for part in (join_ref, ref, topic, event)]
    message = serializer.decode_text(text_frame(serializer, *parts, b"{}"))
    assert (message.topic, message.event) == (topic, event)
    assert json.loads(message.ref) == ref
    if serializer is V2:
        assert json.loads(message.join_ref) == join_ref


@given(
    join_ref=st.binary(max_size=255), ref=st.binary(max_size=255), topic=st.binary(max_size=255),
    event=st.binary(max_size=255), data=st.binary(),
)  # fmt: skip
def test_a_binary_push_is_cut_where_its_lengths_say(
    join_ref: bytes, ref: bytes, topic: bytes, event: bytes, data: bytes
) -> None:
    frame = binary_frame(join_ref, ref, topic, event, data)
    try:
        message = V2.decode_binary(frame)
    except ProtocolFault:
        assert not all(is_utf8(part) for part in (join_ref, ref, topic, event))
        return
    except PayloadNotJson as error:
        message = error.head
    else:
        assert message.payload == data
    assert (message.topic.encode(), message.event.encode()) == (topic, event)
    assert (json.loads(message.ref) or "").encode() == ref
