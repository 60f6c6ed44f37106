"""Peers that misbehave with the connection itself: slow, silent, half-closed, many, or gone.

What they can hold is bounded, and nobody else waits for them.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from phoenix_wire import Closed, PhoenixWire, connect, target
from tenants import Operator

KEY = {"X-API-Key": "valid_key_chat-app"}
HEAD_DEADLINE_S = 10.0
SLACK_S = 3.0  # of a machine that does other things too
CONNECTIONS = 1000
SLOW = 20  # members that never read
SLOW_ROOM = "room:slow"
MIB = 1 << 20


@pytest.fixture
def busy_daemon() -> Iterator[DaemonProcess]:
    """Of a test's own, and no limit of an address in the way."""
    env = {"POLYGLOTD_LISTEN__PER_ADDRESS": "100000", "POLYGLOTD_DRAIN__SECONDS": "1"}
    with daemon_process(env=env) as daemon:
        yield daemon


# --- request heads


async def dropped_after(
    port: int, *pieces: bytes, every_s: float = 0.0, half_close: bool = False
) -> tuple[float, bytes]:
    """Send the pieces, and the last of them again and again; when the server closed, and what it said."""
    began = trio.current_time()
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                for piece in pieces:
                    await stream.send_all(piece)
                if half_close:
                    await stream.send_eof()
                while every_s:
                    await trio.sleep(every_s)
                    await stream.send_all(pieces[-1])
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(send)
        with trio.fail_after(HEAD_DEADLINE_S + SLACK_S + 5):
            try:
                while data := await stream.receive_some():
                    answer += data
            except trio.BrokenResourceError:
                pass
        nursery.cancel_scope.cancel()
    return trio.current_time() - began, answer


UPGRADE = b"GET /socket/websocket?app_id=chat-app HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"

SLOW_HEADS: dict[str, dict[str, Any]] = {
    "not a word": {"pieces": [b""]},
    "half a line": {"pieces": [b"GET /socket/webso"]},
    "all but the empty line": {"pieces": [UPGRADE]},
    "a byte now and then": {"pieces": [UPGRADE, b"x"], "every_s": 0.3},
    "a header line now and then": {"pieces": [UPGRADE, b"x-more: 1\r\n"], "every_s": 0.5},
}


async def test_a_head_that_does_not_come_is_closed_after_its_deadline_and_only_that(daemon: DaemonProcess) -> None:
    took: dict[str, tuple[float, bytes]] = {}

    async def one(name: str, how: dict[str, Any]) -> None:
        took[name] = await dropped_after(daemon.port, *how["pieces"], every_s=how.get("every_s", 0.0))

    async with connect(daemon.port) as bystander:
        async with trio.open_nursery() as nursery:
            for name, how in SLOW_HEADS.items():
                nursery.start_soon(one, name, how)
            await bystander.beat()
        await bystander.beat()
    for name, (seconds, answer) in took.items():
        assert HEAD_DEADLINE_S - 1 < seconds < HEAD_DEADLINE_S + SLACK_S, (name, seconds)
        assert answer == b"" if name == "not a word" else answer.startswith(b"HTTP/1.1 408 "), (name, answer)


