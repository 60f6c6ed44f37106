"""One HTTP/1.1 connection, from its first byte to its last, over a stream in memory."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypercorn.trio.worker_context import WorkerContext
from trio.testing import MockClock, memory_stream_pair

from polyglotd.gateway.http.app_tasks import PENDING_BYTES_MAX
from polyglotd.gateway.http.http1 import (
    HEAD_BYTES_MAX,
    HEAD_DEADLINE_S,
    LINGER_S,
    SEND_DEADLINE_S,
    SEND_PIECE_BYTES,
    Http1Connection,
    http1_config,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
App = Callable[[Any, Any, Any], Awaitable[None]]


async def say_ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def echo_body(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(app: App = say_ok, context: WorkerContext | None = None) -> AsyncIterator[Any]:
    """The client's end, with the connection as its attribute. On leaving, the connection must end by itself."""
    ours, theirs = memory_stream_pair()
    context = context or WorkerContext(None)
    connection = Http1Connection(app, http1_config(), context, theirs, state={}, client=None, server=None)  # type: ignore[arg-type]
    ended = trio.Event()

    async def run() -> None:
        await connection.run()
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        ours.connection, ours.ended = connection, ended  # type: ignore[attr-defined]
        yield ours
        await ours.aclose()
        with trio.fail_after(60):
            await ended.wait()


