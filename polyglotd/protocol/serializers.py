"""The two Phoenix serializers: frames to messages, and replies, pushes and broadcasts to frames.

Called by `phoenix_socket` to read and by the plane to build frames: a broadcast is built once per serializer, not
once per member. 1.0.0 speaks maps, 2.0.0 arrays and, from client to server, binary pushes; the server answers in
text. Payloads and refs are JSON text and pass through unchanged.
"""

import re
from typing import Literal, Protocol

import msgspec
from msgspec import Raw

from polyglotd.protocol.json_text import (
    NoObject,
    NotJson,
    RepeatedKey,
    check_json,
    decode_checked,
    encode_str,
    members,
)
from polyglotd.protocol.message import NULL, Message, PayloadNotJson, ProtocolFault

EndEvent = Literal["phx_close", "phx_error"]

UNSUPPORTED_DATA = 1003  # RFC 6455, 7.4.1
INVALID_PAYLOAD_DATA = 1007

REF_BYTES_MAX = 256  # of JSON text: a socket keeps the refs of what it has not answered yet
BINARY_PUSH = 0  # the first byte of the only binary frame that clients send
BINARY_HEAD_BYTES = 5  # kind, and a length each of join_ref, ref, topic, event

_INTEGER = re.compile(rb"-?[0-9]+")


class UnknownSerializer(ValueError):
    """A `vsn` that is neither 1.0.0 nor 2.0.0: the connection is refused with 403."""


class Serializer(Protocol):
    """Every method is pure. What is given to the `encode_*` as JSON text (refs, payloads) is not checked again."""

    version: str

    def decode_text(self, frame: bytes) -> Message:
        """Raises ProtocolFault (1007)."""

    def decode_binary(self, frame: bytes) -> Message:
        """Raises ProtocolFault (1007; 1003 where the serializer has no binary frames), PayloadNotJson."""

    def encode_reply(self, join_ref: bytes, ref: bytes, topic: str, ok: bool, response: bytes) -> bytes: ...

    def encode_push(self, join_ref: bytes, topic: str, event: str, payload: bytes) -> bytes:
        """To one member."""

    def encode_broadcast(self, topic: str, event: str, payload: bytes) -> bytes:
        """To every member: the same frame for all that speak this serializer."""

    def encode_end(self, join_ref: bytes, topic: str, event: EndEvent) -> bytes:
        """The end of the subscription that was joined with `join_ref`; clients drop it where that is not current."""


class V1:
    """1.0.0: `{"topic", "event", "payload", "ref"}`, and from clients an optional `join_ref` that never goes back."""

    version: str = "1.0.0"

    def decode_text(self, frame: bytes) -> Message:
        try:
            envelope = members(frame)
        except NotJson as error:
            raise _fault(f"the frame is {error}") from None
        except NoObject:
            raise _fault("a message of serializer 1.0.0 is a JSON object") from None
        except RepeatedKey:
            raise _fault("the message names a key twice") from None
        try:
            topic, event = _text(envelope["topic"]), _text(envelope["event"])
            ref, payload = _ref(envelope["ref"]), envelope["payload"]
        except KeyError:
            raise _fault("the message lacks topic, event, payload or ref") from None
        join_ref = _ref(envelope.get("join_ref", NULL))
        if event == "phx_join" and join_ref == NULL:
            join_ref = ref  # clients that know no join_ref know the channel by the ref of its join
        return Message(join_ref, ref, topic, event, payload)

    def decode_binary(self, frame: bytes) -> Message:  # noqa: ARG002
        raise ProtocolFault(UNSUPPORTED_DATA, "serializer 1.0.0 has no binary frames")

    def encode_reply(self, join_ref: bytes, ref: bytes, topic: str, ok: bool, response: bytes) -> bytes:  # noqa: ARG002
        return b'{"topic":%b,"event":"phx_reply","payload":{"status":"%b","response":%b},"ref":%b}' % (
            encode_str(topic),
            b"ok" if ok else b"error",
            response,
            ref,
        )

    def encode_push(self, join_ref: bytes, topic: str, event: str, payload: bytes) -> bytes:  # noqa: ARG002
        return self.encode_broadcast(topic, event, payload)

    def encode_broadcast(self, topic: str, event: str, payload: bytes) -> bytes:
        return b'{"topic":%b,"event":%b,"payload":%b,"ref":null}' % (encode_str(topic), encode_str(event), payload)

    def encode_end(self, join_ref: bytes, topic: str, event: EndEvent) -> bytes:
        return b'{"topic":%b,"event":"%b","payload":{},"ref":%b}' % (encode_str(topic), event.encode(), join_ref)


