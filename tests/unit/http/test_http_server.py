"""The server and the admin socket, over real sockets of the kernel."""

import json
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import trio
from http_rig import HttpRig

from polyglotd.gateway.http.admin_socket import (
    PATH_BYTES_MAX,
    AdminSocketError,
    admin_listener,
    is_operator,
    serve_admin_socket,
)
from polyglotd.gateway.http.server import HttpServer
from polyglotd.plane.interface import Handoff

NOBODY = 65_534


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="polyglot-") as name:  # short: a socket's path has 107 bytes at most
        yield Path(name)


@pytest.fixture
async def admin_socket(rig: HttpRig, directory: Path) -> AsyncIterator[Path]:
    path = directory / "admin.sock"
    with admin_listener(path) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_admin_socket, listener, HttpServer(rig.app))
            yield path
            nursery.cancel_scope.cancel()


def client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://polyglot.local")


async def test_the_admin_socket_serves_the_whole_api_to_an_operator(admin_socket: Path) -> None:
    async with client(admin_socket) as http:
        assert (await http.get("/admin/apps")).json()["apps"][0]["app_id"] == "demo"
        published = await http.post("/apps/demo/channels/room:a%2Fb/publish", json={"type": "m", "data": 1})
        assert published.status_code == 200
        assert (await http.get("/apps/demo/channels/room:a%2Fb/history")).json()["channel"] == "room:a/b"


def test_the_admin_socket_is_its_owners_alone(directory: Path) -> None:
    with admin_listener(directory / "admin.sock"):
        mode = (directory / "admin.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_an_operator_is_root_or_the_daemons_own_user() -> None:
    assert is_operator(0)
    assert is_operator(os.geteuid())
    assert not is_operator(NOBODY if os.geteuid() != NOBODY else 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_peer_with_another_uid_is_answered_403_and_cut_off(
    admin_socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Let the stranger reach the socket: what refuses it here is its uid, and not the file's mode.
    for path, mode in ((admin_socket, 0o666), (admin_socket.parent, 0o755)):
        await trio.Path(path).chmod(mode)
    ask = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "print(s.makefile('rb').read().decode())"
    )

    def run() -> str:
        python = Path("/usr/bin/python3")  # ours may lie where the stranger can't go
        return subprocess.run(
            [str(python) if python.exists() else sys.executable, "-c", ask, str(admin_socket)],
            user=NOBODY, env={}, capture_output=True, text=True, timeout=10, check=True, cwd="/",
        ).stdout  # fmt: skip

    with caplog.at_level(logging.WARNING):
        answer = await trio.to_thread.run_sync(run)
    head, _, body = answer.partition("\n\n")
    assert head.startswith("HTTP/1.1 403 Forbidden")
    assert json.loads(body)["code"] == "forbidden"
    assert f"uid {NOBODY}" in caplog.text


def test_a_socket_that_a_dead_daemon_left_is_replaced_and_another_file_is_not(directory: Path) -> None:
    path = directory / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with admin_listener(path), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(AdminSocketError, match="Move it away"), admin_listener(path):
        pass
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_an_error_with_advice(directory: Path) -> None:
    path = directory / ("x" * PATH_BYTES_MAX)
    with pytest.raises(AdminSocketError, match="shorter data directory"), admin_listener(path):
        pass


def test_a_later_daemons_socket_is_left_alone(directory: Path) -> None:
    path = directory / "admin.sock"
    with admin_listener(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as later:
            later.bind(str(path))
            later.listen()
    assert path.exists()


# --- handed-off connections --------------------------------------------------------------------------------------


class Door:
    """Hands connections to a server, as the plane does."""

    def __init__(self, server: HttpServer, nursery: trio.Nursery) -> None:
        self.server = server
        self.nursery = nursery
        self.to_server, self.handoffs = trio.open_memory_channel[Handoff](100)

    def connect(self) -> trio.SocketStream:
        listening = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listening.getsockname())
        theirs, address = listening.accept()
        listening.close()
        self.to_server.send_nowait(Handoff(theirs.detach(), address[0]))
        ours.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


@pytest.fixture
async def door(rig: HttpRig) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        door = Door(HttpServer(rig.app, connections_max=2), nursery)
        await nursery.start(door.server.run, door.handoffs)
        yield door
        nursery.cancel_scope.cancel()


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(5):
        while piece := await stream.receive_some():
            data += piece
    return data


async def test_a_handed_over_connection_is_served(door: Door) -> None:
    async with door.connect() as stream:
        await stream.send_all(b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")


async def streaming(door: Door, rig: HttpRig) -> trio.SocketStream:
    stream = door.connect()
    request = f"GET /apps/demo/channels/room:a/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {rig.key}\r\n\r\n"
    await stream.send_all(request.encode())
    with trio.fail_after(5):
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    return stream


async def test_a_connection_too_many_is_turned_away_with_words_while_all_are_busy(door: Door, rig: HttpRig) -> None:
    async with await streaming(door, rig) as first, await streaming(door, rig):
        async with door.connect() as third:
            answer = await read_all(third)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"retry-after: 1" in answer.lower()
        await first.aclose()
        with trio.fail_after(5):
            while len(door.server) == 2:
                await trio.sleep(0.001)
        async with door.connect() as fourth:
            await fourth.send_all(b"GET /alive HTTP/1.0\r\n\r\n")
            assert b" 200 " in await read_all(fourth)


async def test_a_new_connection_takes_the_place_of_the_oldest_idle_one(door: Door, rig: HttpRig) -> None:
    async with await streaming(door, rig), door.connect() as idle:
        await idle.send_all(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(5):
            await idle.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        async with door.connect() as newer:
            await newer.send_all(b"GET /alive HTTP/1.0\r\n\r\n")
            assert b" 200 " in await read_all(newer)
        assert await read_all(idle) == b""


async def test_a_drain_closes_idle_connections_and_ends_when_the_last_is_gone(door: Door) -> None:
    async with door.connect() as idle:
        await idle.send_all(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(5):
            assert (await idle.receive_some()).startswith(b"HTTP/1.1 200 ")
        with trio.fail_after(5):
            await door.server.drain()
        assert await read_all(idle) == b""
    assert len(door.server) == 0


async def test_a_drain_gives_up_on_what_does_not_end(door: Door, rig: HttpRig) -> None:
    async with await streaming(door, rig):
        await door.server.drain(0.05)
        assert len(door.server) == 1


async def test_a_peer_that_is_gone_before_it_is_served_hurts_nobody(door: Door) -> None:
    stream = door.connect()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
    await stream.aclose()
    async with door.connect() as other:
        await other.send_all(b"GET /alive HTTP/1.0\r\n\r\n")
        assert b" 200 " in await read_all(other)
