"""Peers of the HTTP API that are slow, cut off, silent or too many; and the daemon's end while they are there."""

import json
import socket
import stat
from typing import Any

import httpx
import trio
from daemon_process import TEST_PLANE, DaemonProcess, serving_plane
from trio_websocket import ConnectionClosed, open_websocket_url

KEY = "X-API-Key: valid_key_chat-app"
BODY_DEADLINE_S = 10.0
IDLE_DEADLINE_S = 15.0
SLACK_S = 3.0  # of a machine that does other things too
PUBLISH = f"POST /apps/chat-app/channels/room:slow/publish HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n"


def publish_head(*headers: str) -> bytes:
    return "\r\n".join([PUBLISH + "Content-Type: application/json", *headers, "", ""]).encode()


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        while piece := await stream.receive_some():
            data += piece
    except trio.BrokenResourceError:
        pass
    return data


async def talk(port: int, *pieces: bytes, every_s: float = 0.0, end: bool = False) -> tuple[bytes, float]:
    """What comes back until the daemon ends the connection, and after how long."""
    begun = trio.current_time()
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:

        async def send() -> None:
            try:
                for piece in pieces:
                    await stream.send_all(piece)
                    await trio.sleep(every_s)
                if end:
                    await stream.send_eof()
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with trio.fail_after(IDLE_DEADLINE_S + 2 * SLACK_S):
                answer = await read_all(stream)
            took_s = trio.current_time() - begun
            nursery.cancel_scope.cancel()
    return answer, took_s


def status_and_problem(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def history(daemon: DaemonProcess) -> list[Any]:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.get("/apps/chat-app/channels/room:slow/history")
        events: list[Any] = answer.json()["events"]
        return events


async def test_bodies_that_do_not_come_in_time_are_408_all_at_once(daemon: DaemonProcess) -> None:
    """All in one wait, since each takes its ten seconds."""
    answers: dict[str, tuple[bytes, float]] = {}

    async def run(name: str, *pieces: bytes, **how: Any) -> None:
        answers[name] = await talk(daemon.port, *pieces, **how)

    whole = b'{"type":"m"}'
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "stalled", publish_head("Content-Length: 12"), whole[:5])
        nursery.start_soon(run, "none of it", publish_head("Content-Length: 12"))
        drip = [publish_head("Content-Length: 1000"), *[b" "] * 60]
        nursery.start_soon(lambda: run("dripping", *drip, every_s=0.25))
        chunks = [publish_head("Transfer-Encoding: chunked"), *[b"1\r\n \r\n"] * 60]
        nursery.start_soon(lambda: run("dripping chunks", *chunks, every_s=0.25))
    for name, (answer, took_s) in answers.items():
        status, problem = status_and_problem(answer)
        assert (status, problem["code"]) == (408, "invalid"), name
        assert BODY_DEADLINE_S - 0.5 <= took_s <= BODY_DEADLINE_S + SLACK_S, name
        assert b"connection: close" in answer.lower(), name
    assert await history(daemon) == []


async def test_lengths_that_lie_are_found_out(daemon: DaemonProcess) -> None:
    body = b'{"type":"m"}'
    short, _ = await talk(daemon.port, publish_head("Content-Length: 99", "Connection: close") + body, end=True)
    assert short == b"" or status_and_problem(short)[0] == 400  # cut short: it is not taken for a whole one
    # `{"t` is no JSON, and what is left of it no request.
    long, _ = await talk(daemon.port, publish_head("Content-Length: 3") + body + b"\r\n\r\n")
    assert long.count(b"HTTP/1.1 400 ") == 2
    both, _ = await talk(daemon.port, publish_head("Content-Length: 12", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
    status, problem = status_and_problem(both)
    assert (status, problem["field"]) == (400, "Content-Length")
    none, _ = await talk(daemon.port, publish_head("Connection: close"))
    assert status_and_problem(none)[0] == 400
    assert await history(daemon) == []


async def test_a_huge_body_is_413_while_it_is_still_being_sent(daemon: DaemonProcess) -> None:
    piece = b"x" * 65_536
    for framing, sent in (
        ("Content-Length: 67108864", piece),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(piece), piece)),
    ):
        answer, took_s = await talk(daemon.port, publish_head(framing), *[sent] * 1024)
        status, problem = status_and_problem(answer)
        assert (status, problem["code"], problem["limit"]) == (413, "payload_too_large", 65_536)
        assert took_s < BODY_DEADLINE_S


