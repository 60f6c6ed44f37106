"""Every recording of a real Phoenix server, replayed on the state machine.

The test is the plane and the gateway at once: it admits, broadcasts and replies in the simplest way. What our server
does otherwise than the recorded one stands in `transcripts.differences`.
"""

import base64
import hashlib
import json
from collections import deque
from collections.abc import Callable
from itertools import count
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from transcripts.differences import (
    DIFFERENCES,
    EVENTS,
    HERE,
    SESSION,
    SOCKETS_ONLY,
    Step,
    matches,
    names,
    our_path,
    our_steps,
    recorded_steps,
)

from polyglotd.model import Forbidden, UnknownChannelKind
from polyglotd.protocol import longpoll
from polyglotd.protocol.phoenix_socket import (
    Action,
    Fault,
    JoinRequested,
    LeaveRequested,
    PhoenixSocket,
    Pushed,
    Send,
)
from polyglotd.protocol.serializers import UnknownSerializer, serializer_for

RECORDINGS_SHA256 = "2170ecc97d062cde89e901ab9e50627f377fa170cc396ea5eb966a790425006a"


class Client:
    def __init__(self, plane: "Plane", vsn: str | None) -> None:
        self.socket = PhoenixSocket(serializer_for(vsn), next_sub=plane.numbers, next_handle=plane.numbers)
        self.inbox: deque[bytes] = deque()
        self.closed: int | None = None


class Plane:
    """Members by topic, and the least that a channel does."""

    def __init__(self) -> None:
        self.numbers: Callable[[], int] = count(1).__next__
        self.members: dict[str, dict[int, Client]] = {}

    def receive(self, client: Client, data: bytes, *, binary: bool) -> None:
        socket = client.socket
        for action in socket.receive_binary(data) if binary else socket.receive_text(data):
            self._act(client, action)

    def kick(self, client: Client, topic: str) -> None:
        (sub,) = [sub for sub, member in self.members[topic].items() if member is client]
        del self.members[topic][sub]
        client.inbox.extend(client.socket.end(sub, "closed"))

    def broadcast(self, topic: str, event: str, payload: bytes) -> None:
        for member in self.members[topic].values():
            member.inbox.append(member.socket.serializer.encode_broadcast(topic, event, payload))

    def _act(self, client: Client, action: Action) -> None:
        match action:
            case Send(frame):
                client.inbox.append(frame)
            case JoinRequested(sub, channel):
                if channel == "room:forbidden":
                    frames = client.socket.refused(sub, _json(Forbidden("not this one").as_reply()))
                elif not channel.startswith("room:"):
                    frames = client.socket.refused(sub, _json(UnknownChannelKind("no such kind").as_reply()))
                else:
                    self.members.setdefault(channel, {})[sub] = client
                    frames = client.socket.joined(sub, b'{"kind":"room","epoch":"e","seq":0}')
                client.inbox.extend(frames)
            case LeaveRequested(sub, channel):
                del self.members[channel][sub]
            case Pushed(_, channel, event, payload, handle):
                arrives = {ours.name: ours.arrives for ours in EVENTS.values()}[event]
                if arrives is not None:
                    self.broadcast(channel, arrives, payload)
                client.inbox.extend(client.socket.reply(handle, True, b'{"seq":1}'))
            case Fault(code):
                client.closed = code


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _query(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))


