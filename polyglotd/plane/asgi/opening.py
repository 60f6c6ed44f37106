"""From a socket with a request head to a connection: the handshake, the gateway's decision, 101 or a refusal.

Run by the listener, in the task that waited for the head. Every handshake that was sound goes up as `Connect` and
ends in one `Disconnected`, whatever was decided.
"""

import trio

from polyglotd.model import Unavailable
from polyglotd.plane.asgi.handshake import HandshakeRefused, Upgrade, accept_answer, read_upgrade
from polyglotd.plane.asgi.inbound import Inbound
from polyglotd.plane.asgi.listener import Accepted, finish, tune_for_frames
from polyglotd.plane.asgi.request_head import answer, problem_answer
from polyglotd.plane.asgi.socket_connection import SocketConnection
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.websocket import ABNORMAL
from polyglotd.plane.interface import Accept, Connect, Disconnected, Refuse


class Opening:
    """A handshake that waits for the gateway."""

    def __init__(self, state: PlaneState, inbound: Inbound, conn: int, accepted: Accepted, upgrade: Upgrade) -> None:
        self.conn = conn
        self._state = state
        self._inbound = inbound
        self._accepted = accepted
        self._upgrade = upgrade
        self._decided = trio.Event()
        self._connection: SocketConnection | None = None
        self._refusal = problem_answer(Unavailable("the server is too busy to answer in time"), 503)

    def accept(self, command: Accept) -> None:
        """From now on the connection is there, for commands that follow too."""
        self._state.openings.pop(self.conn)
        self._connection = SocketConnection(
            self._state,
            self._inbound,
            self.conn,
            self._state.apps[command.app_id],
            command.user_id,
            self._upgrade.serializer,
            self._accepted,
        )
        self._decided.set()

    def refuse(self, command: Refuse) -> None:
        self._state.openings.pop(self.conn)
        self._refusal = answer(command.status, command.headers, command.body)
        self._decided.set()

    async def run(self) -> None:
        try:
            with trio.move_on_after(self._state.settings.accept_deadline_s):
                await self._decided.wait()
            if self._connection is not None:
                await self._connection.run(accept_answer(self._upgrade))
            else:
                self._state.counters.handshakes_refused_total += 1
                await finish(self._accepted.sock, self._refusal)
        finally:
            self._state.openings.pop(self.conn, None)
            if self._connection is None:
                self._state.records.put(Disconnected(self.conn, ABNORMAL, "not accepted"))


class SocketDoor:
    """What the listener gives upgrades to."""

    def __init__(self, state: PlaneState, inbound: Inbound) -> None:
        self._state = state
        self._inbound = inbound

    async def serve(self, accepted: Accepted) -> None:
        """Serve one socket to its end. Raises OSError where the peer went in the middle of the handshake."""
        unread = len(accepted.head)
        while unread:  # only the head: frames may follow it already
            unread -= len(await accepted.sock.recv(unread))
        tune_for_frames(accepted.sock, self._state.settings.send_buffer_bytes)
        try:
            upgrade = read_upgrade(accepted.head)
        except HandshakeRefused as refused:
            self._state.counters.handshakes_refused_total += 1
            await finish(accepted.sock, refused.answer)
            return
        conn = self._state.new_conn()
        opening = Opening(self._state, self._inbound, conn, accepted, upgrade)
        self._state.openings[conn] = opening
        self._state.records.put(Connect(conn, upgrade.query, upgrade.headers, accepted.address))
        await opening.run()
