"""When credentials run out: one entry a connection, moved by each new token."""

import trio
from gateway_fakes import MemoryLog
from scripted_plane import ScriptedPlane
from trio.testing import MockClock

from polyglotd.access.grant import UserGrant
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.connections import Connection, Connections
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.model import Limits
from polyglotd.plane.interface import Disconnect

S = 1_000_000


def grant(exp_s: int) -> UserGrant:
    return UserGrant("ann", "demo", None, None, None, 0, exp_s * S, "secret")


async def test_many_new_tokens_leave_one_entry_and_a_gone_connection_none(autojump_clock: MockClock) -> None:
    plane = ScriptedPlane(MemoryLog())
    port, connections = PlanePort(plane), Connections(ActiveApps())
    expiry = Expiry(port, connections, lambda: round(trio.current_time() * S), 10)
    connection = Connection(1, "demo", grant(1000), Limits(), counted=True)
    connections.add(connection)
    for exp_s in range(1000, 2000):
        connections.replace_credential(connection, grant(exp_s))
        expiry.watch(connection)
    assert len(expiry) == 1
    expiry.forget(1)
    assert len(expiry) == 0


async def test_a_clock_that_steps_back_moves_the_end(autojump_clock: MockClock) -> None:
    plane = ScriptedPlane(MemoryLog())
    port, connections = PlanePort(plane), Connections(ActiveApps())
    stepped_s = 0.0
    expiry = Expiry(port, connections, lambda: round((trio.current_time() - stepped_s) * S), 0)
    connection = Connection(1, "demo", grant(100), Limits(), counted=True)
    connections.add(connection)
    expiry.watch(connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(expiry.run)
        await trio.sleep(90)
        stepped_s = 30.0
        await trio.sleep(30)
        port.flush()
        assert plane.of(Disconnect) == []
        await trio.sleep(15)
        port.flush()
        assert [command.code for command in plane.of(Disconnect)] == [4001]
        nursery.cancel_scope.cancel()
