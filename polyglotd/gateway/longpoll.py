"""Long-poll sessions: a Phoenix connection whose client comes and goes, bound to what authenticated it.

Called by the HTTP edge, which knows the bodies. A session counts as a connection, ends like one, and is dropped when
its client was gone for a window. Its token is no credential by itself: each request shows the user's token again, as
phoenix.js does.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from polyglotd.gateway.admission import Admission
from polyglotd.gateway.connect_query import auth_token, parse_query, shown
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.gateway.virtual import Mailbox, VirtualConnections
from polyglotd.model import Forbidden, Refusal
from polyglotd.plane.interface import Disconnect, Feed, Serializer
from polyglotd.protocol.serializers import UnknownSerializer, serializer_for

WINDOW_S = 10.0  # as Phoenix: how long a poll waits, and how long a client may be away between two
SWEEP_S = 1.0
GONE_CODE = 1001


class SessionGone(Exception):
    """The long-poll session is not there, or was not opened with these credentials: status 410 in the body."""


@dataclass(slots=True, eq=False)
class _Session:
    token: str
    proof: bytes
    bare_proof: bytes  # of a request that shows the session alone, where that is enough
    mailbox: Mailbox
    seen_s: float
    poll: trio.CancelScope | None = None  # of the request that waits now


class LongPoll:
    def __init__(self, port: PlanePort, admission: Admission, expiry: Expiry, virtual: VirtualConnections) -> None:
        self._port = port
        self._admission = admission
        self._expiry = expiry
        self._virtual = virtual
        self._sessions: dict[str, _Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drop sessions whose client is gone."""
        task_status.started()
        while True:
            await trio.sleep(SWEEP_S)
            gone_s = trio.current_time() - WINDOW_S
            for session in [s for s in self._sessions.values() if s.poll is None and s.seen_s < gone_s]:
                del self._sessions[session.token]
                self._port.send(Disconnect(session.mailbox.conn, GONE_CODE, "the client is gone"))

    async def open(self, request: ConnectRequest) -> str:
        """The new session's token. Raises what a WebSocket's connect is refused for."""
        serializer = _serializer(request)
        connection = await self._admission.user(request, self._virtual.new_conn)
        mailbox = self._virtual.open(connection.conn, connection.app_id, connection.user_id, serializer)
        self._expiry.watch(connection)
        token = secrets.token_urlsafe(24)
        proof = _proof(request)
        # Only where the user's token came in a header: whoever shows it in the query shows it always.
        bare_proof = proof if auth_token(request.headers) is None else _proof_of(connection.app_id, token)
        self._sessions[token] = _Session(token, proof, bare_proof, mailbox, trio.current_time())
        return token

    def find(self, request: ConnectRequest) -> str | None:
        """The token of a live session that this request names and may use: its query's last `token`."""
        try:
            tokens = parse_query(request.query).get("token", [])
            session = self._sessions.get(tokens[-1]) if tokens else None
            if session is None:
                return None
            proof = _proof(request)
            if hmac.compare_digest(session.proof, proof) or hmac.compare_digest(session.bare_proof, proof):
                return session.token
        except Refusal:
            pass  # it shows nothing that can be read
        return None

    async def feed(self, token: str, frames: Sequence[bytes], *, binary: bool) -> None:
        """Frames from the client, as if a socket had read them. Raises `SessionGone`."""
        session = self._live(token)
        session.seen_s = trio.current_time()
        self._port.send(Feed(session.mailbox.conn, list(frames), binary))
        await trio.lowlevel.checkpoint()  # so that one client's posts don't keep the loop

    async def poll(self, token: str, timeout_s: float) -> Sequence[bytes]:
        """Wait for frames; empty where none came, or where a newer poll took this one's place. Raises
        `SessionGone`. Cancelled: nothing is lost."""
        session = self._live(token)
        if session.poll is not None:
            session.poll.cancel()
        with trio.CancelScope() as session.poll:
            scope = session.poll
            try:
                frames = await session.mailbox.take(min(timeout_s, WINDOW_S))
            finally:
                session.seen_s = trio.current_time()
                if session.poll is scope:
                    session.poll = None
        if scope.cancelled_caught:
            return []
        if not frames and session.mailbox.ended is not None:
            self._sessions.pop(token, None)
            raise SessionGone
        return frames

    def _live(self, token: str) -> _Session:
        session = self._sessions.get(token)
        if session is None:
            raise SessionGone
        return session


def _serializer(request: ConnectRequest) -> Serializer:
    vsn = parse_query(request.query).get("vsn")
    try:
        version = serializer_for(None if vsn is None else vsn[-1]).version  # phoenix.js puts its own last
    except UnknownSerializer as error:
        raise Forbidden(str(error)) from None
    return "phoenix-1.0.0" if version == "1.0.0" else "phoenix-2.0.0"


def _proof(request: ConnectRequest) -> bytes:
    """What the session was opened with."""
    what = shown(request)
    return _proof_of(what.app_id, what.token)


def _proof_of(app_id: str, token: str) -> bytes:
    # A NUL is in neither part.
    return hashlib.sha256(f"{app_id}\0{token}".encode(errors="surrogatepass")).digest()
