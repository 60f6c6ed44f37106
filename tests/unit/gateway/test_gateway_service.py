"""The service as a whole: its start, its end, its batches, and what it hands to the HTTP server."""

import os
from functools import partial

import pytest
import trio
from gateway_fakes import MemoryLog, MemoryRegistry, MemoryRollups, MemoryStore
from gateway_rig import BEGUN_US, Rig, event, open_rig
from scripted_plane import ScriptedPlane
from trio.testing import MockClock

from polyglotd.broker.memory import MemoryBroker
from polyglotd.gateway import housekeeping, plane_port
from polyglotd.gateway.dispatch import HANDOFFS_MAX
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.gateway.tasks import Tasks
from polyglotd.model import InternalFault, Unavailable
from polyglotd.plane.interface import Admit, Disconnect, Handoff, Notice, Publish, Refuse, StopAccepting


def a_gateway() -> tuple[Gateway, ScriptedPlane, MemoryRegistry]:
    log, registry = MemoryLog(), MemoryRegistry()
    plane = ScriptedPlane(log)
    gateway = Gateway(
        plane=plane,
        log=log,
        store=MemoryStore(),  # type: ignore[arg-type]  # the gateway needs its reads alone
        rollups=MemoryRollups(),  # type: ignore[arg-type]
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


async def test_answers_are_not_waited_for_for_ever_nor_kept(
    autojump_clock: MockClock, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_port, "REQUESTS_MAX", 2)
    for _ in range(5):
        await rig.publish("match:1", b"1")
    rig.plane.mute.add(Publish)
    refused: list[Unavailable] = []

    async def publish() -> None:
        try:
            await rig.publish("match:1", b"1")
        except Unavailable as refusal:
            refused.append(refusal)

    for _ in range(3):
        rig.nursery.start_soon(publish)
    await rig.settle()
    assert [str(refusal) for refusal in refused] == ["too many requests wait for an answer"]


async def test_only_so_many_decisions_wait_at_once(autojump_clock: MockClock) -> None:
    tasks = Tasks(tasks_max=1)

    def faulted(_: InternalFault) -> None:
        raise AssertionError

    assert not tasks.start(trio.sleep_forever, faulted)
    async with trio.open_nursery() as nursery:
        await nursery.start(tasks.run)
        assert tasks.start(partial(trio.sleep, 1), faulted)
        assert not tasks.start(trio.sleep_forever, faulted)
        await trio.sleep(2)
        assert tasks.start(trio.sleep_forever, faulted)
        nursery.cancel_scope.cancel()


async def test_heads_of_channels_idle_beyond_all_history_are_forgotten(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "IDLE_HEADS_S", 5.0)
    async with open_rig() as rig:
        await rig.tenant()
        await forget_idle_heads(rig)


async def forget_idle_heads(rig: Rig) -> None:
    long_ago = BEGUN_US - 31 * 86_400 * 1_000_000
    await rig.set_kind("keep", durability="logged", retention_s=60 * 86_400)
    for channel in ("room:old", "room:open", "keep:old", "room:new"):
        ts_us = BEGUN_US if channel == "room:new" else long_ago
        rig.log.append([event(1, channel=channel, ts_us=ts_us)])
    rig.log.append([event(1, app_id="ghost", ts_us=long_ago)])
    await rig.joined(await rig.connect(), "room:open")
    await trio.sleep(6)
    kept = [("demo", "room:open"), ("demo", "keep:old"), ("demo", "room:new"), ("ghost", "room:lobby")]
    assert list(rig.log.heads) == kept


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