async def answer(stream: Any) -> tuple[int, dict[str, str], bytes]:
    """One response with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive_some()
    return int(status.split(" ")[1]), headers, body


async def until_eof(stream: Any) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


async def test_a_connection_serves_one_request_after_another() -> None:
    async with connected() as client:
        for _ in range(3):
            await client.send_all(GET)
            assert await answer(client) == (200, {"content-length": "2", "date": ANY}, b"ok")
        await client.send_all(GET * 3)  # and pipelined ones in their order
        assert (await client.receive_some())[:12] == b"HTTP/1.1 200"


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


ANY = _Any()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, "invalid", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "invalid", id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid", id="two Hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "invalid", id="space before the colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "invalid", id="zero in a value"),
        pytest.param(b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid", id="raw UTF-8"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "invalid", id="no length"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "invalid", id="below 0"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "invalid",
            id="two lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, "invalid",
            id="another coding",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 80_000, 431, "payload_too_large", id="huge head"),
        pytest.param(b"GET /" + b"y" * 80_000, 431, "payload_too_large", id="huge target"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "invalid", id="HTTP/2"),
        pytest.param(b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505, "invalid", id="no version yet"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid", id="TLS"),
    ],
)  # fmt: skip
async def test_what_is_no_request_gets_a_problem_and_the_end(sent: bytes, status: int, code: str) -> None:
    async with connected() as client:
        await client.send_all(sent)
        got, headers, body = await answer(client)
        problem = json.loads(body)
        assert (got, problem["status"], problem["code"]) == (status, status, code)
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert await until_eof(client) == b""


async def test_an_upgrade_to_http_2_is_not_heard() -> None:
    async with connected() as client:
        await client.send_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        )
        assert (await answer(client))[0] == 200


async def test_a_websocket_handshake_that_is_none_gets_a_problem_too() -> None:
    async with connected() as client:
        await client.send_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 7\r\n\r\n"
        )
        status, _, body = await answer(client)
        assert (status, json.loads(body)["code"]) == (400, "invalid")


@pytest.mark.parametrize("drop", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=["silent", "line", "head"])
async def test_a_head_that_does_not_come_is_not_waited_for(drop: bytes, autojump_clock: MockClock) -> None:
    async with connected() as client:
        begun = trio.current_time()
        for byte in drop:
            await client.send_all(bytes([byte]))
            await trio.sleep(0.5)
        said = await until_eof(client)
        assert trio.current_time() - begun == pytest.approx(HEAD_DEADLINE_S, abs=0.6)
        assert said.startswith(b"HTTP/1.1 408 ") if drop else said == b""


async def test_a_connection_that_idles_between_requests_is_closed(autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(GET)
        await answer(client)
        begun = trio.current_time()
        assert await until_eof(client) == b""
        assert trio.current_time() - begun == pytest.approx(HEAD_DEADLINE_S, abs=0.1)


async def test_a_client_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    async def much(scope: Any, receive: Any, send: Any) -> None:
        body = b"x" * (4 * SEND_PIECE_BYTES)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
        )
        await send({"type": "http.response.body", "body": body})

    class Stuck:
        """A socket whose buffer is full."""

        def __init__(self) -> None:
            self.asked = False

        async def send_all(self, data: Any) -> None:
            await trio.sleep_forever()

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            if not self.asked:
                self.asked = True
                return GET
            await trio.sleep_forever()
            return b""

        async def send_eof(self) -> None: ...

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    connection = Http1Connection(
        much, http1_config(), WorkerContext(None), Stuck(), state={}, client=None, server=None
    )
    with trio.fail_after(SEND_DEADLINE_S + 1):
        await connection.run()
    assert trio.current_time() == pytest.approx(SEND_DEADLINE_S, abs=0.1)


@pytest.mark.parametrize("chunk", [1, 1000], ids=["small chunks", "large chunks"])
async def test_an_app_that_answers_early_waits_for_no_body(chunk: int, autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (chunk, b"x" * chunk)
        await client.send_all(piece * 500)
        assert (await answer(client))[0] == 200
        begun = trio.current_time()
        assert await until_eof(client) == b""
        assert trio.current_time() - begun <= LINGER_S + 0.1


async def test_the_socket_is_not_read_while_an_app_does_not_take_what_was(autojump_clock: MockClock) -> None:
    go_on = trio.Event()

    async def later(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await echo_body(scope, receive, send)

    size = 16 * PENDING_BYTES_MAX
    async with connected(later) as client:
        sent = 0

        async def send() -> None:
            nonlocal sent
            await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            while sent < size:
                await client.send_all(b"x" * 65_536)
                sent += 65_536
                await trio.testing.wait_all_tasks_blocked()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(1)
            pending = client.connection._tasks._inbox.pending_bytes
            assert pending <= PENDING_BYTES_MAX + 65_536 + 1024
            go_on.set()
            status, _, body = await answer(client)
        assert (status, len(body)) == (200, size)


async def test_a_client_that_only_ends_its_side_gets_its_answer() -> None:
    async with connected(echo_body) as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        await client.send_eof()
        assert (await answer(client))[2] == b"hi"
        assert await until_eof(client) == b""


async def test_a_client_that_leaves_in_the_middle_is_told_to_the_app() -> None:
    seen: list[str] = []

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message["type"])
        seen.append("gone")

    async with connected(wait) as client:
        await client.send_all(GET)
    assert seen == ["http.request", "gone"]


async def test_a_body_cut_short_is_a_disconnect() -> None:
    seen: list[Any] = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())

    async with connected(read) as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    assert seen == [{"type": "http.request", "body": b"12345", "more_body": True}, {"type": "http.disconnect"}]


async def test_an_app_that_fails_is_answered_for(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("inside")

    async with connected(fail) as client:
        await client.send_all(GET)
        status, _, body = await answer(client)
    assert (status, json.loads(body)["code"]) == (500, "internal")
    assert b"inside" not in body


async def test_a_stop_closes_idle_connections_now_and_busy_ones_after_their_answer() -> None:
    finish = trio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await finish.wait()
        await say_ok(scope, receive, send)

    context = WorkerContext(None)
    async with connected(slow, context) as idle, connected(slow, context) as busy:
        await busy.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        await context.terminated.set()
        idle.connection.close_if_idle()
        busy.connection.close_if_idle()
        assert await until_eof(idle) == b""
        finish.set()
        assert (await answer(busy))[0] == 200
        assert await until_eof(busy) == b""


async def test_a_connection_that_is_cancelled_is_dropped() -> None:
    ours, theirs = memory_stream_pair()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await trio.sleep_forever()

    connection = Http1Connection(
        stream, http1_config(), WorkerContext(None), theirs, state={}, client=None, server=None
    )  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await ours.send_all(GET)
        await ours.receive_some()
        nursery.cancel_scope.cancel()
    assert await ours.receive_some() == b""


def test_a_head_may_not_be_larger_than_the_planes() -> None:
    from polyglotd.plane.asgi.settings import PlaneSettings

    assert PlaneSettings().head_bytes_max == HEAD_BYTES_MAX
