"""What Polyglot does otherwise than the recorded Phoenix, each with its reason, and the recordings retold with it.

The recordings (`*.json`, one scenario each, as they were taken from Phoenix 1.7.21) are never edited. The recorded
channel had events of its own (`echo`, `shout`, `crash`, `stop`); ours has those of the contract. So frames are
compared by shape, refs and order: `our_steps` retells a recording with our events, `matches` compares a frame with a
retold one. Both the replay on the state machine and the one over real sockets use this table.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Step = dict[str, Any]

HERE = Path(__file__).parent

APP = "chat-app"
SESSION = "{session}"
"""Stands in our paths and bodies for the token of the long-poll session that was opened."""


@dataclass(frozen=True)
class OurEvent:
    """An event of ours that does what a recorded one did."""

    name: str
    payload: Callable[[Any], Any]
    reason: str
    arrives: str | None = None  # the name under which members get it; its payload holds at least what was pushed
    extra_reply: bool = False  # ours replies where the recorded channel did not


def _as_publish(payload: Any) -> Any:
    return payload if isinstance(payload, dict) and "type" in payload else {"type": "m", "data": payload}


EVENTS = {
    "publish": OurEvent(
        "publish",
        _as_publish,
        "a publish has a type and data, and members get the event's whole envelope, named `event`",
        arrives="event",
    ),
    "shout": OurEvent(
        "signal",
        lambda payload: {"type": "shout", "data": payload},
        "what is broadcast without being stored is a signal, and every push of ours gets a reply",
        arrives="signal",
        extra_reply=True,
    ),
    "echo": OurEvent(
        "history", lambda _: {"limit": 1}, "there is no echo; `history` too replies and broadcasts nothing"
    ),
}


@dataclass(frozen=True)
class Difference:
    """One step of a recording, and the steps that stand in its place."""

    recording: str
    step: int
    ours: tuple[Step, ...]
    reason: str


def _recv(frame: Any) -> Step:
    return {"client": "a", "dir": "recv", "opcode": "text", "frame": frame}


def _closed(code: int) -> Step:
    return {"client": "a", "dir": "closed", "code": code}


def _reply(join_ref: Any, ref: Any, topic: str, status: str, response: Any) -> Any:
    return [join_ref, ref, topic, "phx_reply", {"status": status, "response": response}]


_FAULT = "a frame that is no message is the client's fault, not the server's: 1007 with a reason, not 1011"
_ALIVE = "an event that the channel does not know gets an error reply and the channel lives on"

DIFFERENCES = (
    Difference("bad_binary", 2, (_closed(1007),), _FAULT),
    Difference("bad_json", 2, (_closed(1007),), _FAULT),
    Difference("bad_shape_map", 2, (_closed(1007),), _FAULT),
    Difference("bad_shape_short", 2, (_closed(1007),), _FAULT),
    Difference(
        "v2_binary",
        7,
        (_recv(_reply("1", "22", "room:bin", "error", {"reason": "invalid", "field": "payload"})),),
        "the data of a binary push is the payload as UTF-8 JSON, and the server answers in text",
    ),
    Difference("v2_binary", 8, (), "the same"),
    Difference("v2_binary", 9, (), "the same: what was refused is not broadcast"),
    Difference("v2_crash", 4, (_recv(_reply("1", "2", "room:x", "error", {"reason": "unknown_event"})),), _ALIVE),
    Difference(
        "v2_crash",
        6,
        (_recv(_reply("4", "4", "room:x", "ok", {})), _recv(["1", "1", "room:x", "phx_close", {}])),
        "the channel did not end, so this join replaces the first",
    ),
    Difference(
        "v2_join_error",
        2,
        (_recv(_reply("1", "1", "room:forbidden", "error", {"reason": "forbidden"})),),
        "the credential is good, but not for this channel: `unauthorized` is said of bad credentials",
    ),
    Difference(
        "v2_join_unmatched",
        2,
        (_recv(_reply("1", "1", "nosuch:topic", "error", {"reason": "unknown_channel_kind"})),),
        "the kind of a channel selects its policy; a refused join keeps its join_ref, as in v2_join_error",
    ),
    Difference(
        "v2_stop",
        3,
        ({"client": "a", "dir": "kick", "topic": "room:x"},),
        "no client can stop a channel; a kick ends a subscription in the same way",
    ),
    Difference(
        "v2_unknown_event", 4, (_recv(_reply("1", "2", "room:x", "error", {"reason": "unknown_event"})),), _ALIVE
    ),
    Difference("v2_unknown_event", 6, (_recv(_reply("1", "3", "room:x", "ok", {})),), _ALIVE),
)

SOCKETS_ONLY = {
    "connect_refused": "who may connect is decided before there is a state machine",
    "ping_close": "pings and closing handshakes are WebSocket's (RFC 6455, 5.5), below the Phoenix protocol",
}
"""Recordings that say nothing about the state machine."""

FREE_ORDER = {
    "presence": "diffs are gathered for up to 100 ms, and a meta has `info` where the recorded has `online_at`"
}
"""Over real sockets: to be compared by who is there in the end."""

UNRECORDED_EVENTS = ("presence_state", "presence_diff")
"""Over real sockets our rooms tell presence; the recorded channel did so in `presence` only. Pass over these."""


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.json"))


def recorded_steps(name: str) -> list[Step]:
    steps: list[Step] = json.loads((HERE / f"{name}.json").read_text())["steps"]
    return steps


def our_steps(name: str) -> list[Step]:
    """A recording as it goes with us.

    Steps are as recorded, but what is received is a parsed `frame` (and the `response` of http too), paths are ours,
    and there is one more `dir`: `kick`, of the client's user from `topic`.
    """
    instead = {difference.step: difference for difference in DIFFERENCES if difference.recording == name}
    retelling = _Retelling()
    steps: list[Step] = []
    for number, step in enumerate(recorded_steps(name)):
        if number in instead:
            steps += instead[number].ours
        else:
            steps += retelling.retell(step)
    return steps


def matches(expected: Any, frame: bytes | str) -> bool:
    """Whether a frame is the expected one: the same envelope, and at least the expected members in its payload."""
    actual = json.loads(frame)
    if isinstance(expected, dict) and (not isinstance(actual, dict) or expected.keys() != actual.keys()):
        return False
    return _holds(expected, actual)


def our_path(path: str) -> str:
    """A recorded path with our app, a token of the development mode, and SESSION for the recorded session."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query))
    token, user = query.pop("token", None), query.pop("user", None)
    session = token if token is not None and (token.startswith("SFMyNTY.") or token == "bogus") else None
    ours = [("vsn", query["vsn"])] if "vsn" in query else []
    ours.append(("app_id", APP))
    if token == "bad":
        ours.append(("token", token))
    elif user or token != session:
        ours.append(("token", f"valid_token_{user or token}"))
    if session:
        ours.append(("token", SESSION if session.startswith("SFMyNTY.") else session))
    return f"{parts.path}?{urlencode(ours, safe='{}')}"