async def test_a_head_beyond_its_bound_is_431(daemon: DaemonProcess) -> None:
    answer, _ = await talk(daemon.port, b"GET /alive HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"y" * 4096] * 32)
    assert answer.split(b" ")[1] == b"431"


async def test_many_silent_connections_do_not_keep_others_waiting(daemon: DaemonProcess) -> None:
    silent = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(200)]
    for sock in silent[:100]:
        sock.sendall(b"GET /alive HTTP/1.1\r\n")
    try:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=5) as http:
            assert (await http.get("/alive")).status_code == 200
    finally:
        for sock in silent:
            sock.close()


async def test_a_stream_that_nobody_reads_is_ended_and_hinders_nobody(daemon: DaemonProcess) -> None:
    stuck = await trio.open_tcp_stream("127.0.0.1", daemon.port)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = f"GET /apps/chat-app/channels/room:stuck/events HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n\r\n"
    await stuck.send_all(request.encode())
    assert (await stuck.receive_some(64)).startswith(b"HTTP/1.1 200 ")
    key = {"X-API-Key": "valid_key_chat-app"}
    async with httpx.AsyncClient(base_url=daemon.url, timeout=10) as http:
        with trio.fail_after(60):
            events = [{"channel": "room:stuck", "type": "m", "data": "x" * 60_000}] * 20
            while True:
                answer = await http.post("/apps/chat-app/publish", json={"events": events}, headers=key)
                assert answer.status_code == 200
                channel = (await http.get("/apps/chat-app/channels/room:stuck", headers=key)).json()
                if channel["subscriptions"] == 0:
                    break
                await trio.sleep(0.05)
    await stuck.aclose()


# --- the admin socket, and the end ---------------------------------------------------------------------------


async def test_the_admin_socket_is_there_for_its_owner_and_goes_with_the_daemon(own_daemon: DaemonProcess) -> None:
    path = own_daemon.data / "admin.sock"
    mode = (await trio.Path(path).stat()).st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://any.name"
    ) as http:
        assert (await http.get("/admin/apps")).status_code == 200
        health = (await http.get("/health")).json()
        assert health["plane"] == serving_plane()
        assert health["plane_why"] == ("it was asked for" if TEST_PLANE else "the driver is there")
        metrics = (await http.get("/metrics")).text
        assert "polyglot_ready 1.0" in metrics
    own_daemon.restart()  # by kill -9: the socket that is left is replaced
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://any.name"
    ) as http:
        assert (await http.get("/alive")).status_code == 200
    assert await trio.to_thread.run_sync(own_daemon.stop) == 0
    assert not await trio.Path(path).exists()


async def test_a_drain_ends_streams_polls_and_tails_each_in_its_own_way(own_daemon: DaemonProcess) -> None:
    """The SSE stream ends, the poll is answered, the tail gets 1012, and the daemon is gone within its time."""
    ends: dict[str, Any] = {}
    ready = [trio.Event() for _ in range(3)]
    url = own_daemon.url

    async def sse(http: httpx.AsyncClient) -> None:
        headers = {"Authorization": "Bearer valid_token_ann"}
        path = "/apps/chat-app/channels/room:drain/events"
        async with http.stream("GET", path, headers=headers, timeout=30) as stream:
            async for piece in stream.aiter_bytes():
                ready[0].set()
                ends["sse"] = piece

    async def poll(http: httpx.AsyncClient) -> None:
        query = {"vsn": "2.0.0", "app_id": "chat-app", "token": "valid_token_bob"}
        session = (await http.get("/socket/longpoll", params=query)).json()["token"]
        target = [*query.items(), ("token", session)]
        ready[1].set()
        while (answer := (await http.get("/socket/longpoll", params=target, timeout=30)).json())["status"] < 400:
            pass
        ends["poll"] = answer["status"]

    async def tail() -> None:
        where = own_daemon.websocket_url + "/admin/apps/chat-app/tail?channel=room:drain"
        bearer = [("Authorization", f"Bearer {own_daemon.admin_token}")]
        async with open_websocket_url(where, extra_headers=bearer) as websocket:
            ready[2].set()
            try:
                while True:
                    ends["tail notice"] = json.loads(await websocket.get_message())["notice"]["code"]
            except ConnectionClosed as closed:
                ends["tail"] = closed.reason.code

    async with httpx.AsyncClient(base_url=url) as http, httpx.AsyncClient(base_url=url) as other:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sse, http)
                nursery.start_soon(poll, other)
                nursery.start_soon(tail)
                for event in ready:
                    await event.wait()
                assert await trio.to_thread.run_sync(own_daemon.stop) == 0
    assert ends["tail"] == 1012
    assert ends["poll"] == 410
    assert b"draining" in ends["sse"]
    assert ends["tail notice"] == "draining"
