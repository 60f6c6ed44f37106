"""Server-sent events, tails and their cursor: what a reader of the stream gets back out of the frames."""

import json

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.protocol import sse, tail
from polyglotd.protocol.cursor import SEQ_MAX, format_cursor, parse_cursor

epochs = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=1, max_size=10)
seqs = st.integers(0, SEQ_MAX)
gaps = st.text(" \t\r\n", max_size=4).map(str.encode)  # what JSON allows between its tokens
strings = st.text(st.characters(codec="utf-8"))


def read(*frames: bytes) -> list[ServerSentEvent]:
    """As a client library reads it."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(frames))
    return list(EventSource(response).iter_sse())


def test_an_event_has_its_cursor_as_id_and_no_name() -> None:
    assert sse.encode_event("k3v9", 57, b'{"seq":57}') == b'id: k3v9:57\ndata: {"seq":57}\n\n'


@given(epoch=epochs, seq=seqs, gap=gaps)
def test_line_ends_in_an_envelope_do_not_cut_the_event(epoch: str, seq: int, gap: bytes) -> None:
    envelope = b'{"data":%b[%b1 ,2%b]%b}' % (gap, gap, gap, gap)
    first, second = read(sse.encode_event(epoch, seq, envelope), sse.encode_event(epoch, seq, b"1"))
    assert json.loads(first.data) == json.loads(envelope)
    assert (first.event, second.data) == ("message", "1")
    assert sse.parse_last_event_id(first.id) == (epoch, seq)


@given(text=strings)
def test_text_in_an_envelope_arrives_unchanged(text: str) -> None:
    envelope = json.dumps({"data": text}, ensure_ascii=False).encode()
    (event,) = read(sse.encode_event("e", 1, envelope))
    assert event.data.encode() == envelope


def test_a_reset_is_named_and_leaves_the_last_id_as_it_was() -> None:
    _, reset = read(sse.encode_event("old", 9, b"1"), sse.encode_reset("new", 3))
    assert (reset.event, json.loads(reset.data), reset.id) == ("reset", {"epoch": "new", "seq": 3}, "old:9")


@given(code=strings, message=strings)
def test_a_notice_is_an_event_named_system(code: str, message: str) -> None:
    (notice,) = read(sse.encode_notice(code, message))
    assert (notice.event, json.loads(notice.data)) == ("system", {"code": code, "message": message})


def test_keep_alives_are_seen_by_nobody() -> None:
    event = sse.encode_event("e", 1, b"1")
    assert [seen.data for seen in read(sse.KEEP_ALIVE, event, sse.KEEP_ALIVE, sse.KEEP_ALIVE, event)] == ["1", "1"]


@given(epoch=epochs, seq=seqs, text=strings)
def test_a_tail_message_holds_the_event_and_its_cursor(epoch: str, seq: int, text: str) -> None:
    envelope = json.dumps({"data": text}, ensure_ascii=False).encode()
    frame = tail.encode_event(epoch, seq, envelope)
    message = json.loads(frame)
    assert message == {"event": {"data": text}, "cursor": format_cursor(epoch, seq)}
    assert envelope in frame
    assert parse_cursor(message["cursor"]) == (epoch, seq)


@given(code=strings, message=strings)
def test_a_tail_notice_has_code_and_message(code: str, message: str) -> None:
    assert json.loads(tail.encode_notice(code, message)) == {"notice": {"code": code, "message": message}}


def test_a_tail_that_can_not_resume_says_so() -> None:
    notice = json.loads(tail.encode_reset("k3v9", 57))["notice"]
    assert notice["code"] == "reset"
    assert "k3v9:57" in notice["message"]


@pytest.mark.parametrize(
    "text",
    ["", ":", "57", "e:", ":57", "e:-1", "e:1.0", "e:57:1", "e 1:57", "e:٣", "é:1", "e:1\n", "e" * 65 + ":1"],
)
def test_what_is_no_cursor_is_told_apart(text: str) -> None:
    assert parse_cursor(text) is None


@pytest.mark.parametrize("digits", [str(SEQ_MAX + 1), "9" * 5000])
def test_a_seq_beyond_any_is_no_cursor(digits: str) -> None:
    assert parse_cursor(f"e:{digits}") is None


def test_a_last_event_id_may_have_space_round_it() -> None:
    assert sse.parse_last_event_id(" e:7 ") == ("e", 7)
    assert sse.parse_last_event_id("") is None
