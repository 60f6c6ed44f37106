"""The tasks that a connection's requests run in: what hypercorn's protocol calls a task group.

Messages to an app wait in an inbox without a bound of its own; the bound is on reading the socket (`room`). So
whoever tells an app that its client is gone never waits for that app.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from hypercorn.config import Config

logger = logging.getLogger(__name__)

PENDING_BYTES_MAX = 256 * 1024  # above it the socket is not read
MESSAGE_BYTES = 256  # what a message costs beside its body: chunks of one byte are not free

Message = Any  # hypercorn's TypedDicts of ASGI
Put = Callable[[Message], Awaitable[None]]


class _Inbox:
    """Messages to one app, which is their only reader."""

    def __init__(self) -> None:
        self.pending_bytes = 0
        self.took = trio.Event()
        self._messages: deque[Message] = deque()
        self._came = trio.Event()
        self._closed = False

    async def put(self, message: Message) -> None:
        if not self._closed:
            self.pending_bytes += _cost(message)
            self._messages.append(message)
            self._came.set()

    async def receive(self) -> Message:
        while not self._messages:
            self._came = trio.Event()
            await self._came.wait()
        message = self._messages.popleft()
        self.pending_bytes -= _cost(message)
        self._wake()
        return message

    def close(self) -> None:
        """The app has ended: what else comes for it is dropped."""
        self._closed = True
        self._messages.clear()
        self.pending_bytes = 0
        self._wake()

    def _wake(self) -> None:
        self.took.set()
        self.took = trio.Event()


class AppTasks:
    def __init__(self) -> None:
        self._inbox = _Inbox()  # of the request under way: HTTP/1 has one at a time

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ends when the apps have ended; what else was spawned is cancelled then."""
        async with trio.open_nursery() as self._others:
            async with trio.open_nursery() as self._apps:
                yield
            self._others.cancel_scope.cancel()

    async def room(self) -> None:
        """Wait until most of what was read for an app has found its reader."""
        while self._inbox.pending_bytes > PENDING_BYTES_MAX:
            await self._inbox.took.wait()

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Put) -> Put:  # noqa: ARG002  the protocol's
        inbox = self._inbox = _Inbox()

        async def run() -> None:
            try:
                await app(scope, inbox.receive, send)
            except Exception:
                logger.exception("an app let an error through")
            finally:
                inbox.close()
                await send(None)

        self._apps.start_soon(run)
        return inbox.put

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._others.start_soon(func, *args)


def _cost(message: Message) -> int:
    return MESSAGE_BYTES + len(message.get("body") or message.get("bytes") or message.get("text") or b"")
