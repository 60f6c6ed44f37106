"""The state machine of a Phoenix connection: every pair of its table, and the replies with their refs."""

import json
from itertools import count

import pytest

from polyglotd.protocol.phoenix_socket import (
    CHANNEL_EVENTS,
    JOINS_MAX,
    PUSHES_MAX,
    TRANSITIONS,
    Action,
    Fault,
    Input,
    JoinRequested,
    LeaveRequested,
    PhoenixSocket,
    Pushed,
    Send,
    State,
)
from polyglotd.protocol.serializers import serializer_for

TOPIC = "room:x"


class Talk:
    """A 2.0.0 client and a plane on the two sides of a socket. Numbers start at 0, which is a sub like any other."""

    def __init__(self, vsn: str = "2.0.0") -> None:
        self.socket = PhoenixSocket(serializer_for(vsn), next_sub=count().__next__, next_handle=count().__next__)

    def say(self, join_ref: object, ref: object, topic: str, event: str, payload: object = None) -> list[Action]:
        return self.socket.receive_text(json.dumps([join_ref, ref, topic, event, payload or {}]).encode())

    def joining(self, ref: str = "1", topic: str = TOPIC) -> int:
        *_, action = self.say(ref, ref, topic, "phx_join")
        assert isinstance(action, JoinRequested)
        return action.sub

    def joined(self, ref: str = "1", topic: str = TOPIC) -> int:
        sub = self.joining(ref, topic)
        self.socket.joined(sub, b"{}")
        return sub


def told(output: list[Action] | list[bytes]) -> list[object]:
    """Frames as values; error replies without their message for people; other actions as they are."""
    seen: list[object] = []
    for item in output:
        if not isinstance(item, bytes | Send):
            seen.append(item)
            continue
        frame = json.loads(item.frame if isinstance(item, Send) else item)
        if frame[3] == "phx_reply" and frame[4]["status"] == "error":
            assert frame[4]["response"].pop("message")
            if isinstance(item, Send):
                assert item.refused == frame[4]["response"]["reason"]
        elif isinstance(item, Send):
            assert item.refused is None
        seen.append(frame)
    return seen


def reply(join_ref: object, ref: object, topic: str = TOPIC, **response: object) -> list[object]:
    return [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}]


def error(join_ref: object, ref: object, reason: str, topic: str = TOPIC, **details: object) -> list[object]:
    response = {"reason": reason, **details}
    return [join_ref, ref, topic, "phx_reply", {"status": "error", "response": response}]


def close(ref: object, event: str = "phx_close") -> list[object]:
    return [ref, ref, TOPIC, event, {}]


# --- the table

# What comes out where a topic is in a state and an input comes in. A topic that is not closed has sub 0 and join_ref
# "1"; the input's ref is "2".
OUTPUTS: dict[tuple[State, Input], list[object]] = {
    (State.CLOSED, Input.JOIN): [JoinRequested(0, TOPIC, b"{}")],
    (State.CLOSED, Input.PUSH): [error(None, "2", "unmatched topic")],
    (State.CLOSED, Input.LEAVE): [reply(None, "2")],
    (State.CLOSED, Input.ACCEPTED): [],
    (State.CLOSED, Input.REFUSED): [],
    (State.CLOSED, Input.ENDED): [],
    (State.JOINING, Input.JOIN): [
        LeaveRequested(0, TOPIC, "replaced"),
        error("1", "1", "unmatched topic"),
        JoinRequested(1, TOPIC, b"{}"),
    ],
    (State.JOINING, Input.PUSH): [error(None, "2", "unmatched topic")],
    (State.JOINING, Input.LEAVE): [
        LeaveRequested(0, TOPIC, "leave"),
        error("1", "1", "unmatched topic"),
        reply("1", "2"),
    ],
    (State.JOINING, Input.ACCEPTED): [reply("1", "1", seq=7)],
    (State.JOINING, Input.REFUSED): [error("1", "1", "forbidden")],
    (State.JOINING, Input.ENDED): [error("1", "1", "unavailable", retry_after_ms=1000)],
    (State.JOINED, Input.JOIN): [LeaveRequested(0, TOPIC, "replaced"), JoinRequested(1, TOPIC, b"{}")],
    (State.JOINED, Input.PUSH): [Pushed(0, TOPIC, "publish", b"{}", 0)],
    (State.JOINED, Input.LEAVE): [LeaveRequested(0, TOPIC, "leave"), reply("1", "2"), close("1")],
    (State.JOINED, Input.ACCEPTED): [],
    (State.JOINED, Input.REFUSED): [],
    (State.JOINED, Input.ENDED): [close("1")],
}


