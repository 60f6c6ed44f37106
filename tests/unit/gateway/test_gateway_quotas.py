"""Metered quotas with the real log, store, processor and plane in Python, and a clock that tests move."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from polyglotd.access.api_keys import new_api_key
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.broker.memory import open_memory_broker
from polyglotd.config import Settings
from polyglotd.gateway import quotas
from polyglotd.gateway.callers import OperatorCaller
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.imports import Imported, ImportedEvent, ImportRun
from polyglotd.gateway.requests import Published, PublishRequest
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.limits.month import month_of
from polyglotd.log.interface import LogSettings, QuotaReached
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import App, Limits, LimitsPatch, QuotaExceeded, Refusal, Unavailable, now_us
from polyglotd.plane.asgi.plane import AsgiPlane
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.processing import open_processor_beside
from polyglotd.processor.pipeline import Processor
from polyglotd.store.analytics import RollupSettings
from polyglotd.store.interface import Registry
from polyglotd.store.sqlite.events import SqliteEventStore, open_sqlite_events
from polyglotd.store.sqlite.registry import open_sqlite_registry
from polyglotd.store.sqlite.rollups import open_sqlite_rollups
from polyglotd.store.sqlite.webhooks import open_sqlite_webhooks
from polyglotd.stores import Stores

APP = "demo"
NOVEMBER_US = 1_795_508_130_000_000  # 2026-11-24 08:15:30
MONTH_ENDS_S = 575_070  # from there


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "CORRECT_S", 0.02)
    monkeypatch.setattr(quotas, "NEAR_S", 0.02)


@dataclass
class Node:
    gateway: Gateway
    registry: Registry
    log: SegmentLog
    store: SqliteEventStore
    processor: Processor
    clock: "Clock"

    async def publish(self, channel: str, count: int = 1, data: bytes = b"1") -> list[Published | Refusal]:
        caller = OperatorCaller(await self.gateway.find_app(APP))
        return await self.gateway.publish(caller, [PublishRequest(channel, "m", data)] * count)

    async def bring(self, channel: str, *times_us: int, data: bytes = b"1") -> list[Imported | Refusal]:
        """Import events of these times."""
        caller = OperatorCaller(await self.gateway.find_app(APP))
        events = [ImportedEvent(f"old-{n}", "m", data, None, ts_us) for n, ts_us in enumerate(times_us)]
        return await self.gateway.import_events(caller, [ImportRun(channel, "epoch", None, 1, events)])

    async def set(self, **limits: int | None) -> None:
        await self.registry.patch_limits(APP, LimitsPatch(**limits))  # type: ignore[arg-type]
        await self.gateway.registry_changed()

    async def publishable(self, channel: str = "room:a") -> None:
        """Wait until a publish is taken again."""
        with trio.fail_after(10):
            while not isinstance((await self.publish(channel))[0], Published):
                await trio.sleep(0.01)

    async def refused(self, channel: str = "room:a", data: bytes = b"1") -> QuotaExceeded:
        """Publish until that is refused."""
        with trio.fail_after(10):
            while isinstance(result := (await self.publish(channel, data=data))[0], Published):
                await trio.sleep(0.01)
        assert isinstance(result, QuotaExceeded)
        return result


class Clock:
    def __init__(self) -> None:
        self.now_us = NOVEMBER_US

    def __call__(self) -> int:
        return self.now_us


@asynccontextmanager
async def open_node(data: Path, **limits: int) -> AsyncIterator[Node]:
    clock = Clock()
    async with (
        open_segments(data / "log", LogSettings()) as log,
        open_sqlite_registry(data / "registry.db") as registry,
        open_sqlite_events(data / "events.db") as store,
        open_memory_broker() as broker,
        open_sqlite_rollups(data / "rollups.db", RollupSettings()) as rollups,
        open_sqlite_webhooks(data / "webhooks.db") as webhooks,
        open_processor_beside(
            log,
            Stores(kind="sqlite", registry=registry, events=store, webhooks=webhooks, rollups=rollups),
            Settings(),
        ) as processor,
        trio.open_nursery() as nursery,
    ):
        if not await registry.apps("", 1):
            _, key = new_api_key(APP, now_us=clock())
            _, secret = new_signing_secret(APP, now_us=clock())
            await registry.create_app(App(APP, limits=Limits(**limits)), key, secret)  # type: ignore[arg-type]
        await nursery.start(processor.run)
        plane = AsgiPlane(log, PlaneSettings(port=0, close_s=0.05))
        gateway = Gateway(
            plane=plane,
            log=log,
            store=store,
            rollups=rollups,
            registry=registry,
            broker=broker,
            settings=GatewaySettings(),
            wall=clock,
        )
        await nursery.start(gateway.run)
        await nursery.start(plane.run)
        yield Node(gateway, registry, log, store, processor, clock)
        nursery.cancel_scope.cancel()


def quotas_of(results: Sequence[Published | Refusal]) -> list[str]:
    return ["ok" if isinstance(result, Published) else getattr(result, "quota", result.reason) for result in results]


async def reached(log: SegmentLog) -> list[tuple[str, str, int]]:
    reader = log.reader("test", 0)
    found: list[tuple[str, str, int]] = []
    while reader.position < log.end:
        with trio.move_on_after(0.2):
            for record in (await reader.next_batch(1000)).records:
                if isinstance(record, QuotaReached):
                    found.append((record.month, record.quota, record.percent))
    return found


async def test_events_beyond_the_months_quota_are_refused_until_it_is_raised(tmp_path: Path) -> None:
    async with open_node(tmp_path, events_per_month=10) as node:
        assert quotas_of(await node.publish("room:a", 6) + await node.publish("match:a", 3)) == ["ok"] * 9
        assert quotas_of(await node.publish("room:b")) == ["ok"]
        refusal = await node.refused()
        assert (refusal.quota, refusal.retry_after_s) == ("events-per-month", MONTH_ENDS_S)
        assert quotas_of(await node.publish("match:a")) == ["events-per-month"]  # memory kinds are metered, too
        usage = await node.gateway.usage(OperatorCaller(await node.gateway.find_app(APP)))
        assert usage.events == 10
        await node.set(events_per_month=11)
        assert quotas_of(await node.publish("room:a")) == ["ok"]  # at once
        await node.refused()
        await node.set(events_per_month=None)
        assert quotas_of(await node.publish("room:a")) == ["ok"]


async def test_a_new_month_makes_room(tmp_path: Path) -> None:
    async with open_node(tmp_path, events_per_month=3) as node:
        await node.publish("room:a", 3)
        await node.refused()
        node.clock.now_us += MONTH_ENDS_S * 1_000_000
        await node.publishable()


async def test_what_was_used_is_known_after_a_restart(tmp_path: Path) -> None:
    async with open_node(tmp_path, events_per_month=5) as node:
        node.clock.now_us = now_us()
        await node.publish("room:a", 5)
        await node.processor.caught_up(node.log.end)
    async with open_node(tmp_path) as node:
        node.clock.now_us = now_us()
        assert quotas_of(await node.publish("room:a")) == ["events-per-month"]


async def test_stored_bytes_bound_logged_kinds_and_retention_makes_room(tmp_path: Path) -> None:
    async with open_node(tmp_path, stored_bytes=1_000) as node:
        await node.publish("room:a", 9, b"1" * 100)
        refusal = await node.refused(data=b"1" * 100)
        assert (refusal.quota, refusal.retry_after_s) == ("stored-bytes", None)
        assert quotas_of(await node.publish("match:a", 2)) == ["ok", "ok"]
        await node.processor.caught_up(node.log.end)
        before = await node.gateway.usage(OperatorCaller(await node.gateway.find_app(APP)))
        assert before.stored_bytes == 1_000
        assert await node.store.prune(APP, "room:", 1 << 60, 4) == 4
        await node.publishable()
        after = await node.store.usage(APP, _month())
        assert after.events >= 10  # the month's count is not less for that


async def test_80_and_100_percent_are_said_once_also_over_a_restart(tmp_path: Path) -> None:
    async with open_node(tmp_path, events_per_month=10) as node:
        node.clock.now_us = now_us()
        await node.publish("room:a", 7)
        await trio.sleep(0.1)
        assert await reached(node.log) == []
        await node.publish("room:a")
        await node.refused()
        expected = [(_month(), "events-per-month", percent) for percent in (80, 100)]
        assert await reached(node.log) == expected
        await node.processor.caught_up(node.log.end)
    async with open_node(tmp_path) as node:
        node.clock.now_us = now_us()
        await node.refused()
        await trio.sleep(0.1)
        assert await reached(node.log) == expected


async def test_a_store_that_is_away_keeps_nobody_from_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise Unavailable("the store is lost")

    monkeypatch.setattr(SqliteEventStore, "usages", lost)
    async with open_node(tmp_path, events_per_month=2) as node:
        assert quotas_of(await node.publish("room:a", 4)) == ["ok"] * 4
        monkeypatch.undo()
        await node.refused()


def _month() -> str:
    """The plane stamps events by the real clock."""
    return month_of(now_us())


# --- imports ---

OCTOBER_US = NOVEMBER_US - 31 * 86_400 * 1_000_000


async def test_imported_events_fill_the_stored_bytes_at_once_and_are_refused_where_these_are_used_up(
    tmp_path: Path,
) -> None:
    data = b'"%s"' % (b"x" * 98)
    async with open_node(tmp_path, stored_bytes=300) as node:
        assert await node.bring("room:old", OCTOBER_US, OCTOBER_US, NOVEMBER_US, data=data) == [Imported(3, 0)]
        assert quotas_of(await node.publish("room:a")) == ["stored-bytes"]
        with pytest.raises(QuotaExceeded) as refused:
            await node.bring("room:older", OCTOBER_US, data=data)
        assert refused.value.quota == "stored-bytes"
        assert node.log.head(APP, "room:older").seq == 0
        await node.set(stored_bytes=10_000)
        assert await node.bring("room:older", OCTOBER_US, data=data) == [Imported(1, 0)]
        assert await node.bring("room:older", OCTOBER_US, data=data) == [Imported(0, 1)]


async def test_what_is_there_already_may_be_imported_again_where_the_stored_bytes_are_used_up(tmp_path: Path) -> None:
    async with open_node(tmp_path, stored_bytes=3) as node:
        assert await node.bring("room:old", OCTOBER_US, OCTOBER_US, OCTOBER_US) == [Imported(3, 0)]
        assert await node.bring("room:old", OCTOBER_US, OCTOBER_US, OCTOBER_US) == [Imported(0, 3)]


async def test_of_imported_events_only_those_of_this_month_are_of_its_quota(tmp_path: Path) -> None:
    async with open_node(tmp_path, events_per_month=3) as node:
        assert await node.bring("room:old", *[OCTOBER_US] * 5, NOVEMBER_US) == [Imported(6, 0)]
        assert quotas_of(await node.publish("room:a", 2)) == ["ok"] * 2
        assert quotas_of(await node.publish("room:a")) == ["events-per-month"]
        assert await node.bring("room:older", NOVEMBER_US) == [Imported(1, 0)]  # it has happened
