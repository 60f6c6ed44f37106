"""The operators' WebSocket: channels of an app as `{event, cursor}` and `{notice}` messages.

Messages are the plane's, encoded for `tail`; the client says nothing. It closes with the codes of a client's socket:
4003 where the app was suspended, 4009 for a reader that is too slow, 1012 when the server goes.
"""

from contextlib import AbstractAsyncContextManager

from polyglotd.gateway.callers import OperatorCaller
from polyglotd.gateway.gateway import PatternTail, Stream, StreamEnded
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.faults import UpgradeRequired
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.stream import unless_peer_is_gone
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.model import Invalid, check_channel
from polyglotd.protocol.cursor import parse_cursor

WAIT_S = 60.0  # nothing happens then; clients ping by themselves
CLOSE_REASON_BYTES_MAX = 123  # RFC 6455, 5.5


async def tail(edge: Edge, call: Call) -> None:
    await require_operator(edge, call)
    caller = await edge.gateway.operator(call.app_id())
    async with _opened(edge, call, caller) as stream:
        await call.send({"type": "websocket.accept", "headers": [(b"x-request-id", call.request_id.encode())]})
        call.streaming = True
        async with unless_peer_is_gone(call):
            try:
                while True:
                    for message in await stream.frames(WAIT_S):
                        await call.send({"type": "websocket.send", "text": message.decode()})
            except StreamEnded as end:
                reason = end.reason.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
                await call.send({"type": "websocket.close", "code": end.code, "reason": reason})


def _opened(edge: Edge, call: Call, caller: OperatorCaller) -> AbstractAsyncContextManager[Stream | PatternTail]:
    query = call.query(("channel", "since"))
    channel, since = query.text("channel"), query.text("since")
    request = ConnectRequest(call.query_text, call.headers, call.address)
    if channel is None:
        raise Invalid("channel is missing: a channel, a pattern as room:*, or * for all of the app", field="channel")
    if channel.endswith("*"):
        return edge.gateway.open_tail(caller, channel, since=since, request=request)
    check_channel(channel)
    place = None if since is None else parse_cursor(since)
    if since is not None and place is None:
        raise Invalid("since is a cursor as an earlier message gave it: EPOCH:SEQ", field="since")
    return edge.gateway.open_stream(caller, channel, kind="tail", since=place, request=request)


async def not_a_page(edge: Edge, call: Call) -> None:  # noqa: ARG001  an endpoint's signature
    raise UpgradeRequired("this path is a WebSocket: connect to it with an upgrade", field="Upgrade")


ROUTES = [
    Route("WEBSOCKET", "/admin/apps/{app}/tail", tail),
    Route("GET", "/admin/apps/{app}/tail", not_a_page, streams=True),
    # The plane keeps every upgrade of this path; what is left of it comes here.
    Route("GET", "/socket/websocket", not_a_page, streams=True),
]
