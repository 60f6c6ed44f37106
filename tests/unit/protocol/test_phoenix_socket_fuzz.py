"""Any bytes at all: the state machine answers or faults once, and never raises."""

import json
import os
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglotd.protocol.phoenix_socket import Fault, JoinRequested, PhoenixSocket, Pushed, Send
from polyglotd.protocol.serializers import serializer_for

EXAMPLES = 3_000 if os.environ.get("POLYGLOT_TEST_FULL") else 200

# Scraps that are nearly messages reach further in than random bytes do.
scraps = st.sampled_from(
    [
        b'["1","1",',
        b'"room:x",',
        b'"phx_join",',
        b'"phx_leave"',
        b'"publish",',
        b"{}]",
        b"null,",
        b"1e999",
        b'"\\ud800"',
        b'{"topic":"room:x",',
        b'"event":"phx_join",',
        b'"payload":{},',
        b'"ref":"1"}',
        b'"ref":1,',
        b"\xff",
        b"[" * 2000,
        b"\x00\x01\x01\x06\x08",
        b"11room:x",
        b"phx_join",
        b'"phoenix","heartbeat"',
        b"\x00\x00\x00\x07\x09phoenixheartbeat{}",
    ]
)
frames = st.binary(max_size=60) | st.lists(scraps, max_size=8).map(b"".join)
messages = st.builds(
    lambda refs, topic, event, payload: json.dumps([*refs, topic, event, payload]).encode(),
    st.tuples(*[st.none() | st.text(max_size=2) | st.integers()] * 2),
    st.sampled_from(["room:x", "room:y", "phoenix", ""]),
    st.sampled_from(["phx_join", "phx_leave", "publish", "heartbeat", "nosuch"]),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(frames | messages, st.booleans()), max_size=12))
def test_any_frames_give_actions_or_one_fault(vsn: str, received: list[tuple[bytes, bool]]) -> None:
    socket = PhoenixSocket(serializer_for(vsn), next_sub=count().__next__, next_handle=count().__next__)
    faulted = False
    for frame, binary in received:
        actions = socket.receive_binary(frame) if binary else socket.receive_text(frame)
        assert bool(actions) is not faulted
        sent = [action.frame for action in actions if isinstance(action, Send)]
        for action in actions:
            match action:
                case Fault(code, reason):
                    assert actions == [action]
                    assert code in (1003, 1007)
                    assert len(reason.encode()) <= 123
                    faulted = True
                case JoinRequested(sub):
                    sent += socket.joined(sub, b"{}")
                case Pushed(handle=handle):
                    sent += socket.reply(handle, True, b"{}")
        for text in sent:
            json.loads(text.decode())