def arrive_at(talk: Talk, state: State) -> None:
    if state is not State.CLOSED:
        talk.joining("1")
    if state is State.JOINED:
        talk.socket.joined(0, b"{}")


def give(talk: Talk, given: Input) -> list[Action] | list[bytes]:
    match given:
        case Input.JOIN:
            return talk.say("2", "2", TOPIC, "phx_join")
        case Input.PUSH:
            return talk.say("1", "2", TOPIC, "publish")
        case Input.LEAVE:
            return talk.say("1", "2", TOPIC, "phx_leave")
        case Input.ACCEPTED:
            return talk.socket.joined(0, b'{"seq":7}')
        case Input.REFUSED:
            return talk.socket.refused(0, b'{"reason":"forbidden","message":"no"}')
        case Input.ENDED:
            return talk.socket.end(0, "closed")


@pytest.mark.parametrize(
    ("state", "given"), [(state, given) for state in State for given in Input], ids=lambda part: part.name
)
def test_an_input_in_a_state_gives_its_output_and_the_state_of_the_table(state: State, given: Input) -> None:
    talk = Talk()
    arrive_at(talk, state)
    assert told(give(talk, given)) == OUTPUTS[state, given]
    after = TRANSITIONS[state].get(given, state)
    sub = 1 if given is Input.JOIN and state is not State.CLOSED else 0
    assert talk.socket.state_of(sub) is after
    assert talk.socket.subs() == ([sub] if after is State.JOINED else [])


# --- joins


def test_a_join_goes_up_as_it_was_sent_and_is_answered_with_its_refs() -> None:
    talk = Talk()
    (action,) = talk.socket.receive_text(b'[4,"9","no colon at all","phx_join",{ "since" : 1e999 }]')
    assert action == JoinRequested(0, "no colon at all", b'{ "since" : 1e999 }')
    assert talk.socket.refused(0, b'{"reason":"invalid"}') == [
        b'[4,"9","no colon at all","phx_reply",{"status":"error","response":{"reason":"invalid"}}]'
    ]


def test_the_reply_to_a_second_join_comes_before_the_close_of_the_first() -> None:
    talk = Talk()
    first = talk.joined("1")
    second = talk.joining("2")
    assert talk.socket.subs() == []  # the first is over at once
    assert told(talk.socket.joined(second, b"{}")) == [reply("2", "2"), close("1")]
    assert talk.socket.end(first, "closed") == []
    assert talk.socket.subs() == [second]


def test_a_second_join_that_is_refused_has_ended_the_first_all_the_same() -> None:
    talk = Talk()
    talk.joined("1")
    second = talk.joining("2")
    frames = talk.socket.refused(second, b'{"reason":"forbidden","message":"no"}')
    assert told(frames) == [error("2", "2", "forbidden"), close("1")]
    assert told(talk.say("2", "3", TOPIC, "publish")) == [error(None, "3", "unmatched topic")]


@pytest.mark.parametrize("event", ["phx_join", "phx_leave"])
def test_a_replacing_join_that_is_given_up_still_pays_the_close_of_the_first(event: str) -> None:
    talk = Talk()
    talk.joined("1")
    second = talk.joining("2")
    actions = told(talk.say("3", "3", TOPIC, event))
    assert actions[1:3] == [error("2", "2", "unmatched topic"), close("1")]
    assert talk.socket.joined(second, b"{}") == []


def test_an_answer_to_a_join_that_was_given_up_does_nothing_to_the_next() -> None:
    talk = Talk()
    first, second = talk.joining("1"), talk.joining("2")
    assert talk.socket.joined(first, b"{}") == []
    assert talk.socket.refused(first, b"{}") == []
    assert talk.socket.end(first, "error") == []
    assert told(talk.socket.joined(second, b"{}")) == [reply("2", "2")]


def test_the_topic_phoenix_is_no_channel() -> None:
    talk = Talk()
    assert told(talk.say("1", "1", "phoenix", "phx_join")) == [error(None, "1", "unmatched topic", "phoenix")]
    assert told(talk.say(None, "2", "phoenix", "publish")) == [error(None, "2", "unmatched topic", "phoenix")]
    assert told(talk.say(None, "3", "phoenix", "phx_leave")) == [reply(None, "3", "phoenix")]


