"""The operators' WebSocket: one channel of an app as `{event, cursor}` and `{notice}` messages.

Messages are the plane's, encoded for `tail`; the client says nothing. It closes with the codes of a client's socket:
4003 where the app was suspended, 4009 for a reader that is too slow, 1012 when the server goes.
"""

from polyglotd.gateway.gateway import StreamEnded
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
    channel, since = _what(call)
    request = ConnectRequest(call.query_text, call.headers, call.address)
    async with edge.gateway.open_stream(caller, channel, kind="tail", since=since, request=request) as stream:
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


def _what(call: Call) -> tuple[str, tuple[str, int] | None]:
    query = call.query(("channel", "since"))
    channel = query.text("channel")
    if channel is None:
        raise Invalid("channel is missing: which one to follow", field="channel")
    if channel.endswith("*"):
        raise Invalid("this version follows one channel; a pattern is not available yet", field="channel")
    text = query.text("since")
    since = None if text is None else parse_cursor(text)
    if text is not None and since is None:
        raise Invalid("since is a cursor as an earlier message gave it: EPOCH:SEQ", field="since")
    return check_channel(channel), since


async def not_a_page(edge: Edge, call: Call) -> None:  # noqa: ARG001  an endpoint's signature
    raise UpgradeRequired("this path is a WebSocket: connect to it with an upgrade", field="Upgrade")


ROUTES = [
    Route("WEBSOCKET", "/admin/apps/{app}/tail", tail),
    Route("GET", "/admin/apps/{app}/tail", not_a_page, streams=True),
    # The plane keeps every upgrade of this path; what is left of it comes here.
    Route("GET", "/socket/websocket", not_a_page, streams=True),
]
