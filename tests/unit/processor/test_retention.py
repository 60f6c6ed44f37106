"""Retention by policy, the erasing of deleted apps, and the processor as a whole."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar

import pytest
import trio
from contracts.log_events import EPOCH, event

from polyglotd.config import Settings
from polyglotd.log.interface import STORE_READER, AppForgotten, LogSettings
from polyglotd.log.segments import open_segments
from polyglotd.model import (
    ALL_SCOPES,
    ApiKey,
    App,
    Conflict,
    NotFound,
    PolicyOverride,
    SigningSecret,
    Unavailable,
)
from polyglotd.processing import open_processor_beside
from polyglotd.processor import forgetting, retention
from polyglotd.processor.forgetting import Forgetting
from polyglotd.processor.retention import Retention
from polyglotd.store.analytics import DAY, RollupSettings
from polyglotd.store.interface import EventStore, HistoryQuery
from polyglotd.store.sqlite.events import SqliteEventStore, open_sqlite_events
from polyglotd.store.sqlite.registry import open_sqlite_registry
from polyglotd.store.sqlite.rollups import open_sqlite_rollups
from polyglotd.store.sqlite.webhooks import open_sqlite_webhooks
from polyglotd.stores import Stores

NOW_US = 1_795_508_130_000_000
DAY_US = 86_400 * 1_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteEventStore]:
    async with open_sqlite_events(tmp_path / "events.db") as store:
        yield store


def key(app_id: str) -> ApiKey:
    return ApiKey(f"key_{app_id}", app_id, app_id.encode(), ALL_SCOPES, "", NOW_US)


def secret(app_id: str) -> SigningSecret:
    return SigningSecret(f"sec_{app_id}", app_id, "HS256", b"x" * 32, NOW_US)


class Apps:
    """Of a registry, the one call that retention makes."""

    def __init__(self, *apps: App) -> None:
        self._apps = {app.app_id: app for app in apps}

    async def app(self, app_id: str) -> App:
        if app_id not in self._apps:
            raise NotFound("")
        return self._apps[app_id]


async def kept_days(store: EventStore, channel: str) -> list[int]:
    """How old the events are that are left, in days."""
    page = await store.history(HistoryQuery(app_id="app", channel=channel, epoch=EPOCH, limit=1_000))
    return [(NOW_US - e.ts_us) // DAY_US for e in page.events]


async def fill(store: EventStore, *channels: str) -> None:
    """An event for each of the last 50 days, in each channel."""
    records = [
        event(seq, channel, ts_us=NOW_US - (50 - seq) * DAY_US) for channel in channels for seq in range(1, 51)
    ]
    await store.append("log_1", records, 100)


@pytest.mark.parametrize(
    ("configured", "own", "days"),
    [
        pytest.param(None, None, 30, id="the built-in 30 days"),
        pytest.param(PolicyOverride(retention_s=10 * 86_400), None, 10, id="the configuration's"),
        pytest.param(None, PolicyOverride(retention_s=5 * 86_400), 5, id="the app's own"),
        pytest.param(
            PolicyOverride(retention_s=10 * 86_400),
            PolicyOverride(retention_s=5 * 86_400),
            5,
            id="own above configured",
        ),
        pytest.param(
            PolicyOverride(retention_s=10 * 86_400), PolicyOverride(history_events=7), 10, id="both, of other fields"
        ),
        pytest.param(
            PolicyOverride(history_s=20 * 86_400, retention_s=20 * 86_400),
            PolicyOverride(retention_s=5 * 86_400),
            49,
            id="a contradiction deletes nothing",
        ),
    ],
)
async def test_events_older_than_their_kinds_retention_go(
    store: SqliteEventStore, configured: PolicyOverride | None, own: PolicyOverride | None, days: int
) -> None:
    await fill(store, "room:a")
    kinds = {} if configured is None else {"app": {"room": configured}}
    apps = Apps(App("app", kinds={} if own is None else {"room": own}))
    pruning = Retention(store, apps, kinds, clock=lambda: NOW_US)
    await pruning.prune()
    assert await kept_days(store, "room:a") == list(range(days, -1, -1))
    assert pruning.deleted_total == 49 - days


async def test_kinds_have_a_retention_each(store: SqliteEventStore) -> None:
    await fill(store, "room:a", "room:b", "poll:c")
    apps = Apps(App("app", kinds={"poll": PolicyOverride(durability="logged", retention_s=86_400, history_s=3600)}))
    await Retention(store, apps, {}, clock=lambda: NOW_US).prune()
    assert len(await kept_days(store, "room:a")) == len(await kept_days(store, "room:b")) == 31
    assert await kept_days(store, "poll:c") == [1, 0]


async def test_where_nobody_says_that_events_may_go_they_stay(store: SqliteEventStore) -> None:
    await fill(store, "room:a", "poll:c")
    await Retention(store, Apps(), {}, clock=lambda: NOW_US).prune()
    await Retention(store, Apps(App("app")), {}, clock=lambda: NOW_US).prune()
    assert len(await kept_days(store, "poll:c")) == 50


async def test_a_deletion_is_done_in_batches_that_let_others_write(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 5)
    monkeypatch.setattr(retention, "PAUSE_S", 0.001)
    await fill(store, "room:a")
    writes = 0

    async def keep_writing() -> None:
        nonlocal writes
        while True:
            await store.append("log_2", [], writes + 1)
            writes += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_writing)
        await Retention(store, Apps(App("app")), {}, clock=lambda: NOW_US).prune()
        nursery.cancel_scope.cancel()
    assert writes >= 3
    assert len(await kept_days(store, "room:a")) == 31


async def test_retention_waits_out_a_lost_registry(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.005)
    await fill(store, "room:a")
    calls = 0

    class Away(Apps):
        async def app(self, app_id: str) -> App:
            nonlocal calls
            calls += 1
            if calls < 3:
                raise Unavailable("away")
            return await super().app(app_id)

    service = Retention(store, Away(App("app")), {}, clock=lambda: NOW_US)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        with trio.fail_after(5):
            while service.deleted_total < 19:
                await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    assert "away" in caplog.text


# --- deleted apps ---


async def test_a_deleted_apps_id_is_freed_when_nothing_of_it_is_left(
    store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BATCH_EVENTS", 7)
    monkeypatch.setattr(forgetting, "PAUSE_S", 0.0)
    await fill(store, "room:a", "room:b")
    await store.append("log_1", [AppForgotten("app", "anew")], 200)
    freed: list[tuple[str, int]] = []

    class Registry:
        async def app_erased(self, app_id: str) -> None:
            freed.append((app_id, len(await kept_days(store, "room:a")) + len(await kept_days(store, "room:b"))))
            if len(freed) == 1:
                raise Unavailable("a moment, please")

    class Rollups:
        forgotten: ClassVar[list[str]] = []

        async def forgotten_apps(self) -> list[str]:
            return self.forgotten

        async def erased(self, app_id: str) -> None:
            self.forgotten.remove(app_id)

    rollups = Rollups()
    erasing = Forgetting(store, Registry(), rollups)
    await erasing.erase()
    assert freed == []  # the rollups have yet to read that it is gone
    rollups.forgotten.append("app")
    with pytest.raises(Unavailable):
        await erasing.erase()
    assert await store.forgotten_apps() == ["app"]  # so that it is tried again
    await erasing.erase()
    assert freed == [("app", 0), ("app", 0)]
    assert await store.forgotten_apps() == []
    assert rollups.forgotten == []


# --- the whole ---


async def test_the_processor_is_caught_up_with_a_log_that_holds_nothing_yet(
    tmp_path: Path, store: SqliteEventStore
) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_registry(tmp_path / "registry.db") as registry,
        open_sqlite_rollups(tmp_path / "rollups.db", RollupSettings()) as rollups,
        open_sqlite_webhooks(tmp_path / "webhooks.db") as webhooks,
        AsyncExitStack() as processing,
        trio.open_nursery() as nursery,
    ):
        stores = Stores(kind="sqlite", registry=registry, events=store, webhooks=webhooks, rollups=rollups)
        processor = await processing.enter_async_context(open_processor_beside(log, stores, Settings()))
        await nursery.start(processor.run)
        with trio.fail_after(5):
            await processor.caught_up(log.end)
        assert processor.health().stages[STORE_READER].lag_bytes == 0
        nursery.cancel_scope.cancel()


async def test_the_processor_stores_prunes_erases_and_knows_how_far_it_is(
    tmp_path: Path, store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "EVERY_S", 0.01)
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_registry(tmp_path / "registry.db") as registry,
        open_sqlite_rollups(tmp_path / "rollups.db", RollupSettings()) as rollups,
        open_sqlite_webhooks(tmp_path / "webhooks.db") as webhooks,
        AsyncExitStack() as processing,
        trio.open_nursery() as nursery,
    ):
        for app_id in ("app", "gone"):
            await registry.create_app(App(app_id), key(app_id), secret(app_id))
        log.append([event(1, ts_us=1), event(2), event(1, app_id="gone")])
        await registry.delete_app("gone", NOW_US)
        log.forget_app("gone")
        stores = Stores(kind="sqlite", registry=registry, events=store, webhooks=webhooks, rollups=rollups)
        processor = await processing.enter_async_context(open_processor_beside(log, stores, Settings()))
        assert processor.health().stages[STORE_READER].lag_bytes == log.end
        await nursery.start(processor.run)
        with trio.fail_after(5):
            await processor.caught_up(log.end)
            while processor.health().pruned_total < 1 or await registry.deleted_apps():
                await trio.sleep(0.002)
        health = processor.health().stages[STORE_READER]
        assert (health.lag_bytes, health.lag_s, health.waiting_for) == (0, 0, None)
        assert health.events_total in (2, 3)  # the log may have blanked the deleted app's before it was read
        page = await store.history(HistoryQuery(app_id="app", channel="room:lobby", epoch=EPOCH))
        assert [e.seq for e in page.events] == [2]
        assert await store.apps_and_kinds() == [("app", "room")]
        assert [row.events for row in await rollups.app_rows("app", DAY, 0, 1 << 40)] == [1]  # the other is too old
        assert await rollups.app_rows("gone", DAY, 0, 1 << 40) == []
        await registry.create_app(App("gone"), key("gone"), secret("gone"))
        with pytest.raises(Conflict):
            await registry.create_app(App("app"), key("x"), secret("x"))
        nursery.cancel_scope.cancel()
