"""The HTTP server: connections that the plane handed over, and those of the admin socket, each until it is closed.

Run by the daemon. What it does not own: the listening port (the plane's) and the services behind the app.
"""

import logging
import math
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import trio
from hypercorn.trio.worker_context import WorkerContext

from polyglotd.gateway.http.app import HttpApp
from polyglotd.gateway.http.http1 import Http1Connection, http1_config
from polyglotd.gateway.http.problems import last_words
from polyglotd.model import Unavailable
from polyglotd.plane.interface import Handoff

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 4096
# The kernel gives up on a client that acknowledges nothing for so long, where we have nothing more to send and would
# not notice.
UNACKNOWLEDGED_MS_MAX = 30_000


class HttpServer:
    def __init__(self, app: HttpApp, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self._app = app
        self._connections_max = connections_max
        self._config = http1_config()
        self._context = WorkerContext(None)
        self._live: dict[Http1Connection, None] = {}  # in the order of their coming
        self._none_live = trio.Event()
        self._none_live.set()

    def __len__(self) -> int:
        return len(self._live)

    async def run(
        self,
        handoffs: trio.MemoryReceiveChannel[Handoff],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve what is handed over until cancelled, which drops every connection at once."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            async for handoff in handoffs:
                sock = socket.socket(fileno=handoff.fd)  # ours from here on
                nursery.start_soon(self._serve_handed_over, sock, handoff.address)

    async def _serve_handed_over(self, sock: socket.socket, address: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
        except OSError:
            sock.close()  # gone already
            return
        await self.serve(sock, state={}, client=(address, 0))

    async def serve(self, sock: socket.socket, *, state: Mapping[str, Any], client: tuple[str, int] | None) -> None:
        """Serve one connection to its end. `state`: what the app is told of all its requests."""
        if self._context.terminated.is_set() or not self._has_room():
            _turn_away(sock)
            return
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        connection = Http1Connection(
            self._app, self._config, self._context, stream, state=state, client=client, server=None
        )
        self._live[connection] = None
        self._none_live = self._none_live if not self._none_live.is_set() else trio.Event()
        try:
            await connection.run()
        except Exception:
            # One connection's fault is not the others'.
            logger.exception("a connection ended by an error")
        finally:
            del self._live[connection]
            if not self._live:
                self._none_live.set()

    def _has_room(self) -> bool:
        """When all places are taken, the one that idles for the longest has to go: nobody can hold the port shut
        by connections alone."""
        if len(self._live) < self._connections_max:
            return True
        for connection in self._live:
            if connection.idle:
                connection.close_if_idle()
                return True
        return False

    async def drain(self, deadline_s: float = math.inf) -> None:
        """Close idle connections now, the others after their answer; return when none is left, or after
        `deadline_s`. New ones are turned away from now on. Cancelled: it goes on without a listener."""
        await self._context.terminated.set()
        for connection in list(self._live):
            connection.close_if_idle()
        with trio.move_on_after(deadline_s):
            await self._none_live.wait()


def _turn_away(sock: socket.socket) -> None:
    """A few words, if the socket takes them at once."""
    with sock:
        sock.setblocking(False)
        with suppress(OSError):
            sock.send(last_words(Unavailable("the server has no room for another connection", retry_after_ms=1000)))