def test_a_heartbeat_is_answered_with_its_ref() -> None:
    talk = Talk()
    assert told(talk.say(None, "1", "phoenix", "heartbeat")) == [reply(None, "1", "phoenix")]
    assert told(talk.say(5, 6, "phoenix", "heartbeat")) == [reply(None, 6, "phoenix")]
    talk.joined()
    assert told(talk.say("1", "2", TOPIC, "heartbeat")) == [error("1", "2", "unknown_event")]


def test_a_topic_longer_than_any_channel_is_refused_without_asking() -> None:
    topic = "room:" + "x" * 10_000
    assert told(Talk().say("1", "1", topic, "phx_join")) == [error("1", "1", "invalid", topic, field="channel")]


def test_joins_that_wait_are_bounded() -> None:
    talk = Talk()
    talk.joined("0", "room:joined")
    for number in range(JOINS_MAX):
        talk.joining(str(number), f"room:{number}")
    limited = error("a", "a", "rate_limited", "room:one-more", retry_after_ms=1000)
    assert told(talk.say("a", "a", "room:one-more", "phx_join")) == [limited]
    talk.joining("b", "room:7")  # takes the place of one that waits
    assert told(talk.say("0", "c", "room:joined", "phx_join"))[0][4]["response"]["reason"] == "rate_limited"
    assert talk.socket.state_of(0) is State.JOINED
    talk.socket.joined(1, b"{}")
    talk.joining("d", "room:one-more")


# --- pushes


@pytest.mark.parametrize("event", CHANNEL_EVENTS)
def test_an_event_of_the_contract_goes_up_and_its_reply_comes_back(event: str) -> None:
    talk = Talk()
    sub = talk.joined()
    payload = b'{"type":"m", "data":12345678901234567890123}'
    (push,) = talk.socket.receive_text(b'["1",2,"room:x","%b",%b]' % (event.encode(), payload))
    assert push == Pushed(sub, TOPIC, event, payload, 0)
    assert talk.socket.reply(0, True, b'{"seq":1}') == [
        b'["1",2,"room:x","phx_reply",{"status":"ok","response":{"seq":1}}]'
    ]
    assert talk.socket.reply(0, True, b"{}") == []  # one reply each


@pytest.mark.parametrize("event", ["", "event", "phx_reply", "phx_close", "phx_error", "Publish", "nosuch", "\u0000"])
def test_any_other_event_gets_an_error_reply_and_the_channel_lives_on(event: str) -> None:
    talk = Talk()
    talk.joined()
    assert told(talk.say("1", "2", TOPIC, event)) == [error("1", "2", "unknown_event")]
    assert told(talk.say("1", "3", TOPIC, "publish")) == [Pushed(0, TOPIC, "publish", b"{}", 0)]


def test_a_long_unknown_event_does_not_come_back_whole() -> None:
    talk = Talk()
    talk.joined()
    (send,) = talk.say("1", "2", TOPIC, "e" * 60_000)
    assert isinstance(send, Send)
    assert len(send.frame) < 500


@pytest.mark.parametrize("join_ref", [None, "stale", 7])
def test_a_push_is_routed_by_topic_alone_and_the_reply_has_the_channels_join_ref(join_ref: object) -> None:
    talk = Talk()
    talk.joined("1")
    (push,) = talk.say(join_ref, "2", TOPIC, "publish")
    assert isinstance(push, Pushed)
    assert told(talk.socket.reply(push.handle, True, b"{}")) == [reply("1", "2")]


@pytest.mark.parametrize("event", ["phx_leave", "phx_join"])
def test_a_reply_that_comes_after_the_end_of_its_sub_has_that_subs_join_ref(event: str) -> None:
    talk = Talk()
    talk.joined("1")
    talk.say("1", "2", TOPIC, "history")
    talk.say("3", "3", TOPIC, event)
    assert told(talk.socket.reply(0, True, b"{}")) == [reply("1", "2")]


def test_pushes_that_wait_are_bounded() -> None:
    talk = Talk()
    talk.joined()
    for ref in range(PUSHES_MAX):
        talk.say("1", ref, TOPIC, "publish")
    limited = error("1", "x", "rate_limited", retry_after_ms=1000)
    assert told(talk.say("1", "x", TOPIC, "publish")) == [limited]
    talk.socket.reply(17, True, b"{}")
    assert told(talk.say("1", "y", TOPIC, "publish")) == [Pushed(0, TOPIC, "publish", b"{}", PUSHES_MAX)]


