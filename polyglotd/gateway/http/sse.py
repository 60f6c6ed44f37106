"""A channel as Server-Sent Events.

Frames are the plane's, encoded for `sse`; here are the head, the heartbeat and the end. What a slow reader does is
the plane's business: while a write waits, its queue fills, and what overflows ends the stream like a socket.
"""

from polyglotd.gateway.gateway import Stream, StreamEnded
from polyglotd.gateway.http.answer import Answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.stream import open_stream_answer, unless_peer_is_gone, write
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.protocol.sse import KEEP_ALIVE, parse_last_event_id

HEARTBEAT_S = 15.0
RETRY_MS = 2000  # how long an EventSource waits before it comes back
_RETRY = b"retry: %d\n\n" % RETRY_MS


async def events(edge: Edge, call: Call) -> Answer | None:
    caller = await caller_of(edge, call, query_token=call.query(("token",)).text("token"))
    channel = call.channel()
    request = ConnectRequest(call.query_text, call.headers, call.address)
    since = _since(call)
    async with edge.gateway.open_stream(caller, channel, kind="sse", since=since, request=request) as stream:
        await open_stream_answer(call, "text/event-stream")
        async with unless_peer_is_gone(call):
            await write(call, _RETRY)
            await _relay(stream, call)
    return None


async def _relay(stream: Stream, call: Call) -> None:
    try:
        while True:
            frames = await stream.frames(HEARTBEAT_S)
            await write(call, b"".join(frames) or KEEP_ALIVE)
    except StreamEnded:
        # The client comes back after `retry`, and is told what is the matter: 401, 403, or the events it missed.
        await write(call, b"", last=True)


def _since(call: Call) -> tuple[str, int] | None:
    """Where to go on. A value that is no id of ours can't be resumed, as one of an epoch that never was."""
    value = call.header("last-event-id")
    if not value:
        return None
    return parse_last_event_id(value) or ("", 0)


ROUTES = [
    Route(
        "GET",
        "/apps/{app}/channels/{channel}/events",
        events,
        Doc(
            tag="events",
            summary="Follow a channel as Server-Sent Events",
            needs="read",
            user_token=True,
            about="Each event's id is `EPOCH:SEQ`; `Last-Event-ID` resumes after it. Where it can't, the stream"
            " begins with an event `reset` {epoch, seq}. Events have no name (`onmessage`), notices have `system`.",
            params=(
                Param("token", "A user token that lives 5 minutes at most, for EventSource.", {"type": "string"}),
                Param("Last-Event-ID", "Resume after this event.", {"type": "string"}, "header"),
            ),
            answer_type="text/event-stream",
            errors=(404, 422, 429, 503),
        ),
        streams=True,
    )
]
