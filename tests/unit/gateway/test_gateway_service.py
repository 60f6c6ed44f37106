"""The service as a whole: its start, its end, its batches, and what it hands to the HTTP server."""

import os

import pytest
import trio
from gateway_fakes import MemoryLog, MemoryRegistry, MemoryStore
from gateway_rig import Rig, open_rig
from scripted_plane import ScriptedPlane
from trio.testing import MockClock

from polyglotd.broker.memory import MemoryBroker
from polyglotd.gateway.dispatch import HANDOFFS_MAX
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.model import Unavailable
from polyglotd.plane.interface import Admit, Disconnect, Handoff, Notice, Refuse, StopAccepting


def a_gateway() -> tuple[Gateway, ScriptedPlane, MemoryRegistry]:
    log, registry = MemoryLog(), MemoryRegistry()
    plane = ScriptedPlane(log)
    gateway = Gateway(
        plane=plane,
        log=log,
        store=MemoryStore(),  # type: ignore[arg-type]  # the gateway needs its reads alone
        registry=registry,
        broker=MemoryBroker(),
        settings=GatewaySettings(),
    )
    return gateway, plane, registry


async def test_it_does_not_start_where_it_can_not_know_what_was_revoked(autojump_clock: MockClock) -> None:
    gateway, _, registry = a_gateway()
    registry.lost = True
    with pytest.raises(BaseExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run)
    assert raised.group_contains(Unavailable)


async def test_it_is_ready_once_it_has_started(autojump_clock: MockClock) -> None:
    gateway, _, _ = a_gateway()
    with trio.testing.assert_checkpoints():
        async with trio.open_nursery() as nursery:
            await nursery.start(gateway.run)
            health = gateway.health()
            assert (health.ready, health.draining, health.plane) == (True, False, "scripted")
            nursery.cancel_scope.cancel()


async def test_a_log_that_failed_is_not_ready(autojump_clock: MockClock, rig: Rig) -> None:
    rig.log.failed = "fsync failed"
    health = rig.gateway.health()
    assert (health.ready, health.checks["log"]) == (False, "fsync failed")


async def test_what_one_turn_decides_crosses_as_one_batch(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.joined(await rig.connect())
    conns = [await rig.connect(f"user{n}") for n in range(20)]
    rig.plane.forget()
    rig.plane.batches = 0
    for conn in conns:
        rig.plane.join(conn, "room:lobby")
    await rig.settle()
    assert len(rig.plane.of(Admit)) == 20
    assert rig.plane.batches == 2  # the admissions, and the presence that followed from them


# --- drain ---


async def test_a_drain_tells_everybody_and_spreads_the_closes_over_its_time(autojump_clock: MockClock) -> None:
    async with open_rig(drain_s=10.0, per_address=1000) as rig:
        await rig.tenant(connects_per_second=1000)
        conns = {await rig.connect(f"user{n}") for n in range(100)}
        begun = trio.current_time()
        rig.plane.forget()
        rig.nursery.start_soon(rig.gateway.drain)
        await rig.settle()
        assert isinstance(rig.plane.commands[0], StopAccepting)
        assert [(c.conn, c.code) for c in rig.plane.of(Notice)] == [(None, "draining")]
        assert rig.gateway.health().draining
        assert not rig.gateway.health().ready
        late = rig.plane.connect(rig.query("late"))
        await trio.sleep(1)
        assert [(c.conn, c.status) for c in rig.plane.of(Refuse)] == [(late, 503)]
        assert 0 < len(rig.plane.of(Disconnect)) < 50
        while rig.plane.conns:
            await trio.sleep(0.1)
        assert 4 < trio.current_time() - begun < 9
        assert {(c.conn, c.code) for c in rig.plane.of(Disconnect)} == {(conn, 1012) for conn in conns}


async def test_a_drain_of_nobody_takes_no_time(autojump_clock: MockClock, rig: Rig) -> None:
    begun = trio.current_time()
    await rig.gateway.drain()
    assert trio.current_time() == begun


async def test_a_drain_does_not_wait_longer_than_its_time(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.connect()
    rig.plane.mute.add(Disconnect)
    begun = trio.current_time()
    await rig.gateway.drain()
    assert trio.current_time() - begun == pytest.approx(10)


# --- handoffs ---


async def test_a_connection_that_is_not_the_planes_goes_to_the_http_server(
    autojump_clock: MockClock, rig: Rig
) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    rig.plane.happen(Handoff(reading, "192.0.2.1"))
    handoff = await rig.gateway.handoffs.receive()
    assert handoff == Handoff(reading, "192.0.2.1")
    os.close(reading)


async def test_connections_that_nobody_takes_are_closed(autojump_clock: MockClock) -> None:
    pipes = [os.pipe() for _ in range(3)]
    for _, writing in pipes:
        os.close(writing)
    async with open_rig() as rig:
        filler = [os.dup(pipes[0][0]) for _ in range(HANDOFFS_MAX)]
        rig.plane.happen(*(Handoff(fd, "") for fd in filler), Handoff(pipes[1][0], ""))
        await rig.settle()
        assert is_closed(pipes[1][0])
        assert not is_closed(filler[0])
    assert all(map(is_closed, filler))
    for reading in (pipes[0][0], pipes[2][0]):
        os.close(reading)


def is_closed(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False