def binary_push(topic: bytes, event: bytes, data: bytes) -> bytes:
    return bytes([0, 1, 2, len(topic), len(event)]) + b"1" + b"22" + topic + event + data


def test_a_binary_push_is_a_push_and_its_reply_is_text() -> None:
    talk = Talk()
    talk.joined()
    (push,) = talk.socket.receive_binary(binary_push(b"room:x", b"publish", b'{"type":"m"}'))
    assert push == Pushed(0, TOPIC, "publish", b'{"type":"m"}', 0)
    assert talk.socket.reply(0, True, b"{}") == [b'["1","22","room:x","phx_reply",{"status":"ok","response":{}}]']


def test_binary_data_that_is_no_json_gets_an_error_reply_and_the_channel_lives_on() -> None:
    talk = Talk()
    frame = binary_push(b"room:x", b"publish", b"\x00\xff")
    assert told(talk.socket.receive_binary(frame)) == [error(None, "22", "invalid", field="payload")]
    talk.joined("9")
    assert told(talk.socket.receive_binary(frame)) == [error("9", "22", "invalid", field="payload")]
    assert told(talk.say("9", "3", TOPIC, "publish")) == [Pushed(0, TOPIC, "publish", b"{}", 0)]


# --- from the plane


def test_a_message_to_one_member_has_its_join_ref() -> None:
    talk = Talk()
    sub = talk.joining("1")
    assert talk.socket.push(sub, "presence_state", b"{}") == []  # not before the join's reply
    talk.socket.joined(sub, b"{}")
    assert told(talk.socket.push(sub, "presence_state", b"{}")) == [["1", None, TOPIC, "presence_state", {}]]
    talk.socket.end(sub, "closed")
    assert talk.socket.push(sub, "presence_state", b"{}") == []


def test_an_error_end_is_told_as_phx_error_once() -> None:
    talk = Talk()
    sub = talk.joined("1")
    assert told(talk.socket.end(sub, "error")) == [close("1", "phx_error")]
    assert talk.socket.end(sub, "error") == []
    assert told(talk.say("1", "2", TOPIC, "publish")) == [error(None, "2", "unmatched topic")]


def test_subs_are_those_joined_in_the_order_of_their_joins() -> None:
    talk = Talk()
    a, b, c = (talk.joining(topic, topic) for topic in ("room:a", "room:b", "room:c"))
    talk.socket.joined(c, b"{}")
    talk.socket.joined(a, b"{}")
    assert talk.socket.subs() == [a, c]
    assert talk.socket.state_of(b) is State.JOINING


# --- faults and the other serializer


def test_after_a_fault_nothing_is_read_any_more() -> None:
    talk = Talk()
    talk.joined()
    (fault,) = talk.socket.receive_text(b"{not json")
    assert isinstance(fault, Fault)
    assert fault.code == 1007
    assert talk.say(None, "1", "phoenix", "heartbeat") == []
    assert talk.socket.receive_binary(b"") == []


def test_a_binary_frame_in_1_0_0_is_a_fault() -> None:
    (fault,) = Talk("1.0.0").socket.receive_binary(binary_push(b"t", b"e", b"{}"))
    assert fault == Fault(1003, "serializer 1.0.0 has no binary frames")


def test_in_1_0_0_the_close_has_the_join_ref_in_its_ref() -> None:
    talk = Talk("1.0.0")
    push = b'{"topic":"room:x","event":"%b","payload":{},"ref":"%b","join_ref":"2"}'
    talk.socket.receive_text(push % (b"phx_join", b"2"))
    talk.socket.joined(0, b"{}")
    _, left, closed = talk.socket.receive_text(push % (b"phx_leave", b"5"))
    assert left == Send(b'{"topic":"room:x","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"5"}')
    assert closed == Send(b'{"topic":"room:x","event":"phx_close","payload":{},"ref":"2"}')


def test_in_1_0_0_a_client_without_join_refs_can_tell_which_join_was_closed() -> None:
    talk = Talk("1.0.0")
    for ref in (1, 2):
        talk.socket.receive_text(b'{"topic":"room:x","event":"phx_join","payload":{},"ref":%d}' % ref)
        frames = talk.socket.joined(ref - 1, b"{}")
    assert frames[1] == b'{"topic":"room:x","event":"phx_close","payload":{},"ref":1}'
