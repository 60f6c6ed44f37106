"""Analytics of a real daemon: counted by its processor, read over HTTP, exact over kill -9, apart for each app."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from phoenix_wire import connect
from tenants import Operator, Tenant

numbers = itertools.count()
PATIENCE_S = 30
COUNTED = ("events", "bytes", "publishers", "unique_users")


@pytest.fixture
async def operator(daemon: DaemonProcess) -> AsyncIterator[Operator]:
    async with Operator(daemon) as operator:
        yield operator


@pytest.fixture(scope="module")
def daemon() -> Any:
    with daemon_process(dev=False) as daemon:
        yield daemon


async def analytics(operator: Operator, tenant: Tenant, **query: Any) -> Any:
    answer = await operator.http.get(f"{tenant.url}/analytics", params=query, headers=tenant.by_key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def counted(operator: Operator, tenant: Tenant, events: int, **query: Any) -> Any:
    """The answer, once so many events are in it."""
    with trio.fail_after(PATIENCE_S):
        while (answer := await analytics(operator, tenant, **query))["total"]["events"] < events:
            await trio.sleep(0.1)
    assert answer["total"]["events"] == events
    return answer


@pytest.mark.both_planes
async def test_each_app_finds_what_it_did_and_nothing_of_another_of_the_same_names(
    daemon: DaemonProcess, operator: Operator
) -> None:
    alpha, beta = [await operator.create(f"{name}-{next(numbers)}") for name in ("alpha", "beta")]
    async with (
        connect(daemon.port, alpha.token("ann"), app_id=alpha.app_id) as ann,
        connect(daemon.port, alpha.token("bob"), app_id=alpha.app_id) as bob,
    ):
        for member in (ann, bob):
            _ = (await member.join("room:lobby")).ok
            _ = (await member.join("match:7")).ok
        for text in ("one", "two", "three"):
            _ = (await ann.ask("room:lobby", "publish", {"type": "m", "data": text})).ok
        _ = (await bob.ask("match:7", "publish", {"type": "m", "data": 12345})).ok
        await operator.publish(alpha, "room:lobby", 7)
        await operator.publish(beta, "room:lobby", "beta's")
        answer = await counted(operator, alpha, 5)
        with trio.fail_after(PATIENCE_S):  # what the meters tell comes a second later
            while (total := (await analytics(operator, alpha))["total"])["deliveries"] < 10:
                await trio.sleep(0.1)
    assert (total["deliveries"], total["connections_peak"]) == (10, 2)
    assert total["bytes"] == len('"one"') + len('"two"') + len('"three"') + len("12345") + len("7")
    assert (total["publishers"], total["unique_users"]) == (2, 1)  # ann, and a key that named no user
    assert total["latency"]["events"] == 5
    assert 0 < total["latency"]["p50_ms"] <= total["latency"]["p99_ms"] < 60_000
    assert sum(point["events"] for point in answer["series"]) == 5
    assert answer["counted_until"] is not None
    room = await counted(operator, alpha, 4, channel="room:lobby", step="1s")
    assert {name: room["total"][name] for name in COUNTED} == {
        "events": 4, "bytes": 18, "publishers": 2, "unique_users": 1,
    }  # fmt: skip
    assert (await counted(operator, beta, 1))["total"]["bytes"] == len('"beta\'s"')
    assert (await counted(operator, beta, 1, channel="room:lobby", step="day"))["total"]["unique_users"] == 0
    assert (await analytics(operator, beta, channel="room:other"))["total"]["events"] == 0


async def test_every_acknowledged_event_counts_once_whatever_is_killed_when() -> None:
    with daemon_process(dev=False) as daemon:
        tenant: Tenant | None = None
        sent = 0
        for _ in range(3):
            async with Operator(daemon) as operator:
                tenant = tenant or await operator.create("killed")
                for number in range(40):
                    await operator.publish(tenant, f"room:{number % 3}", number)
                    sent += 1
                await trio.sleep(0.3)
            daemon.kill()
            daemon.start()
        async with Operator(daemon) as operator:
            await counted(operator, tenant, sent)
            await trio.sleep(1.5)  # what counted something again would do so now
            answer = await counted(operator, tenant, sent)
            by_channel = [await analytics(operator, tenant, channel=f"room:{at}", step="1d") for at in range(3)]
        assert sum(found["total"]["events"] for found in by_channel) == sent
        assert (answer["total"]["publishers"], answer["total"]["unique_users"]) == (1, 0)
