"""One client's Phoenix connection as a state machine: frames in, actions and frames out.

Owned by the plane, one per connection, sockets and long-poll sessions alike. It knows which topics are joined,
answers by itself what needs no decision (heartbeats, leaves, unmatched topics, unknown events), and asks for the
rest. It does not know who may do what, and never sees a broadcast: the plane sends those, built by the serializer.

Each topic has a state, moved by TRANSITIONS and by nothing else. Every push gets exactly one reply. A sub, once given
out in `JoinRequested`, ends by one of: `refused`, `end`, a `LeaveRequested`; what is said about it afterwards does
nothing. A reply that comes after its sub's end is still sent, with the join_ref of that sub.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

import msgspec

from polyglotd.model import Invalid, RateLimited, Refusal, Unavailable, UnknownEvent, UnmatchedTopic
from polyglotd.model.names import CHANNEL_BYTES_MAX
from polyglotd.protocol.message import NULL, Message, PayloadNotJson, ProtocolFault
from polyglotd.protocol.serializers import Serializer

PHOENIX_TOPIC = "phoenix"
CHANNEL_EVENTS = ("publish", "signal", "history", "presence", "presence_update", "access_token")

PUSHES_MAX = 256  # unanswered at once; a client that waits for replies has few
JOINS_MAX = 1024  # the same: a client rejoins all its channels at once after a reconnect

_RETRY_AFTER_MS = 1000
_EVENT_SHOWN_MAX = 64  # characters of an unknown event that come back in the message
_EMPTY = b"{}"

How = Literal["closed", "error"]


class State(Enum):
    """Of a topic on this connection."""

    CLOSED = auto()
    JOINING = auto()  # the join waits for its answer
    JOINED = auto()


class Input(Enum):
    JOIN = auto()  # from the client
    PUSH = auto()
    LEAVE = auto()
    ACCEPTED = auto()  # from the plane
    REFUSED = auto()
    ENDED = auto()


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.CLOSED: {
        Input.JOIN: State.JOINING,
        Input.PUSH: State.CLOSED,  # unmatched topic
        Input.LEAVE: State.CLOSED,  # ok: what was wanted is so
    },
    State.JOINING: {
        Input.JOIN: State.JOINING,  # the newer join is the one that counts; the older gets an error reply
        Input.PUSH: State.JOINING,  # unmatched topic
        Input.LEAVE: State.CLOSED,  # the join gets an error reply
        Input.ACCEPTED: State.JOINED,
        Input.REFUSED: State.CLOSED,
        Input.ENDED: State.CLOSED,  # the join gets an error reply
    },
    State.JOINED: {
        Input.JOIN: State.JOINING,  # a second join replaces the first
        Input.PUSH: State.JOINED,
        Input.LEAVE: State.CLOSED,
        Input.ENDED: State.CLOSED,
    },
}
"""What a pair that is not here means: the plane speaks of a sub that is not waiting any more. It does nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """A frame for the client. `refused`: the reason, where it is an error reply."""

    frame: bytes
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class JoinRequested:
    """Answer with `joined` or `refused`."""

    sub: int
    channel: str  # as sent, but not longer than a channel's name may be
    params: bytes  # JSON


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """The sub is over, joined or still waiting. Frames about it follow as `Send`."""

    sub: int
    channel: str
    why: Literal["leave", "replaced"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """One of CHANNEL_EVENTS on a joined channel. Answer with `reply`."""

    sub: int
    channel: str
    event: str
    payload: bytes  # JSON
    handle: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Close the connection with this code. The last action; what comes in afterwards is ignored."""

    code: int
    reason: str


Action = Send | JoinRequested | LeaveRequested | Pushed | Fault


@dataclass(slots=True)
class _Topic:
    name: str
    state: State = State.CLOSED
    sub: int = 0
    join_ref: bytes = NULL
    ref: bytes = NULL  # of the join
    owed: list[bytes] = field(
        default_factory=list
    )  # the phx_close of the sub that this join replaced; follows the join's reply


class PhoenixSocket:
    """`next_sub` and `next_handle` give numbers that are never given twice."""

    def __init__(
        self, serializer: Serializer, *, next_sub: Callable[[], int], next_handle: Callable[[], int]
    ) -> None:
        self.serializer = serializer
        self._next_sub = next_sub
        self._next_handle = next_handle
        self._topics: dict[str, _Topic] = {}  # those not CLOSED
        self._by_sub: dict[int, _Topic] = {}
        self._joining = 0
        self._waiting: dict[int, tuple[str, bytes, bytes]] = {}  # handle: topic, join_ref, ref of the push
        self._faulted = False

    # --- from the client

    def receive_text(self, frame: bytes) -> list[Action]:
        """Take a text frame. Never raises: what is no message becomes a `Fault`."""
        return self._receive(self.serializer.decode_text, frame)

    def receive_binary(self, frame: bytes) -> list[Action]:
        """Take a binary frame, in the same way."""
        return self._receive(self.serializer.decode_binary, frame)

    def _receive(self, decode: Callable[[bytes], Message], frame: bytes) -> list[Action]:
        if self._faulted:
            return []
        try:
            message = decode(frame)
        except ProtocolFault as fault:
            self._faulted = True
            return [Fault(fault.code, fault.reason)]
        except PayloadNotJson as error:
            refusal = Invalid("the data of a binary push is its payload as UTF-8 JSON", field="payload")
            return [self._refusal(self._join_ref(error.head.topic), error.head, refusal)]
        if message.event == "phx_join":
            return self._join(message)
        if message.event == "phx_leave":
            return self._leave(message)
        return [self._push(message)]

    def _join(self, message: Message) -> list[Action]:
        if message.topic == PHOENIX_TOPIC:
            return [self._refusal(NULL, message, _unmatched())]
        if len(message.topic) > CHANNEL_BYTES_MAX:  # refused here, so that what waits for an answer stays small
            too_long = Invalid(f"a channel has at most {CHANNEL_BYTES_MAX} bytes", field="channel")
            return [self._refusal(message.join_ref, message, too_long)]
        topic = self._topics.get(message.topic) or _Topic(message.topic)
        if self._joining >= JOINS_MAX and topic.state is not State.JOINING:
            return [self._refusal(message.join_ref, message, _too_many("joins"))]

        actions: list[Action] = []
        owed: list[bytes] = []
        if topic.state is not State.CLOSED:
            del self._by_sub[topic.sub]
            actions.append(LeaveRequested(topic.sub, topic.name, "replaced"))
        if topic.state is State.JOINING:
            actions += self._give_up(topic, "another phx_join of this topic came before the answer to this one")
        elif topic.state is State.JOINED:
            owed.append(self.serializer.encode_end(topic.join_ref, topic.name, "phx_close"))
        topic.sub, topic.join_ref, topic.ref, topic.owed = self._next_sub(), message.join_ref, message.ref, owed
        self._move(topic, Input.JOIN)
        actions.append(JoinRequested(topic.sub, topic.name, message.payload))
        return actions

    def _leave(self, message: Message) -> list[Action]:
        topic = self._topics.get(message.topic)
        if topic is None:
            return [Send(self.serializer.encode_reply(NULL, message.ref, message.topic, True, _EMPTY))]
        actions: list[Action] = [LeaveRequested(topic.sub, topic.name, "leave")]
        if topic.state is State.JOINING:
            actions += self._give_up(topic, "phx_leave came before the answer to this join")
        actions.append(Send(self.serializer.encode_reply(topic.join_ref, message.ref, topic.name, True, _EMPTY)))
        if topic.state is State.JOINED:
            actions.append(Send(self.serializer.encode_end(topic.join_ref, topic.name, "phx_close")))
        self._move(topic, Input.LEAVE)
        return actions

    def _push(self, message: Message) -> Action:
        if message.topic == PHOENIX_TOPIC and message.event == "heartbeat":
            return Send(self.serializer.encode_reply(NULL, message.ref, PHOENIX_TOPIC, True, _EMPTY))
        topic = self._topics.get(message.topic)
        if topic is None or topic.state is not State.JOINED:
            return self._refusal(NULL, message, _unmatched())
        self._move(topic, Input.PUSH)
        if message.event not in CHANNEL_EVENTS:
            shown = message.event[:_EVENT_SHOWN_MAX]
            refusal = UnknownEvent(f"{shown!r} is no event of a channel: those are {', '.join(CHANNEL_EVENTS)}")
            return self._refusal(topic.join_ref, message, refusal)
        if len(self._waiting) >= PUSHES_MAX:
            return self._refusal(topic.join_ref, message, _too_many("pushes"))
        handle = self._next_handle()
        self._waiting[handle] = (topic.name, topic.join_ref, message.ref)
        return Pushed(topic.sub, topic.name, message.event, message.payload, handle)

    # --- from the plane: each returns the frames to send, none where there is nothing to say

    def joined(self, sub: int, response: bytes) -> list[bytes]:
        """The join was accepted: its reply, then the phx_close of the sub that it replaced."""
        topic = self._by_sub.get(sub)
        if topic is None or not self._move(topic, Input.ACCEPTED):
            return []
        return self._answer_join(topic, True, response)

    def refused(self, sub: int, response: bytes) -> list[bytes]:
        """The join was refused: its reply, then the phx_close of the sub that it replaced all the same."""
        topic = self._by_sub.get(sub)
        if topic is None or not self._move(topic, Input.REFUSED):
            return []
        return self._answer_join(topic, False, response)

    def reply(self, handle: int, ok: bool, response: bytes) -> list[bytes]:
        """Answer a `Pushed`."""
        waiting = self._waiting.pop(handle, None)
        if waiting is None:
            return []
        topic, join_ref, ref = waiting
        return [self.serializer.encode_reply(join_ref, ref, topic, ok, response)]

    def push(self, sub: int, event: str, payload: bytes) -> list[bytes]:
        """A message to this member alone."""
        topic = self._by_sub.get(sub)
        if topic is None or topic.state is not State.JOINED:
            return []
        return [self.serializer.encode_push(topic.join_ref, topic.name, event, payload)]

    def end(self, sub: int, how: How) -> list[bytes]:
        """End a sub. A join that still waits is refused: clients try it again."""
        topic = self._by_sub.get(sub)
        if topic is None:
            return []
        before = topic.state
        self._move(topic, Input.ENDED)
        if before is State.JOINED:
            event: Literal["phx_close", "phx_error"] = "phx_close" if how == "closed" else "phx_error"
            return [self.serializer.encode_end(topic.join_ref, topic.name, event)]
        refusal = Unavailable("the channel ended while it was being joined", retry_after_ms=_RETRY_AFTER_MS)
        return self._answer_join(topic, False, _response(refusal))

    def state_of(self, sub: int) -> State:
        topic = self._by_sub.get(sub)
        return State.CLOSED if topic is None else topic.state

    def subs(self) -> list[int]:
        """Those that are joined, in the order of their joins."""
        return sorted(sub for sub, topic in self._by_sub.items() if topic.state is State.JOINED)

    # --- inside

    def _move(self, topic: _Topic, given: Input) -> bool:
        """Apply TRANSITIONS; False where it has no such pair."""
        before = topic.state
        after = TRANSITIONS[before].get(given)
        if after is None:
            return False
        self._joining += (after is State.JOINING) - (before is State.JOINING)
        topic.state = after
        if after is State.CLOSED:
            del self._topics[topic.name], self._by_sub[topic.sub]
        else:
            self._topics[topic.name] = self._by_sub[topic.sub] = topic
        return True

    def _answer_join(self, topic: _Topic, ok: bool, response: bytes) -> list[bytes]:
        owed, topic.owed = topic.owed, []
        return [self.serializer.encode_reply(topic.join_ref, topic.ref, topic.name, ok, response), *owed]

    def _give_up(self, topic: _Topic, why: str) -> list[Send]:
        """Answer a join that waits and never will be decided."""
        refusal = UnmatchedTopic(why)
        reply, *owed = self._answer_join(topic, False, _response(refusal))
        return [Send(reply, refusal.reason), *map(Send, owed)]

    def _join_ref(self, topic: str) -> bytes:
        found = self._topics.get(topic)
        return found.join_ref if found is not None and found.state is State.JOINED else NULL

    def _refusal(self, join_ref: bytes, message: Message, refusal: Refusal) -> Send:
        frame = self.serializer.encode_reply(join_ref, message.ref, message.topic, False, _response(refusal))
        return Send(frame, refusal.reason)


def _unmatched() -> UnmatchedTopic:
    return UnmatchedTopic("this topic is not joined on this connection")


def _too_many(what: str) -> RateLimited:
    return RateLimited(f"too many {what} of this connection wait for a reply", retry_after_ms=_RETRY_AFTER_MS)


def _response(refusal: Refusal) -> bytes:
    return msgspec.json.encode(refusal.as_reply())
