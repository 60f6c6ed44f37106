"""JSON as text: what is refused, and that the rest comes out as it went in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.protocol.json_text import NoObject, NotJson, RepeatedKey, check_json, member_counts, members

NO_JSON = {
    "nothing": b"",
    "only space": b" ",
    "cut short": b'{"a":1',
    "trailing bytes": b"{}x",
    "trailing comma": b"[1,]",
    "not a number": b"NaN",
    "leading zero": b"01",
    "a byte order mark": b"\xef\xbb\xbf1",
    "a control character in a string": b'"\x01"',
    "invalid UTF-8 in a string": b'"\xff"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "half a surrogate pair": b'"\\ud800"',
    "surrogates in the wrong order": b'"\\udc00\\ud800"',
    "10,000 open brackets": b"[" * 10_000,
    "10,000 brackets, closed": b"[" * 10_000 + b"]" * 10_000,
    "10,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}

KEPT = [
    b"1e999",
    b"-0",
    b"1.10",
    b"12345678901234567890123",
    b'{"a":1,"a":2}',
    b'{ "b" : [ ] ,\r\n\t"a":{}}',
    b'"\\u0041\\ud83d\\ude00 \xe2\x80\xa8"',
    b"null",
    b"[" * 500 + b"]" * 500,
]


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        check_json(text)


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_a_member_that_is_no_json_spoils_its_object(text: bytes) -> None:
    with pytest.raises(NotJson):
        members(b'{"a":' + text + b"}")


@pytest.mark.parametrize("text", KEPT)
def test_a_value_keeps_its_own_text(text: bytes) -> None:
    check_json(text)
    assert members(b'{"x": ' + text + b' ,"y":1}') == {"x": text, "y": b"1"}


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null", b'[{"a":1}]'])
def test_what_is_no_object_has_no_members(text: bytes) -> None:
    with pytest.raises(NoObject):
        members(text)


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":1}', b'{"a":1,"b":2,"\\u0061":3}', b'{"":1,"":2}'], ids=["plain", "escaped", "empty"]
)
def test_a_repeated_key_is_refused(text: bytes) -> None:
    with pytest.raises(RepeatedKey):
        members(text)


def test_members_are_counted_as_often_as_they_are_written() -> None:
    assert member_counts(b'[{"a":1,"b":{"c":1}}, {}, {"a":1,"\\u0061":1,"a":2}]') == [2, 0, 3]


@given(st.dictionaries(st.text(), st.sampled_from(KEPT)), st.booleans())
def test_members_are_those_that_were_written(value: dict[str, bytes], ascii_only: bool) -> None:
    names = [json.dumps(name, ensure_ascii=ascii_only).encode() for name in value]
    text = b",".join(b"%b:%b" % member for member in zip(names, value.values(), strict=True))
    assert members(b"{%b}" % text) == value


@given(st.binary())
def test_members_of_any_bytes_are_found_or_refused(text: bytes) -> None:
    try:
        found = members(text)
    except (NotJson, NoObject, RepeatedKey):
        return
    assert found.keys() == json.loads(text).keys()
