"""Two apps with equal names for everything, the stage of `test_two_apps`.

`alpha` is the victim, with followers of every sort; `beta` the attacker, with all rights of its own. Both know a user
`ann`, the channels of CHANNELS and the same event ids. MARK stands in all that beta ever says, SECRET in all that
alpha says: neither may turn up on the other side.
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio
from daemon_process import DaemonProcess
from followers import EventStream, Follower, LongPoll, Tail
from phoenix_wire import PhoenixWire, connect
from tenants import Operator, Tenant

CHANNELS = ("room:lobby", "ticker:acme", "match:7", "post:42")
ANN = "ann"
MARK = "said-by-beta"
SECRET = "said-by-alpha"
ALL_RIGHTS: dict[str, Any] = {
    "channels": {f"{c.partition(':')[0]}:*": ["join", "publish", "presence"] for c in CHANNELS}
}

numbers = itertools.count()


@dataclass
class Scene:
    """Two apps of this test's own, alpha with its followers."""

    daemon: DaemonProcess
    operator: Operator
    alpha: Tenant
    beta: Tenant
    socket: PhoenixWire  # alpha's ann
    followers: list[Follower]
    long_poll: LongPoll

    @property
    def http(self) -> httpx.AsyncClient:
        return self.operator.http

    async def state_of_alpha(self) -> dict[str, Any]:
        """What alpha's own key can read of it, with nothing in it that moves by itself."""
        reads = {}
        for path in [
            "/channels",
            "/usage",
            *(f"/channels/{c}{part}" for c in CHANNELS for part in ("", "/history", "/presence")),
        ]:
            reads[path] = (await self.http.get(self.alpha.url + path, headers=self.alpha.by_key)).json()
            for meta in reads[path].get("presence", {}).get("", {}).get("metas", []):
                del meta["phx_ref"]  # of a count: another one at each change that was gathered
        del reads["/usage"]["bytes"]  # known once the store has read what was published before
        return reads

    async def check_alpha_is_alone(self) -> None:
        """Nobody of alpha saw anything of beta; and everybody still hears alpha."""
        await self.socket.beat()
        word = f"{SECRET}-{next(numbers)}"
        for channel in CHANNELS:
            await self.operator.publish(self.alpha, channel, word)
            await self.socket.event(channel)
        for follower in self.followers:
            await follower.has(word.encode())
            assert MARK.encode() not in follower.raw
        assert MARK.encode() not in self.socket.raw
        assert MARK not in json.dumps(await self.state_of_alpha())


@asynccontextmanager
async def scene(daemon: DaemonProcess) -> AsyncIterator[Scene]:
    number = next(numbers)
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        alpha, beta = await operator.create(f"alpha{number}"), await operator.create(f"beta{number}")
        for channel in CHANNELS:
            await operator.publish(alpha, channel, SECRET, id="first")
        await operator.publish(beta, "room:of-beta", MARK)  # an app that is in use: whatever is cached knows it
        stream, tail = EventStream(), Tail()
        poll = LongPoll(daemon.url, alpha.app_id, alpha.token(ANN))
        events = f"{daemon.url}{alpha.url}/channels/room:lobby/events"
        tail_url = f"{daemon.websocket_url}/admin/apps/{alpha.app_id}/tail?channel=room:lobby"
        await nursery.start(stream.run, events, alpha.by_key)
        await nursery.start(poll.run, *CHANNELS)
        await nursery.start(tail.run, tail_url, operator.credentials)
        async with connect(daemon.port, alpha.token(ANN, **ALL_RIGHTS), app_id=alpha.app_id) as socket:
            socket.keep_raw = True
            for channel in CHANNELS:
                _ = (await socket.join(channel)).ok
            yield Scene(daemon, operator, alpha, beta, socket, [stream, poll, tail], poll)
        nursery.cancel_scope.cancel()
