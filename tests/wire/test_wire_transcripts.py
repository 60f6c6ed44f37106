"""Every recording of a real Phoenix server, replayed against the real daemon over WebSocket and long-poll.

The WebSocket is trio-websocket's, so that our frames are read by another's code. What our server does otherwise than
the recorded one stands in `transcripts.differences`.
"""

import base64
import json
from collections import deque
from typing import Any

import httpx
import pytest
import trio
from daemon_process import DaemonProcess
from phoenix_roster import Roster
from transcripts.differences import (
    APP,
    FREE_ORDER,
    SESSION,
    Reply,
    Step,
    matches,
    names,
    our_steps,
)
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    connect_websocket_url,
    open_websocket_url,
)

PATIENCE_S = 10.0
KEY = {"X-API-Key": "valid_key_chat-app"}
# The recorder of `presence` hung up for this client before this step, and wrote nothing of it.
HANGS_UP = {"presence": (23, "b")}


class Client:
    """One WebSocket of a recording.

    What tells presence (`UNRECORDED_EVENTS`) goes to its roster, all else is compared in order.
    """

    def __init__(self, socket: WebSocketConnection, path: str) -> None:
        self.socket = socket
        self.user = path.rpartition("valid_token_")[2]
        self._maps = "vsn=2." not in path
        self.roster = Roster()
        self._waiting: deque[str] = deque()

    async def receive(self) -> str:
        while not self._waiting:
            await self._read()
        return self._waiting.popleft()

    async def closed(self) -> int:
        try:
            while True:
                await self._read()
        except ConnectionClosed as closed:
            return 1006 if closed.reason is None else int(closed.reason.code)

    async def quiet(self) -> None:
        """Nothing was sent before the answer to a heartbeat, which overtakes nothing."""
        parts = {"join_ref": None, "ref": "quiet", "topic": "phoenix", "event": "heartbeat", "payload": {}}
        await self.socket.send_message(json.dumps(parts if self._maps else list(parts.values())))
        answer = json.loads(await self.receive())
        assert (answer["ref"] if self._maps else answer[1]) == "quiet", answer

    async def shows(self, expected: Roster) -> None:
        while not self.roster.same_people(expected):
            await self._read()

    async def _read(self) -> None:
        frame = await self.socket.get_message()
        assert isinstance(frame, str)  # our server answers in text
        if not self.roster.take(frame):
            self._waiting.append(frame)