class _Retelling:
    """Remembers which recorded event each ref stood for, since replies do not say."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], str] = {}

    def retell(self, step: Step) -> list[Step]:
        client = step["client"]
        match step["dir"]:
            case "connect":
                return [step | {"path": our_path(step["path"])}]
            case "http":
                return [self._http(step)]
            case "send" if step["opcode"] == "text":
                return [step | {"data": self._sent(client, step["data"])}]
            case "recv" if step["opcode"] == "text":
                return [
                    {key: value for key, value in step.items() if key != "data"} | {"frame": frame}
                    for frame in self._received(client, step["data"])
                ]
        return [step]

    def _http(self, step: Step) -> Step:
        body = step["body"]
        if body is not None:
            body = "\n".join(self._sent(step["client"], line) for line in body.split("\n"))
        response = json.loads(step["response"])
        if "messages" in response:
            received = [self._received(step["client"], message) for message in response["messages"]]
            response |= {"messages": [frame for frames in received for frame in frames]}
        if "token" in response:
            response |= {"token": SESSION}
        return step | {"path": our_path(step["path"]), "body": body, "response": response}

    def _sent(self, client: str, text: str) -> str:
        try:
            frame = json.loads(text)
        except json.JSONDecodeError:
            return text
        place = _places(frame)
        event = EVENTS.get(frame[place["event"]]) if place else None
        if event is None:
            return text
        self._asked[client, json.dumps(frame[place["ref"]])] = frame[place["event"]]
        frame[place["event"]] = event.name
        frame[place["payload"]] = event.payload(frame[place["payload"]])
        return json.dumps(frame)

    def _received(self, client: str, text: str) -> list[Any]:
        frame = json.loads(text)
        place = _places(frame)
        name, payload = frame[place["event"]], frame[place["payload"]]
        if name == "phx_reply":
            asked = self._asked.get((client, json.dumps(frame[place["ref"]])))
            if asked is not None and payload["status"] == "ok":
                frame[place["payload"]] = payload | {"response": {}}
            return [frame]
        event = EVENTS.get(name)
        if event is None or event.arrives is None:
            return [frame]
        frame[place["event"]], frame[place["payload"]] = event.arrives, event.payload(payload)
        return [frame, *self._extra_reply(client, name, event)]

    def _extra_reply(self, client: str, name: str, event: OurEvent) -> list[Any]:
        """The reply to this client's own push, after the broadcast that the push caused."""
        if not event.extra_reply:
            return []
        for (asker, ref), asked in list(self._asked.items()):
            if asker == client and asked == name:
                del self._asked[asker, ref]
                return [Reply(json.loads(ref))]
        return []


@dataclass(frozen=True)
class Reply:
    """An `ok` to this ref, which no recording has."""

    ref: Any


_V1 = {name: name for name in ("topic", "event", "payload", "ref")}
_V2 = {"ref": 1, "topic": 2, "event": 3, "payload": 4}


def _places(frame: Any) -> dict[str, Any]:
    """Where the parts of a message stand; nowhere, if it is none."""
    if isinstance(frame, list) and len(frame) == 5:
        return _V2
    if isinstance(frame, dict) and frame.keys() >= _V1.keys():
        return _V1
    return {}


def _holds(expected: Any, actual: Any) -> bool:
    if isinstance(expected, Reply):
        place = _places(actual)
        return bool(place) and actual[place["ref"]] == expected.ref and actual[place["payload"]]["status"] == "ok"
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(key in actual and _holds(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_holds, expected, actual))
    return type(expected) is type(actual) and bool(expected == actual)
