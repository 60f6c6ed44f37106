"""Phoenix's long-poll, at `/socket/longpoll`: the HTTP status is always 200, the body's `status` is what counts.

Sessions are the gateway's, bodies `protocol.longpoll`'s. A request's last `token` in the query names its session.
"""

from polyglotd.gateway.gateway import SessionGone
from polyglotd.gateway.http.answer import JSON, Answer
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.stream import unless_peer_is_gone
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.model import Forbidden, Invalid, Malformed, Refusal, Unauthorized
from polyglotd.protocol import longpoll

WINDOW_S = 10.0  # Phoenix's own: proxies cut what is silent for longer
BODY_BYTES_MAX = 1024 * 1024  # frames of one POST; phoenix.js gathers what is pushed within 20 ms
# Answered as 403, after which a client gives up; for all else it comes again by itself.
_FINAL = (Unauthorized, Forbidden, Invalid, Malformed)


async def receive(edge: Edge, call: Call) -> Answer:
    """GET: open a session, or wait for frames."""
    request = _request(call)
    session = edge.gateway.longpoll_session(request)
    try:
        if session is None:
            return _answer(longpoll.opened(await edge.gateway.open_longpoll(request)))
        async with unless_peer_is_gone(call):
            return _answer(longpoll.polled(session, await edge.gateway.poll(session, WINDOW_S)))
    except SessionGone:
        return _answer(longpoll.GONE)
    except Refusal as refusal:
        return _refused(refusal)


async def post(edge: Edge, call: Call) -> Answer:
    """POST: frames from the client, in order."""
    session = edge.gateway.longpoll_session(_request(call))
    if session is None:
        return _answer(longpoll.GONE)
    try:
        body = await call.body(BODY_BYTES_MAX)
        for run in longpoll.posted(body, call.header("content-type")):
            await edge.gateway.feed_longpoll(session, run.frames, binary=run.binary)
    except SessionGone:
        return _answer(longpoll.GONE)
    except Refusal as refusal:
        return _refused(refusal)
    return _answer(longpoll.TAKEN)


def _request(call: Call) -> ConnectRequest:
    return ConnectRequest(call.query_text, call.headers, call.address)


def _refused(refusal: Refusal) -> Answer:
    return _answer(longpoll.REFUSED if isinstance(refusal, _FINAL) else longpoll.FAILED)


def _answer(body: bytes) -> Answer:
    return Answer(200, body, (("content-type", JSON), ("cache-control", "no-store")))


ROUTES = [
    Route("GET", "/socket/longpoll", receive, streams=True),  # no HEAD: it would open a session
    Route("POST", "/socket/longpoll", post),
]
