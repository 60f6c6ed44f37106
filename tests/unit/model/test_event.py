"""The event's envelope: section 2 of the contract, byte for byte where it says so."""

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import Event, encode_event, encode_signal, format_ts

TS_US = 1_795_421_730_123_456
EVENT = Event("evt_1", "chat-app", "room:lobby", "ep0ch", 57, "message", b'{"text": "Hello"}', "user123", TS_US)
UTC = datetime.UTC


def test_the_envelope_is_that_of_the_contract() -> None:
    assert encode_event(EVENT) == (
        b'{"id":"evt_1","app_id":"chat-app","channel":"room:lobby","type":"message","data":{"text": "Hello"},'
        b'"seq":57,"meta":{"user_id":"user123","ts":"2026-11-23T08:15:30.123456Z"}}'
    )


def test_the_epoch_is_there_only_where_it_is_asked_for() -> None:
    with_epoch = json.loads(encode_event(EVENT, with_epoch=True))
    assert with_epoch == json.loads(encode_event(EVENT)) | {"epoch": "ep0ch"}


def test_an_event_of_no_user_says_null() -> None:
    event = msgspec.structs.replace(EVENT, user_id=None)
    assert json.loads(encode_event(event))["meta"]["user_id"] is None


@pytest.mark.parametrize("user_id", ["user123", None])
def test_a_signal_is_the_envelope_without_id_and_seq(user_id: str | None) -> None:
    event = json.loads(encode_event(msgspec.structs.replace(EVENT, user_id=user_id)))
    signal = json.loads(encode_signal("chat-app", "room:lobby", "message", EVENT.data, user_id, TS_US))
    assert signal == {name: value for name, value in event.items() if name not in ("id", "seq")}


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"1e999",
        b"1.10",
        b"12345678901234567890123",
        b'{"b":1,"a":2,"b":3}',
        b" [ 1 ,\n2 ] ",
        rb'"\u0041\ud83d\ude00\/"',
        '"ünï\u2028"'.encode(),
        b"[" * 10_000 + b"]" * 10_000,
    ],
)
def test_data_passes_through_byte_for_byte(data: bytes) -> None:
    assert b'"data":%b,"seq":' % data in encode_event(msgspec.structs.replace(EVENT, data=data))
    assert b'"data":%b,"meta":' % data in encode_signal("app", "room:a", "typing", data, "ann", TS_US)


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(channel=NAMES, user_id=st.none() | NAMES, type_=NAMES, data=JSON_VALUES, ascii_only=st.booleans())
def test_any_text_in_any_field_makes_an_envelope_that_says_the_same(
    channel: str, user_id: str | None, type_: str, data: object, ascii_only: bool
) -> None:
    raw = json.dumps(data, ensure_ascii=ascii_only).encode()
    event = Event("id-1", "app", channel, "e", 3, type_, raw, user_id, TS_US)
    assert json.loads(encode_event(event, with_epoch=True)) == {
        "id": "id-1",
        "app_id": "app",
        "channel": channel,
        "type": type_,
        "data": data,
        "seq": 3,
        "epoch": "e",
        "meta": {"user_id": user_id, "ts": "2026-11-23T08:15:30.123456Z"},
    }


@given(
    st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31), timezones=st.just(UTC)),
)
def test_times_are_rfc_3339_with_six_digits(when: datetime.datetime) -> None:
    us = (when - datetime.datetime(1970, 1, 1, tzinfo=UTC)) // datetime.timedelta(microseconds=1)
    assert format_ts(us) == when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@given(data=st.binary(max_size=20), user_id=st.none() | NAMES, ts_us=st.integers(0, 1 << 62))
def test_an_event_survives_msgpack(data: bytes, user_id: str | None, ts_us: int) -> None:
    event = Event("id", "app", "room:a", "e", 1, "t", data, user_id, ts_us)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event