class Replay:
    def __init__(self) -> None:
        self.plane = Plane()
        self.clients: dict[str, Client] = {}

    def step(self, step: Step) -> None:
        client = self.clients.get(step["client"])
        match step["dir"]:
            case "connect" if step["status"] == 101:
                self.clients[step["client"]] = Client(self.plane, _query(step["path"]).get("vsn"))
            case "connect":
                with pytest.raises(UnknownSerializer):
                    serializer_for(_query(step["path"]).get("vsn"))
            case "http":
                self._http(step)
            case "send" if step["opcode"] == "binary":
                self.plane.receive(client, base64.b64decode(step["data"]), binary=True)
            case "send":
                self.plane.receive(client, step["data"].encode(), binary=False)
            case "recv":
                if not client.inbox:
                    self._tell_presence(client, step["frame"])
                frame = client.inbox.popleft()
                assert matches(step["frame"], frame), (step["frame"], frame)
            case "kick":
                self.plane.kick(client, step["topic"])
            case "closed":
                assert client.closed == step["code"]
            case "quiet":
                assert not client.inbox
            case other:
                raise AssertionError(f"a step that this replay does not know: {other}")

    def finish(self) -> None:
        assert not any(client.inbox for client in self.clients.values())

    def _tell_presence(self, client: Client, frame: list[object]) -> None:
        """Who is there is not this room's matter: it is told what the recorded server knew."""
        join_ref, _, topic, event, payload = frame
        assert event in ("presence_state", "presence_diff")
        serializer = client.socket.serializer
        if join_ref is None:
            client.inbox.append(serializer.encode_broadcast(topic, event, _json(payload)))
        else:
            (sub,) = client.socket.subs()
            client.inbox.extend(client.socket.push(sub, event, _json(payload)))

    def _http(self, step: Step) -> None:
        query = parse_qs(urlsplit(step["path"]).query)
        tokens = longpoll.split_tokens(query.get("token", []), lambda token: token == SESSION)
        post = step["method"] == "POST"
        answer = json.loads(self._post(step, tokens) if post else self._get(step, tokens, query["vsn"][0]))
        assert answer.keys() == step["response"].keys()
        assert answer["status"] == step["response"]["status"]
        assert answer.get("token") == step["response"].get("token")
        expected = step["response"].get("messages", [])
        assert len(expected) == len(answer.get("messages", []))
        assert all(map(matches, expected, answer.get("messages", [])))

    def _get(self, step: Step, tokens: longpoll.Tokens, vsn: str) -> bytes:
        if tokens.session is not None:
            client = self.clients[step["client"]]
            frames, client.inbox = client.inbox, deque()
            return longpoll.polled(tokens.session, list(frames))
        try:
            client = Client(self.plane, vsn)
        except UnknownSerializer:
            return longpoll.REFUSED
        if tokens.user == "bad":
            return longpoll.REFUSED
        self.clients.setdefault(step["client"], client)
        return longpoll.opened(SESSION)

    def _post(self, step: Step, tokens: longpoll.Tokens) -> bytes:
        if tokens.session is None:
            return longpoll.GONE
        for run in longpoll.posted(step["body"].encode(), step["request_headers"].get("content-type")):
            for frame in run.frames:
                self.plane.receive(self.clients[step["client"]], frame, binary=run.binary)
        return longpoll.TAKEN


@pytest.mark.parametrize("name", [name for name in names() if name not in SOCKETS_ONLY])
def test_a_recording_replayed_on_the_state_machine_goes_as_it_is_retold(name: str) -> None:
    replay = Replay()
    for step in our_steps(name):
        replay.step(step)
    replay.finish()


def test_the_recordings_are_all_there_and_unedited() -> None:
    digest = hashlib.sha256()
    for name in names():
        digest.update((HERE / f"{name}.json").read_bytes())
    assert len(names()) == 28
    assert digest.hexdigest() == RECORDINGS_SHA256


def test_every_difference_is_one_and_names_a_recording() -> None:
    for difference in DIFFERENCES:
        recorded = recorded_steps(difference.recording)[difference.step]
        assert recorded not in difference.ours
        assert difference.reason
    assert set(SOCKETS_ONLY) <= set(names())


@pytest.mark.parametrize(
    ("recording", "how"), [("v2_crash", "error"), ("v2_stop", "closed")], ids=["phx_error", "phx_close"]
)
def test_the_end_of_a_channel_is_told_as_recorded(recording: str, how: str) -> None:
    steps = recorded_steps(recording)
    plane = Plane()
    client = Client(plane, "2.0.0")
    plane.receive(client, steps[1]["data"].encode(), binary=False)
    (end,) = client.socket.end(client.socket.subs()[0], how)
    assert json.loads(end) == json.loads(steps[4]["data"])


@pytest.mark.parametrize(
    ("recorded", "ours"),
    [
        (
            "/socket/websocket?vsn=2.0.0&token=u1&user=u1",
            "/socket/websocket?vsn=2.0.0&app_id=chat-app&token=valid_token_u1",
        ),
        ("/socket/websocket?token=u1", "/socket/websocket?app_id=chat-app&token=valid_token_u1"),
        ("/socket/websocket?vsn=2.0.0&user=bob", "/socket/websocket?vsn=2.0.0&app_id=chat-app&token=valid_token_bob"),
        ("/socket/websocket?vsn=2.0.0&token=bad", "/socket/websocket?vsn=2.0.0&app_id=chat-app&token=bad"),
        (
            "/socket/longpoll?vsn=2.0.0&user=u1&token=SFMyNTY.x",
            "/socket/longpoll?vsn=2.0.0&app_id=chat-app&token=valid_token_u1&token={session}",
        ),
        ("/socket/longpoll?vsn=2.0.0&token=bogus", "/socket/longpoll?vsn=2.0.0&app_id=chat-app&token=bogus"),
        ("/socket/longpoll?vsn=9.0.0&user=u1", "/socket/longpoll?vsn=9.0.0&app_id=chat-app&token=valid_token_u1"),
    ],
)
def test_a_recorded_path_becomes_one_of_ours(recorded: str, ours: str) -> None:
    assert our_path(recorded) == ours