class Replay:
    def __init__(self, name: str, daemon: DaemonProcess, http: httpx.AsyncClient, nursery: trio.Nursery) -> None:
        self._name = name
        self._daemon = daemon
        self._http = http
        self._nursery = nursery
        self._clients: dict[str, Client] = {}
        self._expected: dict[str, Roster] = {}
        self._session = ""

    async def run(self) -> None:
        for number, step in enumerate(our_steps(self._name)):
            if self._name in HANGS_UP and HANGS_UP[self._name][0] == number:
                await self._hang_up(HANGS_UP[self._name][1])
            with trio.fail_after(PATIENCE_S):
                await self._step(step)
        with trio.fail_after(PATIENCE_S):
            await self._compare_rosters()
            for client in self._clients.values():
                if client.socket.closed is None:
                    await client.quiet()

    async def _step(self, step: Step) -> None:
        name = step["client"]
        match step["dir"]:
            case "connect":
                await self._connect(step)
            case "http":
                await self._call(step)
            case "send":
                await self._compare_rosters()
                data = base64.b64decode(step["data"]) if step["opcode"] == "binary" else step["data"]
                await self._clients[name].socket.send_message(data)
            case "recv" if self._expect_roster(name, step["frame"]):
                pass
            case "recv":
                frame = await self._clients[name].receive()
                assert matches(step["frame"], frame), (step["frame"], frame)
            case "kick":
                await self._kick(step["topic"], self._clients[name].user)
            case "closed":
                assert await self._clients[name].closed() == step["code"]
            case "quiet":
                await self._clients[name].quiet()
            case other:
                raise AssertionError(f"a step that this replay does not know: {other}")

    async def _connect(self, step: Step) -> None:
        path = await self._allowed(step["path"])
        url = self._daemon.websocket_url + path
        if step["status"] != 101:
            with pytest.raises(ConnectionRejected) as rejected:
                async with open_websocket_url(url):
                    pass
            assert rejected.value.status_code == step["status"]
            return
        socket = await connect_websocket_url(self._nursery, url)
        assert socket.subprotocol == step["subprotocol"]
        self._clients[step["client"]] = Client(socket, step["path"])
        self._expected[step["client"]] = Roster()

    async def _allowed(self, path: str) -> str:
        """For the one recording whose user may not join a channel, a token that does not cover it."""
        if self._name != "v2_join_error":
            return path
        response = await self._http.post(
            f"/admin/apps/{APP}/tokens",
            headers={"Authorization": f"Bearer {self._daemon.admin_token}"},
            json={"user": "u1", "channels": {"room:allowed": ["join"]}},
        )
        assert response.status_code == 201, response.text
        return path.replace("valid_token_u1", response.json()["token"])

    async def _hang_up(self, name: str) -> None:
        with trio.fail_after(PATIENCE_S):
            await self._compare_rosters()
            await self._clients[name].socket.aclose()

    async def _kick(self, topic: str, user: str) -> None:
        response = await self._http.post(f"/apps/{APP}/channels/{topic}/kick", headers=KEY, json={"user": user})
        assert response.is_success, response.text

    async def _call(self, step: Step) -> None:
        """A poll that comes too early is told less: it goes on until it has as much as the recorded one had."""
        path = step["path"].replace(SESSION, self._session)
        messages: list[str] = []
        expected = step["response"]
        while True:
            response = await self._http.request(
                step["method"], path, content=step["body"], headers=step["request_headers"]
            )
            assert response.status_code == step["status"]
            assert response.headers["content-type"].startswith("application/json")
            answer = response.json()
            assert answer.keys() == expected.keys(), answer
            messages += [message for message in answer.get("messages", []) if not Roster().take(message)]
            if len(messages) >= len(expected.get("messages", [])):
                break
        assert answer["status"] == expected["status"]
        if answer["status"] == 410 and "token" in answer:
            self._session = self._session or answer["token"]
        frames = expected.get("messages", [])
        if all(frame[3] == "phx_reply" for frame in frames):
            # `history` stands here for the recorded `echo` and is read in a task of its own: the reply to a later
            # push may overtake its.
            messages.sort(key=lambda message: [frame[1] for frame in frames].index(json.loads(message)[1]))
        assert len(messages) == len(frames)
        assert all(map(matches, frames, messages)), (frames, messages)

    def _expect_roster(self, name: str, frame: Any) -> bool:
        return not isinstance(frame, Reply) and self._expected[name].take(json.dumps(frame))

    async def _compare_rosters(self) -> None:
        if self._name in FREE_ORDER:
            for name, client in self._clients.items():
                if client.socket.closed is None:
                    await client.shows(self._expected[name])


@pytest.mark.parametrize("name", [name for name in names() if name != "ping_close"])
async def test_a_recording_replayed_over_real_sockets_goes_as_it_is_retold(name: str, daemon: DaemonProcess) -> None:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=15) as http, trio.open_nursery() as nursery:
        await Replay(name, daemon, http, nursery).run()
        nursery.cancel_scope.cancel()


async def test_a_ping_is_answered_with_its_payload_and_a_close_with_its_code(daemon: DaemonProcess) -> None:
    path, note, closed = our_steps("ping_close")
    assert "'hi'" in note["data"]
    with trio.fail_after(PATIENCE_S):
        async with open_websocket_url(daemon.websocket_url + path["path"]) as socket:
            await socket.ping(b"hi")  # returns when a pong with the same payload has come
            await socket.aclose(1000)
            assert socket.closed is not None
            assert socket.closed.code == closed["code"]
