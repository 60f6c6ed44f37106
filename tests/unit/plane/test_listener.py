"""The listener on loopback: whole and partial heads, handing on, deadlines, too many waiting."""

import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from polyglotd.plane.asgi.listener import Accepted, Listener
from polyglotd.plane.asgi.records import RecordQueue
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.interface import Handoff

UPGRADE = b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n"
OTHER = b"GET /alive HTTP/1.1\r\nhost: x\r\n\r\n"
SETTINGS = PlaneSettings(port=0)
SHORT = replace(SETTINGS, head_deadline_s=0.1)


class Room:
    """A listener, what it kept and what it handed on."""

    def __init__(self, settings: PlaneSettings) -> None:
        self.records = RecordQueue(100)
        self.kept: list[bytes] = []
        self.listener = Listener(settings, self.records, self._keep)
        self.address = ("", 0)

    async def _keep(self, accepted: Accepted) -> None:
        self.kept.append(await accepted.sock.recv(4096))
        await accepted.sock.send(b"kept")

    async def connect(self, *parts: bytes) -> trio.SocketStream:
        stream = await trio.open_tcp_stream(*self.address)
        for part in parts:
            await stream.send_all(part)
        return stream

    async def handed_on(self) -> socket.socket:
        with trio.fail_after(5):
            (record,) = await self.records.take()
        assert isinstance(record, Handoff)
        assert record.address == "127.0.0.1"
        sock = socket.socket(fileno=record.fd)
        sock.settimeout(5)
        return sock


@asynccontextmanager
async def open_room(settings: PlaneSettings = SETTINGS) -> AsyncIterator[Room]:
    room = Room(settings)
    async with trio.open_nursery() as nursery:
        room.address = await nursery.start(room.listener.run)
        yield room
        nursery.cancel_scope.cancel()


async def everything(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(5):
        return b"".join([part async for part in stream])


async def test_an_upgrade_is_served_with_its_head_still_unread() -> None:
    async with open_room() as room, await room.connect(UPGRADE) as stream:
        assert await everything(stream) == b"kept"
        assert room.kept == [UPGRADE]


async def test_every_other_connection_is_handed_on_with_nothing_read() -> None:
    async with open_room() as room, await room.connect(OTHER + b"body"):
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER + b"body"


async def test_a_head_that_comes_in_pieces_is_waited_for_without_spinning() -> None:
    async with open_room() as room, await room.connect() as stream:
        before = os.times()
        for byte in OTHER[:-1]:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.005)
        after = os.times()
        assert not room.records.has_unread
        await stream.send_all(OTHER[-1:])
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER
            # The low-water mark is the next owner's again: one byte makes it readable.
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    spent = after.user + after.system - before.user - before.system
    assert spent < 0.1  # of some 0.2 s of waiting


async def test_a_head_that_is_not_whole_in_time_gets_408() -> None:
    async with open_room(SHORT) as room, await room.connect(OTHER[:-1]) as stream:
        assert (await everything(stream)).startswith(b"HTTP/1.1 408 ")


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with open_room(SHORT) as room, await room.connect() as stream:
        assert await everything(stream) == b""


async def test_a_half_closed_partial_head_gets_400_at_once() -> None:
    async with open_room() as room, await room.connect(OTHER[:-1]) as stream:
        await stream.send_eof()
        assert (await everything(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_half_closed_whole_request_is_handed_on() -> None:
    async with open_room() as room, await room.connect(OTHER) as stream:
        await stream.send_eof()
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER


async def test_a_huge_head_gets_431() -> None:
    async with open_room() as room, await room.connect(OTHER[:-2], b"x: " + b"a" * 20_000) as stream:
        assert (await everything(stream)).startswith(b"HTTP/1.1 431 ")


async def test_what_is_no_http_gets_400_at_once() -> None:
    async with open_room() as room, await room.connect(b"\x16\x03\x01\x02\x00") as stream:
        assert (await everything(stream)).startswith(b"HTTP/1.1 400 ")


async def test_where_too_many_wait_the_oldest_goes() -> None:
    async with open_room(replace(SETTINGS, heads_waiting_max=2)) as room:
        streams = []
        for _ in range(3):
            streams.append(await room.connect(b"GET"))
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert (await everything(streams[0])).startswith(b"HTTP/1.1 408 ")
        await streams[1].send_all(OTHER[3:])
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER
        for stream in streams:
            await stream.aclose()


async def test_while_the_gateway_is_behind_nothing_is_accepted() -> None:
    async with open_room() as room:
        for _ in range(100):
            room.records.put(Handoff(-1, ""))
        first = await room.connect(OTHER)  # the accept that was under way
        second = await room.connect(OTHER)
        await trio.testing.wait_all_tasks_blocked(0.02)
        waiting = [record for record in await room.records.take() if record != Handoff(-1, "")]
        assert len(waiting) <= 1
        for _ in range(2 - len(waiting)):
            (await room.handed_on()).close()
        for record in waiting:
            assert isinstance(record, Handoff)
            os.close(record.fd)
        for stream in (first, second):
            await stream.aclose()


async def test_stop_accepting_closes_the_port_and_lets_connections_live() -> None:
    async with open_room() as room, await room.connect(OTHER[:-1]) as stream:
        await trio.testing.wait_all_tasks_blocked(0.02)
        room.listener.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError):
            await room.connect()
        await stream.send_all(OTHER[-1:])
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER


async def test_running_out_of_descriptors_delays_connections_and_ends_nothing() -> None:
    async with open_room() as room:
        stream = socket.socket()
        stream.setblocking(False)
        spare = os.dup(0)
        os.close(spare)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))  # the next descriptor is one too many
        try:
            stream.connect_ex(room.address)
            await trio.sleep(0.15)
            assert not room.records.has_unread
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stream.send(OTHER)
        with await room.handed_on() as sock:
            assert sock.recv(4096) == OTHER
        stream.close()


async def test_a_port_in_use_is_an_os_error() -> None:
    async with open_room() as room:
        taken = Listener(replace(SETTINGS, port=room.address[1]), room.records, room._keep)
        with pytest.raises(OSError):
            await taken.run()
