"""Who follows an app without a WebSocket of its own: event streams, long-poll sessions, operators' tails.

Each keeps every byte that came, and how it ended. They are run in a nursery of the test, and end by themselves.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, connect_websocket_url

PATIENCE_S = 10.0
LONG_POLL = "/socket/longpoll"


class Follower:
    """`raw`: all that came. `ended`: nothing more will."""

    def __init__(self) -> None:
        self.raw = b""
        self.ended = trio.Event()
        self._news = trio.Event()

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._news.set()
        self._news = trio.Event()

    async def has(self, text: bytes, within_s: float = PATIENCE_S) -> None:
        """Wait until this came."""
        with trio.fail_after(within_s):
            while text not in self.raw:
                assert not self.ended.is_set(), self.raw
                await self._news.wait()

    async def end(self, within_s: float = PATIENCE_S) -> None:
        with trio.fail_after(within_s):
            await self.ended.wait()


class EventStream(Follower):
    """Server-Sent Events."""

    async def run(
        self, url: str, headers: Mapping[str, str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """`started` once the stream was opened. Raises AssertionError for another status."""
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE_S, read=60)) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            task_status.started()
            try:
                async for data in answer.aiter_raw():
                    self._take(data)
            finally:
                self.ended.set()


class LongPoll(Follower):
    """A Phoenix long-poll session. `status`: of the last body that was none of 200 and 204."""

    def __init__(self, url: str, app_id: str, token: str) -> None:
        super().__init__()
        self.client = httpx.AsyncClient(base_url=url, timeout=30)
        self.query = {"app_id": app_id, "vsn": "2.0.0"}
        self.token = token
        self.session = ""
        self.status = 0

    def params(self) -> httpx.QueryParams:
        return twice_token(self.token, self.session, **self.query)

    async def run(self, *topics: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open, join, poll until the session is gone. `started` once everything was joined."""
        async with self.client:
            opened = (await self.client.get(LONG_POLL, params=[("token", self.token), *self.query.items()])).json()
            assert opened["status"] == 410, opened
            self.session = opened["token"]
            for number, topic in enumerate(topics):
                await self.post([str(number), str(number), topic, "phx_join", {}])
            joined = False
            try:
                while True:
                    answer = (await self.client.get(LONG_POLL, params=self.params())).json()
                    for message in answer.get("messages", []):
                        self._take(message.encode() + b"\n")
                    if answer["status"] not in (200, 204):
                        self.status = answer["status"]
                        return
                    if not joined and self.raw.count(b'"status":"ok"') >= len(topics):
                        joined = True
                        task_status.started()
            finally:
                self.ended.set()

    async def post(self, message: list[Any]) -> None:
        answer = await self.client.post(
            LONG_POLL, params=self.params(), content=json.dumps(message), headers={"content-type": "application/json"}
        )
        assert answer.json() == {"status": 200}


def twice_token(token: str, session: str, **query: str) -> httpx.QueryParams:
    """As phoenix.js writes it: the user's token among the connect params, the session's after them."""
    return httpx.QueryParams([("token", token), *query.items(), ("token", session)])


class Tail(Follower):
    """The operators' WebSocket. `code`: how it was closed."""

    code: int | None = None

    async def run(
        self, url: str, headers: Mapping[str, str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Raises ConnectionRejected."""
        rejected: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                extra = [(name.encode(), value.encode()) for name, value in headers.items()]
                try:
                    socket = await connect_websocket_url(nursery, url, extra_headers=extra)
                    task_status.started()
                    while True:
                        self._take(str(await socket.get_message()).encode() + b"\n")
                except ConnectionClosed as closed:
                    self.code = None if closed.reason is None else closed.reason.code
                finally:
                    self.ended.set()
                    nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            rejected += group.exceptions
        if rejected:
            raise rejected[0]  # as itself, not in a group
