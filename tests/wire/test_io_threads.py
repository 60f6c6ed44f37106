"""A daemon whose driver has two loops, with apps on both: they work beside each other, and what each acknowledged is
there, once and in its order, after a kill -9 while all of them were published to."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import httpx
import pytest
import trio
from daemon_process import TEST_PLANE, DaemonProcess, daemon_process
from kill_ledger import Ledger, Name, Place
from phoenix_wire import Lost, PhoenixWire, connect
from tenants import Operator, Tenant

from polyglotd.plane.native.loops import loop_of_app

pytestmark = pytest.mark.skipif(TEST_PLANE == "asgi", reason="the plane in Python has one thread")

LOOPS = 2
PER_LOOP = 2
APPS = tuple(
    app
    for loop in range(LOOPS)
    for app in [f"app-{n}" for n in range(99) if loop_of_app(f"app-{n}", LOOPS) == loop][:PER_LOOP]
)
ROOM = "room:lobby"
LIMITS = {"publishes_per_connection": 100_000, "publishes_per_app": 100_000, "api_publishes": 100_000}
BATCH = 20
ENOUGH = 200  # acknowledged events of an app, before the daemon is killed
LOST = (Lost, OSError, httpx.TransportError)


@pytest.fixture(params=["os", "always"])
def daemon(request: pytest.FixtureRequest) -> Iterator[DaemonProcess]:
    env = {
        "POLYGLOTD_DRIVER__IO_THREADS": str(LOOPS),
        "POLYGLOTD_LOG__SYNC": request.param,
        "POLYGLOTD_LISTEN__PER_ADDRESS": "10000",
        "POLYGLOTD_DRAIN__SECONDS": "1",
    }
    with daemon_process(dev=False, env=env) as daemon:
        yield daemon


@asynccontextmanager
async def tenants(daemon: DaemonProcess) -> AsyncIterator[list[Tenant]]:
    async with Operator(daemon) as operator:
        yield [await operator.create(app, quota=LIMITS) for app in APPS]


@asynccontextmanager
async def member(daemon: DaemonProcess, tenant: Tenant, user: str, params: Any = None) -> AsyncIterator[PhoenixWire]:
    async with connect(daemon.port, tenant.token(user), app_id=tenant.app_id) as wire:
        _ = (await wire.join(ROOM, params or {})).ok
        yield wire


async def of_daemon(daemon: DaemonProcess, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=10) as client:
        return await client.get(path, headers={"Authorization": f"Bearer {daemon.admin_token}"})


async def test_apps_on_both_loops_are_served_alike(daemon: DaemonProcess) -> None:
    async with tenants(daemon) as all_of_them, AsyncExitStack() as stack:
        pairs = []
        for tenant in all_of_them:
            ann = await stack.enter_async_context(member(daemon, tenant, "ann"))
            bob = await stack.enter_async_context(member(daemon, tenant, "bob"))
            pairs.append((tenant, ann, bob))
        for n in range(1, 4):
            for tenant, ann, bob in pairs:
                assert (await ann.ask(ROOM, "publish", {"type": "m", "data": [tenant.app_id, n]})).ok["seq"] == n
                event = await bob.event(ROOM)
                assert event.payload["data"] == [tenant.app_id, n]
                assert event.payload["app_id"] == tenant.app_id
        for _, ann, _ in pairs:  # a push that the gateway answers finds its loop
            assert [event["seq"] for event in (await ann.ask(ROOM, "history", {})).ok["events"]] == [1, 2, 3]
        assert (await of_daemon(daemon, "/health")).json()["io_threads"] == LOOPS
        metrics = (await of_daemon(daemon, "/metrics")).text
        for loop in range(LOOPS):
            assert f'polyglot_driver_loop_connections{{loop="{loop}"}} {2 * PER_LOOP}.0' in metrics
            assert f'polyglot_driver_loop_cpu_seconds_total{{loop="{loop}"}}' in metrics
        assert f"polyglot_events_total {3 * len(pairs)}.0" in metrics
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.stderr


class App:
    """One app's publishers, and the books over what they were told."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.ledger = Ledger()
        self._numbers = count()

    def sent(self, user: str | None) -> dict[str, Any]:
        name = Name(ROOM, user, f"id-{next(self._numbers)}")
        self.ledger.send(name, name.id)
        return {"type": "m", "data": name.id, "id": name.id}

    async def publish_by_socket(self, daemon: DaemonProcess) -> None:
        """Until the connection is lost."""
        try:
            async with member(daemon, self.tenant, "ann", {"self": False}) as wire:
                while True:
                    event = self.sent("ann")
                    reply = (await wire.ask(ROOM, "publish", event)).ok
                    self.acknowledge(Name(ROOM, "ann", event["id"]), reply["seq"], reply["ts"])
        except LOST:
            pass

    async def publish_batches(self, daemon: DaemonProcess) -> None:
        """Until the connection is lost."""
        try:
            async with httpx.AsyncClient(base_url=daemon.url, headers=self.tenant.by_key, timeout=10) as client:
                while True:
                    events = [{"channel": ROOM, **self.sent(None)} for _ in range(BATCH)]
                    answer = await client.post(f"{self.tenant.url}/publish", json={"events": events})
                    assert answer.status_code == 200, answer.text
                    for result in answer.json()["results"]:
                        name = Name(ROOM, None, result["id"])
                        self.acknowledge(name, result["seq"], result["timestamp"])
        except LOST:
            pass

    def acknowledge(self, name: Name, seq: int, ts: str) -> None:
        self.ledger.acknowledge(name, Place(seq, ts), duplicate=False)

    async def has_some(self) -> None:
        enough = len(self.ledger.acknowledged) + ENOUGH
        while len(self.ledger.acknowledged) < enough:
            await trio.sleep(0.01)

    async def check(self, operator: Operator) -> None:
        while True:
            page = await operator.history(self.tenant, ROOM, after=self.ledger.head(ROOM), limit=1000)
            self.ledger.take_page(ROOM, page)
            if not page["more"]:
                break
        assert page["seq"] == self.ledger.head(ROOM)
        self.ledger.check_acknowledged()


async def test_what_both_loops_acknowledged_is_there_in_order_after_kill_9(daemon: DaemonProcess) -> None:
    async with tenants(daemon) as all_of_them:
        apps = [App(tenant) for tenant in all_of_them]
    for _ in range(3):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for app in apps:
                    nursery.start_soon(app.publish_by_socket, daemon)
                    nursery.start_soon(app.publish_batches, daemon)
                async with trio.open_nursery() as waiting:
                    for app in apps:
                        waiting.start_soon(app.has_some)
                daemon.kill()
        await trio.to_thread.run_sync(daemon.start)
        async with Operator(daemon) as operator:
            for app in apps:
                await app.check(operator)
    assert "Traceback" not in daemon.stderr