@pytest.mark.parametrize(
    ("pieces", "half_close", "status"),
    [
        ([UPGRADE + b"x-pad: " + b"x" * 20_000], False, b"431"),
        ([b"x" * 20_000], False, b"431"),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], False, b"400"),
        ([b"\x00\xff\xfe\r\n\r\n"], False, b"400"),
        ([UPGRADE], True, b"400"),
        ([UPGRADE + b"\r\n"], False, b"400"),
        (
            [UPGRADE + b"connection: upgrade\r\nsec-websocket-version: 12\r\nsec-websocket-key: x\r\n\r\n"],
            False,
            b"426",
        ),
        ([b"GET /socket/websocket HTTP/1.1\r\nhost: localhost\r\n\r\n"], False, b"426"),
    ],
    ids=[
        "20 KB of head",
        "20 KB of nothing",
        "TLS",
        "noise",
        "half a head and an end",
        "no key",
        "version 12",
        "no upgrade",
    ],
)
async def test_what_is_no_handshake_is_answered_at_once(
    daemon: DaemonProcess, pieces: list[bytes], half_close: bool, status: bytes
) -> None:
    if pieces[0].endswith(b"\r\nhost: localhost\r\n\r\n"):
        pieces = [pieces[0].replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")]
    seconds, answer = await dropped_after(daemon.port, *pieces, half_close=half_close)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert b"Traceback" not in answer
    assert seconds < 4


# --- ends of connections


async def connections(operator: Operator) -> dict[str, int]:
    health = await operator.ask("GET", "/health")
    return {name: health[name] for name in ("connections", "subscriptions")}


async def settles(operator: Operator, expected: dict[str, int], within_s: float = 10.0) -> None:
    with trio.fail_after(within_s):
        while await connections(operator) != expected:
            await trio.sleep(0.05)


async def test_a_half_closed_socket_is_gone_and_what_it_sent_before_counts(own_daemon: DaemonProcess) -> None:
    async with Operator(own_daemon) as operator, connect(own_daemon.port, "valid_token_other") as other:
        _ = (await other.join("room:half")).ok
        async with connect(own_daemon.port, "valid_token_halved") as wire:
            _ = (await wire.join("room:half")).ok
            await wire.push("room:half", "publish", {"type": "m", "data": "last words"})
            await wire.stream.send_eof()
            assert isinstance(await wire.end(), Closed)
            assert (await other.event("room:half")).payload["data"] == "last words"
            await settles(operator, {"connections": 1, "subscriptions": 1})
        await other.beat()


async def test_a_thousand_connections_opened_and_dropped_leave_nothing_behind(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator:
        await operator.ask("PATCH", "/admin/apps/chat-app/quota", {"connects_per_second": 100_000})
        await connect_and_drop(daemon.port, 0)
        await settles(operator, {"connections": 0, "subscriptions": 0})
        sockets = count_sockets(daemon)
        limit = trio.CapacityLimiter(50)

        async def one(number: int) -> None:
            async with limit:
                await connect_and_drop(daemon.port, number)

        async with trio.open_nursery() as nursery:
            for number in range(CONNECTIONS):
                nursery.start_soon(one, number)
        await settles(operator, {"connections": 0, "subscriptions": 0}, 20)
        assert count_sockets(daemon) <= sockets + 2
        async with connect(daemon.port) as wire:
            assert (await wire.join("room:dropped")).ok["kind"] == "room"


async def connect_and_drop(port: int, number: int) -> None:
    """In the middle of the handshake, after it, or with a channel; with a reset or without."""
    sock = trio.socket.socket()
    with sock:
        await sock.connect(("127.0.0.1", port))
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stage = number % 5
        if stage == 0:
            await sock.send(UPGRADE[: number % len(UPGRADE)])
            return
        wire = PhoenixWire(trio.SocketStream(sock))
        await wire.shake_hands(target("chat-app", f"valid_token_u{number % 97}"), "localhost", [], [])
        if stage > 1:
            await wire.send_text(b'["1","1","room:dropped","phx_join",{}]')
        if stage > 2:
            await wire.send_text(b'["1","2","room:dropped","publish",{"type":"m"}]')
        if stage > 3:
            await sock.recv(10)


def count_sockets(daemon: DaemonProcess) -> int:
    """Not all descriptors: databases are opened by how many read at once."""
    found = 0
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found += str(descriptor.readlink()).startswith("socket:")
    return found


# --- slow consumers


def resident_bytes(daemon: DaemonProcess) -> int:
    return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * 4096


async def publish_mibs(client: httpx.AsyncClient, quick: PhoenixWire, mibs: int) -> list[int]:
    """Batches that are larger than a member's queue, each once `quick` has the one before; the seqs that it saw."""
    events = [{"channel": SLOW_ROOM, "type": "m", "data": "x" * 60_000} for _ in range(18)]
    seqs = []
    for _ in range(mibs):
        answer = await client.post("/apps/chat-app/publish", json={"events": events}, headers=KEY)
        assert answer.status_code == 200, answer.text
        seqs += [(await quick.event(SLOW_ROOM)).payload["seq"] for _ in events]
    return seqs


async def test_who_does_not_read_is_closed_with_4009_and_resumes_while_nobody_waits_for_it(
    busy_daemon: DaemonProcess,
) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, connect(daemon.port, "valid_token_quick") as quick:
        _ = (await quick.join(SLOW_ROOM)).ok
        async with connect(daemon.port, "valid_token_slow", receive_buffer=4096) as slow:
            joined = (await slow.join(SLOW_ROOM)).ok
            slow.pause()
            seqs = await publish_mibs(operator.http, quick, 2)
            count = len(seqs)
            assert seqs == list(range(1, count + 1))
            slow.resume()
            closed = await slow.end()
            assert closed.code == 4009, closed
            notice = await slow.until(lambda frame: frame.event == "system")
            assert notice.payload["code"] == "slow_consumer"
            seen = [frame.payload["seq"] for frame in slow.inbox if frame.event == "event"]
            assert seen == list(range(1, len(seen) + 1))
            assert len(seen) < count
        async with connect(daemon.port, "valid_token_slow") as again:
            since = {"epoch": joined["epoch"], "seq": len(seen)}
            resumed = (await again.join(SLOW_ROOM, {"since": since})).ok
            assert resumed["recovered"] is True
            missed = [event["seq"] for event in resumed["events"]]
            while len(missed) < count - len(seen):
                missed.append((await again.event(SLOW_ROOM)).payload["seq"])
            assert missed == list(range(len(seen) + 1, count + 1))
        await quick.beat()


async def test_many_who_never_read_cost_bounded_memory_and_go(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, connect(daemon.port, "valid_token_quick") as quick:
        _ = (await quick.join(SLOW_ROOM)).ok
        await publish_mibs(operator.http, quick, 2)  # what a daemon that has done this once needs
        async with trio.open_nursery() as nursery:
            joined = trio.Semaphore(0)

            async def never_read(number: int) -> None:
                wire_open = connect(daemon.port, f"valid_token_deaf{number}", receive_buffer=4096)
                async with wire_open as wire:
                    _ = (await wire.join(SLOW_ROOM)).ok
                    wire.pause()
                    joined.release()
                    await trio.sleep_forever()

            for number in range(SLOW):
                nursery.start_soon(never_read, number)
            for _ in range(SLOW):
                await joined.acquire()
            before = resident_bytes(daemon)
            await publish_mibs(operator.http, quick, 16)
            await settles(operator, {"connections": 1, "subscriptions": 1})
            grown = resident_bytes(daemon) - before
            assert grown < 48 * MIB, f"{SLOW} members who never read and 16 MiB took {grown / MIB:.0f} MiB"
            await quick.beat()
            nursery.cancel_scope.cancel()
