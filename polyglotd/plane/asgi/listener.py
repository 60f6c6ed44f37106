"""Port 4000: accept, look at the request's head without reading it, and say whose the connection is.

Run by `AsgiPlane`. Upgrades of the socket's path stay (`serve`), every other connection goes up to the gateway as a
file descriptor from which nothing was read. A peer that sends no whole head in time is answered and dropped; so is
the one that has waited longest where too many wait.
"""

import errno
import logging
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import trio

from polyglotd.model import Malformed
from polyglotd.plane.asgi.listening import listen
from polyglotd.plane.asgi.records import RecordQueue
from polyglotd.plane.asgi.request_head import Owner, head_size, may_be_http, owner_of, problem_answer
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.interface import Handoff

logger = logging.getLogger(__name__)

ACCEPT_PAUSE_S = 0.1  # after EMFILE and the like: others must close first
SPURIOUS_PAUSE_S = 0.05  # after a wake-up that brought nothing
LINGER_S = 1.0  # for the peer to read an answer before the close: unread input would turn it into a reset
LINGER_BYTES_MAX = 64 * 1024
NOTSENT_LOWAT_BYTES = 16 * 1024
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python 3.11 has no name for it


@dataclass(frozen=True, slots=True)
class Accepted:
    """A connection whose whole head waits in the socket, unread."""

    sock: trio.socket.SocketType
    address: str
    head: bytes


class Listener:
    """`serve` owns an accepted socket until it returns, and is run in the task that waited for the head."""

    def __init__(
        self, settings: PlaneSettings, records: RecordQueue, serve: Callable[[Accepted], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._records = records
        self._serve = serve
        self._accepting = trio.CancelScope()
        self._heads: dict[trio.socket.SocketType, trio.CancelScope] = {}  # waiting for theirs, oldest first

    def stop_accepting(self) -> None:
        """Close the listening sockets. What was accepted lives on."""
        self._accepting.cancel()

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled; `started` with the first bound address. Raises OSError where it can't listen.
        Cancelled: every connection is closed at once."""
        listening = await listen(self._settings.host, self._settings.port, self._settings.backlog)
        try:
            async with trio.open_nursery() as connections:
                host, port = listening[0].getsockname()[:2]
                task_status.started((host, port))
                with self._accepting:
                    async with trio.open_nursery() as accepting:
                        for sock in listening:
                            accepting.start_soon(self._accept_from, sock, connections)
                for sock in listening:
                    sock.close()
        finally:
            for sock in listening:
                sock.close()

    async def _accept_from(self, listening: trio.socket.SocketType, connections: trio.Nursery) -> None:
        while True:
            await self._records.room()
            try:
                sock, peer = await listening.accept()
            except OSError as error:
                # The peer was gone already, or this process has no descriptors or memory left: neither ends us.
                if error.errno != errno.ECONNABORTED:
                    logger.warning("accept failed, next try in %.1f s: %s", ACCEPT_PAUSE_S, error)
                    await trio.sleep(ACCEPT_PAUSE_S)
                continue
            connections.start_soon(self._receive, sock, str(peer[0]))

    async def _receive(self, sock: trio.socket.SocketType, address: str) -> None:
        try:
            with suppress(OSError):  # the peer went: nobody is left to be told
                self._prepare(sock)
                head = await self._head(sock)
                if head is None:
                    return
                if owner_of(head) is Owner.PLANE:
                    await self._serve(Accepted(sock, address, head))
                else:
                    self._records.put(Handoff(sock.detach(), address))
        finally:
            sock.close()

    def _prepare(self, sock: trio.socket.SocketType) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timeout_ms = int(self._settings.send_progress_s * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)

    async def _head(self, sock: trio.socket.SocketType) -> bytes | None:
        """Wait for the whole head; None where the peer went, or was answered and is to be closed."""
        if len(self._heads) >= self._settings.heads_waiting_max:
            next(iter(self._heads.values())).cancel()
        start = b""
        with trio.CancelScope(deadline=trio.current_time() + self._settings.head_deadline_s) as waiting:
            self._heads[sock] = waiting
            try:
                while True:
                    data = await sock.recv(self._settings.head_bytes_max + 1, socket.MSG_PEEK)
                    if not data:
                        return None
                    size = head_size(data)
                    if size is not None and size <= self._settings.head_bytes_max:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                        return data[:size]
                    if not may_be_http(data):
                        refusal = Malformed("not a request of HTTP")
                        await finish(sock, problem_answer(refusal, 400))
                        return None
                    if len(data) > self._settings.head_bytes_max:
                        refusal = Malformed(f"a request's head has at most {self._settings.head_bytes_max} bytes")
                        await finish(sock, problem_answer(refusal, 431))
                        return None
                    if len(data) == len(start):
                        if _half_closed(sock):
                            await finish(sock, problem_answer(Malformed("the request's head is not whole"), 400))
                            return None
                        await trio.sleep(SPURIOUS_PAUSE_S)
                    start = data
                    # Readable again only once there is more than we have seen: no busy loop on a partial head.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(data) + 1)
                    await trio.lowlevel.wait_readable(sock)
            finally:
                self._heads.pop(sock, None)
        if start:  # one that never said a word may be a browser's spare connection: it is closed without a word
            await finish(sock, problem_answer(Malformed("the request's head did not come in time"), 408))
        return None


def tune_for_frames(sock: trio.socket.SocketType, send_buffer_bytes: int) -> None:
    """Small kernel buffers, so that a slow reader is noticed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)


async def finish(sock: trio.socket.SocketType, last_words: bytes) -> None:
    """Send the last bytes and let the peer read them; at most LINGER_S. The caller closes."""
    with trio.move_on_after(LINGER_S), suppress(OSError):
        view = memoryview(last_words)
        while view:
            view = view[await sock.send(view) :]
        sock.shutdown(socket.SHUT_WR)
        room = LINGER_BYTES_MAX
        while room > 0 and (data := await sock.recv(room)):
            room -= len(data)


def _half_closed(sock: trio.socket.SocketType) -> bool:
    """The peer will send no more."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