class V2:
    """2.0.0: `[join_ref, ref, topic, event, payload]`, and binary pushes."""

    version: str = "2.0.0"

    _envelope = msgspec.json.Decoder(tuple[Raw, Raw, str, str, Raw])

    def decode_text(self, frame: bytes) -> Message:
        try:
            join_ref, ref, topic, event, payload = decode_checked(self._envelope, frame)
        except NotJson as error:
            raise _fault(f"the frame is {error}") from None
        except msgspec.ValidationError:
            raise _fault("a message of serializer 2.0.0 is [join_ref, ref, topic, event, payload]") from None
        return Message(_ref(bytes(join_ref)), _ref(bytes(ref)), topic, event, bytes(payload))

    def decode_binary(self, frame: bytes) -> Message:
        """`0, len(join_ref), len(ref), len(topic), len(event)` (a byte each), then those four, then the data."""
        if len(frame) < BINARY_HEAD_BYTES or frame[0] != BINARY_PUSH:
            raise _fault("a binary frame from a client is a push, its first byte 0")
        texts, start = [], BINARY_HEAD_BYTES
        for size in frame[1:BINARY_HEAD_BYTES]:
            texts.append(frame[start : start + size])
            start += size
        if start > len(frame):
            raise _fault("the binary frame is shorter than its lengths say")
        try:
            join_ref, ref, topic, event = (text.decode() for text in texts)
        except UnicodeDecodeError:
            raise _fault("the head of the binary frame is not UTF-8") from None
        data = frame[start:]
        head = Message(_binary_ref(join_ref), _binary_ref(ref), topic, event, NULL)
        try:
            check_json(data)
        except NotJson:
            raise PayloadNotJson(head) from None
        return msgspec.structs.replace(head, payload=data)

    def encode_reply(self, join_ref: bytes, ref: bytes, topic: str, ok: bool, response: bytes) -> bytes:
        return b'[%b,%b,%b,"phx_reply",{"status":"%b","response":%b}]' % (
            join_ref,
            ref,
            encode_str(topic),
            b"ok" if ok else b"error",
            response,
        )

    def encode_push(self, join_ref: bytes, topic: str, event: str, payload: bytes) -> bytes:
        return b"[%b,null,%b,%b,%b]" % (join_ref, encode_str(topic), encode_str(event), payload)

    def encode_broadcast(self, topic: str, event: str, payload: bytes) -> bytes:
        return self.encode_push(NULL, topic, event, payload)

    def encode_end(self, join_ref: bytes, topic: str, event: EndEvent) -> bytes:
        return b'[%b,%b,%b,"%b",{}]' % (join_ref, join_ref, encode_str(topic), event.encode())


_SERIALIZERS: dict[str, Serializer] = {make.version: make for make in (V1(), V2())}


def serializer_for(vsn: str | None) -> Serializer:
    """The serializer that a client's `vsn` asks for; absent means 1.0.0. Raises UnknownSerializer."""
    found = _SERIALIZERS.get("1.0.0" if vsn is None else vsn)
    if found is None:
        raise UnknownSerializer("vsn is 1.0.0 or 2.0.0")
    return found


def _fault(reason: str) -> ProtocolFault:
    return ProtocolFault(INVALID_PAYLOAD_DATA, reason)


def _ref(text: bytes) -> bytes:
    if text != NULL and text[:1] != b'"' and not _INTEGER.fullmatch(text):
        raise _fault("a ref is a string, an integer or null")
    if len(text) > REF_BYTES_MAX:
        raise _fault(f"a ref has at most {REF_BYTES_MAX} bytes")
    return text


def _binary_ref(text: str) -> bytes:
    return encode_str(text) if text else NULL


def _text(value: bytes) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.ValidationError:
        raise _fault("topic and event are strings") from None
