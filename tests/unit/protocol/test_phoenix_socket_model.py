"""The state machine beside a plain model: joins, leaves, pushes and answers in any order, in both serializers.

The model knows three things only: what has not been answered yet, who is joined or waits, and which joined subs have
been told of their end. Whatever comes out must settle something in it, and what it predicts must come out.
"""

import json
from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from polyglotd.protocol.phoenix_socket import (
    CHANNEL_EVENTS,
    JoinRequested,
    LeaveRequested,
    PhoenixSocket,
    Pushed,
    Send,
    State,
)
from polyglotd.protocol.serializers import serializer_for

topics = st.sampled_from(["room:a", "room:b"])
any_number = st.integers(0, 40)


@dataclass
class Sub:
    number: int
    topic: str
    join_ref: object
    joined: bool = False


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.refs = count(1)
        self.current: dict[str, Sub] = {}  # by topic: joined, or waiting
        self.unanswered: dict[object, object] = {}  # ref of a push or join: the join_ref that its reply is to have
        self.ends_owed: set[object] = set()  # join_refs of subs that were joined and are over
        self.replaced: dict[str, object] = {}  # by topic: the join_ref of the joined sub that a waiting join replaced
        self.handles: dict[int, object] = {}  # handle: ref

    @initialize(vsn=st.sampled_from(["1.0.0", "2.0.0"]), numeric=st.booleans())
    def connect(self, vsn: str, numeric: bool) -> None:
        self.vsn, self.numeric = vsn, numeric
        self.socket = PhoenixSocket(serializer_for(vsn), next_sub=count().__next__, next_handle=count().__next__)

    # --- the client

    def say(self, topic: str, event: str, join_ref: object, ref: object) -> list[object]:
        if self.vsn == "2.0.0":
            message: object = [join_ref, ref, topic, event, {}]
        else:
            message = {"topic": topic, "event": event, "payload": {}, "ref": ref, "join_ref": join_ref}
        actions = self.socket.receive_text(json.dumps(message).encode())
        self.frames([action.frame for action in actions if isinstance(action, Send)])
        return [action for action in actions if not isinstance(action, Send)]

    def new_ref(self) -> object:
        ref = next(self.refs)
        return ref if self.numeric else str(ref)

    @rule(topic=topics)
    def join(self, topic: str) -> None:
        ref = self.new_ref()
        before = self.current.get(topic)
        self.unanswered[ref] = ref
        if before is not None and not before.joined:
            self.ends_owed |= {self.replaced.pop(topic)} if topic in self.replaced else set()
        actions = self.say(topic, "phx_join", ref, ref)
        if before is not None:
            assert actions.pop(0) == LeaveRequested(before.number, topic, "replaced")
            if before.joined:
                self.replaced[topic] = before.join_ref
            else:
                assert before.join_ref not in self.unanswered
        (request,) = actions
        assert isinstance(request, JoinRequested)
        assert request.channel == topic
        self.current[topic] = Sub(request.sub, topic, ref)

    @rule(topic=topics)
    def leave(self, topic: str) -> None:
        ref = self.new_ref()
        sub = self.current.pop(topic, None)
        self.unanswered[ref] = sub.join_ref if sub else None
        if sub is not None and sub.joined:
            self.ends_owed.add(sub.join_ref)
        if topic in self.replaced:
            self.ends_owed.add(self.replaced.pop(topic))
        actions = self.say(topic, "phx_leave", None, ref)
        assert actions == ([LeaveRequested(sub.number, topic, "leave")] if sub else [])
        assert ref not in self.unanswered
        assert sub is None or sub.join_ref not in self.unanswered

    @rule(topic=topics, event=st.sampled_from([*CHANNEL_EVENTS, "nosuch"]), stale=st.none() | st.text(max_size=3))
    def push(self, topic: str, event: str, stale: str | None) -> None:
        ref = self.new_ref()
        sub = self.current.get(topic)
        joined = sub is not None and sub.joined
        self.unanswered[ref] = sub.join_ref if joined else None
        actions = self.say(topic, event, stale, ref)
        if joined and event in CHANNEL_EVENTS:
            (pushed,) = actions
            assert pushed == Pushed(sub.number, topic, event, b"{}", pushed.handle)
            assert ref in self.unanswered
            self.handles[pushed.handle] = ref
        else:
            assert not actions
            assert ref not in self.unanswered

    # --- the plane, which may speak of what is gone

    def sub_named(self, number: int) -> Sub | None:
        return next((sub for sub in self.current.values() if sub.number == number), None)

    @rule(number=any_number, accepted=st.booleans())
    def answer_join(self, number: int, accepted: bool) -> None:
        sub = self.sub_named(number)
        waits = sub is not None and not sub.joined
        frames = (self.socket.joined if accepted else self.socket.refused)(number, b"{}")
        if not waits:
            assert frames == []
            return
        if sub.topic in self.replaced:
            self.ends_owed.add(self.replaced.pop(sub.topic))
        self.frames(frames)
        assert sub.join_ref not in self.unanswered
        sub.joined = accepted
        if not accepted:
            del self.current[sub.topic]

    @rule(number=any_number, how=st.sampled_from(["closed", "error"]))
    def end(self, number: int, how: str) -> None:
        sub = self.sub_named(number)
        frames = self.socket.end(number, how)
        if sub is None:
            assert frames == []
            return
        del self.current[sub.topic]
        if sub.joined:
            self.ends_owed.add(sub.join_ref)
        if sub.topic in self.replaced:
            self.ends_owed.add(self.replaced.pop(sub.topic))
        self.frames(frames, end="phx_error" if how == "error" and sub.joined else "phx_close")
        assert sub.join_ref not in self.unanswered

    @rule(handle=any_number, ok=st.booleans())
    def answer_push(self, handle: int, ok: bool) -> None:
        frames = self.socket.reply(handle, ok, b"{}")
        ref = self.handles.pop(handle, None)
        self.frames(frames)
        assert len(frames) == (ref is not None)
        assert ref not in self.unanswered

    @rule(number=any_number)
    def tell(self, number: int) -> None:
        sub = self.sub_named(number)
        frames = self.socket.push(number, "presence_state", b"{}")
        assert len(frames) == (sub is not None and sub.joined)
        if frames and self.vsn == "2.0.0":
            assert json.loads(frames[0])[0] == sub.join_ref

    # --- what comes out

    def frames(self, frames: list[bytes], end: str = "phx_close") -> None:
        for frame in frames:
            message = json.loads(frame)
            if self.vsn == "1.0.0":
                assert message.keys() == {"topic", "event", "payload", "ref"}
                join_ref, ref, event = None, message["ref"], message["event"]
            else:
                join_ref, ref, _, event, _ = message
            if event == "phx_reply":
                expected = self.unanswered.pop(ref)  # KeyError: a second reply, or one to nothing
                if self.vsn == "2.0.0":
                    assert join_ref == expected
                continue
            assert event == end
            if self.vsn == "2.0.0":
                assert join_ref == ref
            self.ends_owed.remove(ref)  # KeyError: a second end, or one of a sub that is not over

    @invariant()
    def every_end_was_told_and_the_states_agree(self) -> None:
        if not hasattr(self, "socket"):
            return
        assert not self.ends_owed
        waiting = {sub.join_ref for sub in self.current.values() if not sub.joined}
        assert set(self.unanswered) == waiting | set(self.handles.values())
        for sub in self.current.values():
            assert self.socket.state_of(sub.number) is (State.JOINED if sub.joined else State.JOINING)
        assert self.socket.subs() == sorted(sub.number for sub in self.current.values() if sub.joined)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
