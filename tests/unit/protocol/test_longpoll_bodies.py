"""The bodies of long-poll: statuses, frames in strings, lines, base64, and whose token is whose."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.protocol.longpoll import (
    FAILED,
    GONE,
    NDJSON,
    REFUSED,
    TAKEN,
    Posted,
    Tokens,
    opened,
    polled,
    posted,
    split_tokens,
)

BINARY = b"\x00\x01\x01\x01\x0111te{}"
BASE64 = base64.b64encode(BINARY)


def test_statuses_stand_in_the_body() -> None:
    assert [json.loads(body) for body in (TAKEN, REFUSED, GONE, FAILED)] == [
        {"status": 200},
        {"status": 403},
        {"status": 410},
        {"status": 500},
    ]
    assert json.loads(opened('a"b')) == {"status": 410, "token": 'a"b', "messages": []}
    assert json.loads(polled("s", [])) == {"status": 204, "token": "s", "messages": []}


@given(st.lists(st.text(st.characters(codec="utf-8")).map(str.encode), min_size=1))
def test_frames_come_as_strings_in_order(frames: list[bytes]) -> None:
    body = json.loads(polled("s", frames))
    assert body == {"status": 200, "token": "s", "messages": [frame.decode() for frame in frames]}


@pytest.mark.parametrize("content_type", [NDJSON, "Application/X-NDJSON; charset=utf-8"])
def test_ndjson_has_a_frame_a_line_and_blank_lines_are_none(content_type: str) -> None:
    body = b'["1","1","t","e",{}]\r\n\n  \n{"topic":"t"}\n'
    assert posted(body, content_type) == [Posted([b'["1","1","t","e",{}]', b'{"topic":"t"}'], binary=False)]


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
def test_a_body_of_another_type_is_one_frame_whatever_its_lines(content_type: str | None) -> None:
    body = b'["1","1","t","e",\n{}]'
    assert posted(body, content_type) == [Posted([body], binary=False)]
    assert posted(b"", content_type) == []


def test_line_ends_of_other_alphabets_do_not_cut_a_frame() -> None:
    frame = '["1","1","t","e",\r{"a":"\u2028\u0085"}]'.encode()
    assert posted(frame, NDJSON) == [Posted([frame], binary=False)]


def test_binary_frames_are_base64_and_runs_of_one_sort_stay_together() -> None:
    body = b"\n".join([b"[1]", b"[2]", BASE64, BASE64, b"{}"])
    assert posted(body, NDJSON) == [
        Posted([b"[1]", b"[2]"], binary=False),
        Posted([BINARY, BINARY], binary=True),
        Posted([b"{}"], binary=False),
    ]
    assert posted(BASE64, None) == [Posted([BINARY], binary=True)]


@pytest.mark.parametrize("line", [b"%%%", b"abc", b"a=bc", b"\xff\xfe", b'"text"', b"AA==AA=="])
def test_a_line_that_is_neither_a_message_nor_base64_stays_text(line: bytes) -> None:
    assert posted(line, NDJSON) == [Posted([line], binary=False)]


@given(st.binary(), st.none() | st.sampled_from([NDJSON, "application/json"]))
def test_any_body_is_cut_into_frames(body: bytes, content_type: str | None) -> None:
    assert all(run.frames for run in posted(body, content_type))


@pytest.mark.parametrize(
    ("tokens", "user", "session"),
    [
        ([], None, None),
        (["jwt"], "jwt", None),
        (["s1"], None, "s1"),
        (["jwt", "s1"], "jwt", "s1"),
        (["jwt", "gone"], "jwt", None),
        (["gone"], "gone", None),
        (["jwt", "between", "s1"], "jwt", "s1"),
        (["s1", "s1"], "s1", "s1"),
        (["s1", "gone"], "s1", None),
    ],
)
def test_the_first_token_is_the_users_and_the_last_the_sessions(
    tokens: list[str], user: str | None, session: str | None
) -> None:
    assert split_tokens(tokens, lambda token: token == "s1") == Tokens(user, session)
