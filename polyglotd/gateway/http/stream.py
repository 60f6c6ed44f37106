"""Answers that take their time: their head, their pieces, and a client that leaves in the middle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.faults import PeerGone


async def open_stream_answer(call: Call, media_type: str) -> None:
    """Send the head. From here on the call can have no other answer."""
    headers = [
        (b"content-type", media_type.encode()),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # nginx would gather the stream
        (b"x-request-id", call.request_id.encode()),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in call.origin_headers),
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    call.streaming = True


async def write(call: Call, piece: bytes, *, last: bool = False) -> None:
    await call.send({"type": "http.response.body", "body": piece, "more_body": not last})


@asynccontextmanager
async def unless_peer_is_gone(call: Call) -> AsyncIterator[None]:
    """Cancel the body of the `async with`, and raise `PeerGone`, when the client goes away first."""
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await call.receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass  # a body that nobody asked for
        gone = True
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # One task of the two can fail, and callers know its errors by name.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    if gone:
        raise PeerGone
