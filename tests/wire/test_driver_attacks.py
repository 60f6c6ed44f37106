"""Many who misuse the driver at once, by not reading, dawdling or flooding: others are served, memory is bounded.

How much slower others are is a bench's question (`python -m bench driver`); here they get everything, in order.
"""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from daemon_process import DaemonProcess, daemon_process, serving_plane
from phoenix_wire import Lost, PhoenixWire, connect
from tenants import Operator, Tenant

pytestmark = pytest.mark.skipif(serving_plane() != "native", reason="about the driver")

MIB = 1 << 20
CROWD = 1_000
DAWDLERS = 200
LARGE = 60_000
UNLIMITED = {
    "connects_per_second": 100_000,
    "publishes_per_connection": 100_000,
    "publishes_per_app": 100_000,
    "api_publishes": 100_000,
}


@pytest.fixture
def busy_daemon() -> Iterator[DaemonProcess]:
    env = {"POLYGLOTD_LISTEN__PER_ADDRESS": "100000", "POLYGLOTD_DRAIN__SECONDS": "1"}
    with daemon_process(env=env) as daemon:
        yield daemon


class Memory:
    """Of a daemon, from now on."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._statm = Path(f"/proc/{daemon.pid}/statm")
        self._before = self._resident()

    def has_grown_by_at_most(self, most: int) -> None:
        grown = self._resident() - self._before
        if "POLYGLOT_TEST_DAEMON" not in os.environ:  # a sanitizer keeps what was freed
            assert grown < most, f"{grown / MIB:.1f} MiB more, not {most / MIB:.0f}"

    def _resident(self) -> int:
        return int(self._statm.read_text().split()[1]) * 4096


class Healthy:
    """Two members of a room of another app: what one publishes the other gets, in order, and each answer comes."""

    def __init__(self, ann: PhoenixWire, bob: PhoenixWire) -> None:
        self._ann = ann
        self._bob = bob
        self.events = 0

    async def talk(self, events: int) -> None:
        for _ in range(events):
            answer = await self._ann.ask("room:healthy", "publish", {"type": "m", "data": self.events})
            self.events += 1
            assert answer.ok["seq"] == self.events
            heard = await self._bob.event("room:healthy")
            assert (heard.payload["seq"], heard.payload["data"]) == (self.events, self.events - 1)

    async def talk_on(self) -> None:
        """Until cancelled."""
        while True:
            await self.talk(1)
            await trio.sleep(0.01)


@asynccontextmanager
async def healthy(daemon: DaemonProcess, operator: Operator) -> AsyncIterator[Healthy]:
    tenant = await operator.create("healthy", quota=UNLIMITED)

    def by(user: str) -> dict[str, str]:
        return {"app_id": tenant.app_id, "token": tenant.token(user)}

    async with connect(daemon.port, **by("ann")) as ann, connect(daemon.port, **by("bob")) as bob:
        for wire in (ann, bob):
            _ = (await wire.join("room:healthy")).ok
        talking = Healthy(ann, bob)
        await talking.talk(3)
        yield talking
        await talking.talk(3)


@asynccontextmanager
async def crowd(daemon: DaemonProcess, tenant: Tenant, count: int, room: str) -> AsyncIterator[list[PhoenixWire]]:
    """Members of a room, with little room in their kernel buffers, who have not stopped reading yet."""
    members: list[PhoenixWire] = []
    limit = trio.CapacityLimiter(25)
    complete = trio.Event()

    async def come(number: int) -> None:
        token = tenant.token(f"u{number}")
        async with limit:
            opened = connect(daemon.port, token, app_id=tenant.app_id, receive_buffer=4096)
            wire = await opened.__aenter__()
        try:
            _ = (await wire.join(room)).ok
            members.append(wire)
            if len(members) == count:
                complete.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await opened.__aexit__(None, None, None)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(come, number)
        with trio.fail_after(60):
            await complete.wait()
        yield members
        nursery.cancel_scope.cancel()


async def test_a_thousand_who_never_read_cost_bounded_memory_and_no_one_else_waits(
    busy_daemon: DaemonProcess,
) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking:
        tenant = await operator.create("crowded", quota=UNLIMITED)
        async with crowd(daemon, tenant, CROWD, "room:crowded") as members:
            for wire in members:
                wire.pause()
            memory = Memory(daemon)
            batch = [{"channel": "room:crowded", "type": "m", "data": "x" * LARGE} for _ in range(18)]
            for _ in range(6):
                answer = await operator.http.post(
                    f"{tenant.url}/publish", json={"events": batch}, headers=tenant.by_key
                )
                assert answer.status_code == 200, answer.text
                await talking.talk(5)
            with trio.fail_after(30):  # one MiB each, and then 4009
                while (await operator.ask("GET", "/health"))["connections"] > 2:
                    await talking.talk(1)
            memory.has_grown_by_at_most(48 * MIB)


async def test_half_sent_messages_are_held_within_their_bound_while_others_talk(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking:
        tenant = await operator.create("dawdling", quota=UNLIMITED)
        async with crowd(daemon, tenant, DAWDLERS, "room:slow") as members:
            memory = Memory(daemon)
            message = masked(publish_text("room:slow", LARGE))
            for wire in members:
                await wire.send_bytes(message[:-100])
            for byte in message[-100:-1]:
                for wire in members[:20]:  # the others are silent in the middle of it
                    await wire.send_bytes(bytes([byte]))
                await talking.talk(1)
            memory.has_grown_by_at_most(DAWDLERS * LARGE + 16 * MIB)
            for wire in members[:3]:
                await wire.send_bytes(message[-1:])
            for wire in members[:3]:
                assert (await wire.answer("9")).ok


async def test_heads_that_dawdle_keep_no_one_out(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking, trio.open_nursery() as nursery:
        dawdling = trio.Semaphore(0)

        async def dawdle() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", daemon.port) as stream:
                try:
                    await stream.send_all(b"GET /socket/websocket?app_id=chat-app HTTP/1.1\r\nhost: localhost\r\nx: ")
                    dawdling.release()
                    while True:
                        await trio.sleep(0.05)
                        await stream.send_all(b"x")
                except trio.BrokenResourceError:  # its ten seconds are over
                    pass

        for _ in range(DAWDLERS):
            nursery.start_soon(dawdle)
        for _ in range(DAWDLERS):
            await dawdling.acquire()
        for number in range(20):
            async with connect(daemon.port, f"valid_token_new{number}") as wire:
                assert (await wire.join("room:new")).ok
            await talking.talk(2)
        nursery.cancel_scope.cancel()


async def test_messages_that_come_byte_by_byte_are_messages_and_hold_up_no_one(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking:
        tenant = await operator.create("bytewise", quota=UNLIMITED)
        async with crowd(daemon, tenant, 20, "room:slow") as members, trio.open_nursery() as nursery:
            nursery.start_soon(talking.talk_on)
            message = masked(publish_text("room:slow", 300))
            for _ in range(3):
                for byte in message:
                    for wire in members:
                        await wire.send_bytes(bytes([byte]))
                for wire in members:
                    assert (await wire.answer("9")).ok
            nursery.cancel_scope.cancel()
        assert talking.events > 3


async def test_a_flood_of_large_messages_is_bounded_and_felt_by_its_own_app_alone(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking:
        tenant = await operator.create("flooding", quota=UNLIMITED)
        async with crowd(daemon, tenant, 10, "match:flood") as members:
            message = masked(publish_text("match:flood", LARGE))
            for wire in members:  # once, so that what a flood needs at all is there
                await wire.send_bytes(message)
            memory = Memory(daemon)
            sent = 0

            async def flood(wire: PhoenixWire) -> None:
                nonlocal sent
                for _ in range(60):
                    await wire.send_bytes(message)
                    sent += 1

            async with trio.open_nursery() as nursery:
                for wire in members:
                    nursery.start_soon(flood, wire)
                while sent < 60 * len(members):
                    await talking.talk(1)
                    memory.has_grown_by_at_most(32 * MIB)
            assert all(wire.closed is None for wire in members)  # `match` drops, it closes nobody


async def test_an_app_far_over_its_limit_leaves_the_others_alone(busy_daemon: DaemonProcess) -> None:
    daemon = busy_daemon
    async with Operator(daemon) as operator, healthy(daemon, operator) as talking:
        tenant = await operator.create("greedy", quota=UNLIMITED | {"publishes_per_app": 50})
        async with crowd(daemon, tenant, 20, "room:greedy") as members, trio.open_nursery() as nursery:
            message = masked(publish_text("room:greedy", 10)) * 50

            async def flood(wire: PhoenixWire) -> None:
                try:
                    while True:
                        await wire.send_bytes(message)
                except Lost:  # 4008 in the end
                    pass

            for wire in members:
                nursery.start_soon(flood, wire)
            while not any(wire.closed for wire in members):
                await talking.talk(1)
            await talking.talk(20)
            assert {wire.closed.code for wire in members if wire.closed} <= {4008, 4009, 1006}
            nursery.cancel_scope.cancel()


def publish_text(room: str, size: int) -> bytes:
    return f'["1","9","{room}","publish",'.encode() + json.dumps({"type": "m", "data": "x" * size}).encode() + b"]"


def masked(text: bytes) -> bytes:
    """A text frame with a mask of zeros."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text
