"""The ASGI app: a request in, an answer out, and never a stack trace.

Given to `server`'s connections, of the port and of the admin socket alike. What goes wrong inside is logged under the
request's id and answered as `internal`. It has no lifespan: its services are the daemon's.
"""

import logging
import time
from collections.abc import Iterable

import trio

from polyglotd.access.dev_mode import LocalOrigins, check_local
from polyglotd.access.origins import OriginRule, cors_headers, parse_origins, preflight_headers
from polyglotd.gateway.http.answer import NO_CONTENT, Answer
from polyglotd.gateway.http.body import Receive, check_framing
from polyglotd.gateway.http.call import Call, Scope, Send
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.faults import PeerGone
from polyglotd.gateway.http.problems import problem_answer
from polyglotd.gateway.http.routes import Route, RouteTable
from polyglotd.gateway.http.target import authority_and_path, path_segments
from polyglotd.model import InternalFault, Refusal

logger = logging.getLogger(__name__)

# Of a body that nobody read: more than this ends the connection with the answer.
UNREAD_BYTES_MAX = 64 * 1024
UNREAD_WAIT_S = 0.05


class HttpApp:
    def __init__(self, edge: Edge, routes: Iterable[Route]) -> None:
        self._edge = edge
        self._routes = RouteTable(routes)
        settings = edge.settings
        self._origins: OriginRule = LocalOrigins() if settings.development else parse_origins(settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        begun = time.monotonic()
        try:
            if scope["type"] == "websocket":
                status = await self._upgrade(call)
            else:
                status = await self._request(call)
        except PeerGone:
            status = 499  # nginx's number for it; nobody is sent this
        logger.debug(
            "%s %s %s",
            call.method,
            scope["raw_path"].decode("latin-1"),
            status,
            extra={"request_id": call.request_id, "ms": round((time.monotonic() - begun) * 1000, 2)},
        )

    async def _request(self, call: Call) -> int:
        try:
            check_framing(call.headers)
            segments = self._segments(call)
            # Only now: to a page that the fence keeps out nothing is said, not even that.
            call.origin_headers = cors_headers(self._origins, call.header("origin"), call.header("host"))
            answer = await self._answer(call, segments)
        except Refusal as refusal:
            answer = problem_answer(refusal, limits=call.limits, rate=call.rate)
        except PeerGone:
            raise
        except Exception:
            answer = self._fault(call)
        if answer is None or call.streaming:
            return 200
        await _send(call, answer)
        return answer.status

    async def _answer(self, call: Call, segments: tuple[str | None, ...]) -> Answer | None:
        if call.method == "OPTIONS":
            return self._options(call, segments)
        route, call.params = self._routes.find(call.method, segments)
        return await route.endpoint(self._edge, call)

    def _options(self, call: Call, segments: tuple[str | None, ...]) -> Answer:
        methods = self._routes.allowed(segments)
        headers = [("allow", ", ".join(methods))]
        if call.header("access-control-request-method") is not None:
            # The answer's other headers say who is allowed; said twice, nobody is.
            general = cors_headers(self._origins, call.header("origin"), call.header("host"))
            wanted = preflight_headers(self._origins, call.header("origin"), call.header("host"))
            headers += [header for header in wanted if header not in general]
        return Answer(NO_CONTENT.status, headers=headers)

    async def _upgrade(self, call: Call) -> int:
        message = await call.receive()
        if message["type"] != "websocket.connect":
            raise PeerGone
        try:
            route, call.params = self._routes.find("WEBSOCKET", self._segments(call))
            await route.endpoint(self._edge, call)
            return 101
        except Refusal as refusal:
            answer = problem_answer(refusal, limits=call.limits, rate=call.rate)
        except PeerGone:
            raise
        except Exception:
            answer = self._fault(call)
        if call.streaming:
            await call.send({"type": "websocket.close", "code": 1011, "reason": "internal fault"})
            return 101
        await call.send(
            {"type": "websocket.http.response.start", "status": answer.status, "headers": _headers(call, answer)}
        )
        await call.send({"type": "websocket.http.response.body", "body": answer.body})
        return answer.status

    def _segments(self, call: Call) -> tuple[str | None, ...]:
        """The path, once the request was found to be none of a stranger's. Raises `Forbidden`, `Malformed`."""
        authority, path = authority_and_path(call.scope["raw_path"])
        # A peer of the admin socket was looked at already, and no page of a browser can get there.
        if self._edge.settings.development and not call.from_operator_socket:
            check_local(call.headers)
            if authority is not None:
                check_local([("host", authority)])
        return path_segments(path)

    def _fault(self, call: Call) -> Answer:
        logger.exception("fault in an answer", extra={"request_id": call.request_id})
        return problem_answer(InternalFault(f"something went wrong here; the log has it under {call.request_id}"))


def _headers(call: Call, answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", call.request_id.encode()), (b"x-content-type-options", b"nosniff")]
    for name, value in (*answer.headers, *call.origin_headers):
        headers.append((name.encode("latin-1"), value.encode("latin-1")))
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return headers


async def _send(call: Call, answer: Answer) -> None:
    if call.unread:
        await _discard(call)
    headers = _headers(call, answer)
    if call.unread and all(name.lower() != b"connection" for name, _ in headers):
        headers.append((b"connection", b"close"))
    await call.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await call.send({"type": "http.response.body", "body": answer.body})


async def _discard(call: Call) -> None:
    """Read the little that may be left of a body that nobody asked for, so that the connection can go on."""
    size = 0
    with trio.move_on_after(UNREAD_WAIT_S):
        while call.unread and size <= UNREAD_BYTES_MAX:
            message = await call.receive()
            size += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                call.unread = False
