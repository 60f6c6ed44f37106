"""What `polyglotd migrate --from` moves (polyglotd/store/moving.py): SQLite databases into a real PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import trio
from contracts.log_events import EPOCH, event
from contracts.stores import Make, PostgresMake, SqliteMake
from contracts.test_registry import NOW, endpoint, key
from contracts.test_registry import create as create_apps
from contracts.test_webhook_queue import item, message

from polyglotd.log.interface import AppForgotten, Meter
from polyglotd.model import EndpointPatch, Event, Invalid, LimitsPatch, PolicyOverride, Revocation, Unavailable
from polyglotd.model.latency import Latency
from polyglotd.processor.rollups import deltas_of
from polyglotd.store import moving
from polyglotd.store.analytics import LEVELS, Rollups, RollupSettings
from polyglotd.store.interface import EventStore, HistoryQuery, SetAside, StoreFault
from polyglotd.store.moving import Source, move
from polyglotd.store.webhooks import Appended, PresentStep, Try

LOG = "log_1"
DAY_US = 86_400_000_000


@pytest.fixture(params=["postgres-15", "postgres-18"])
def target(request: pytest.FixtureRequest) -> Iterator[PostgresMake]:
    made = PostgresMake(request.param)
    yield made
    made.end()


@pytest.fixture
def source(tmp_path: Path) -> SqliteMake:
    return SqliteMake(tmp_path)


def databases(directory: Path) -> Source:
    names = ("registry0.db", "events0.db", "webhooks0.db", "rollups0.db")
    return Source(directory, *(directory / name for name in names))


async def fill_events(make: Make, count: int) -> list[Event]:
    """In two channels, over some weeks, with what is hard to keep: control characters, numbers, repeated keys."""
    stored = [
        event(
            seq + 1,
            ("room:a", "post:b")[seq % 2] if seq < count - 1 else "room:ä",
            "chat",
            id=f"evt_{seq:026d}",
            ts_us=NOW - seq * DAY_US // 3,
            data=(b'{"a":1,"a":2.10,"n":12345678901234567890}', b'"\\u0000 \xf0\x9f\x98\x80"', b"null")[seq % 3],
            user_id=("ann", None)[seq % 2],
        )
        for seq in range(count)
    ]
    async with make.open_events() as store:
        await store.append(LOG, [event(1, "room:a", "gone")], 10)
        await store.append(LOG, [AppForgotten("gone", "e2"), *stored], 900)
        await store.append(LOG, [Meter("chat", NOW, 5, 50, 0, 0)], 1_000, [SetAside(stored[0], "no reason")])
    return stored


async def history(store: EventStore, channel: str) -> list[Event]:
    query = HistoryQuery(app_id="chat", channel=channel, epoch=EPOCH, after=0, limit=10_000, bytes_max=1 << 30)
    return (await store.history(query)).events


async def moved(tmp_path: Path, target: PostgresMake) -> tuple[str, list[str]]:
    told: list[str] = []
    return await trio.to_thread.run_sync(move, databases(tmp_path), target.url, told.append), told


async def test_events_usage_and_cursors_are_the_same_after_a_move(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    stored = await fill_events(source, 300)
    async with source.open_events() as store:
        usage = [await store.usage("chat", month) for month in ("2026-10", "2026-11")]
    line, _ = await moved(tmp_path, target)
    assert "300 events" in line
    async with target.open_events() as store:
        for channel in ("room:a", "post:b", "room:ä"):
            assert await history(store, channel) == [e for e in stored if e.channel == channel]
        assert [await store.usage("chat", month) for month in ("2026-10", "2026-11")] == usage
        assert usage[1].events > 5
        assert await store.cursor(LOG) == 1_000
        assert set(await store.apps_and_kinds()) == {("chat", "room"), ("chat", "post")}
        assert (await store.stats()).set_aside == 1
        assert await store.forgotten_apps() == ["gone"]
        assert await store.erase_forgotten("gone", 10)
        await store.erased("gone")
        assert await store.forgotten_apps() == []
        # And it goes on: what is read again is not stored twice, old events can be pruned.
        await store.append(LOG, stored[:5], 1_000)
        await store.append(LOG, [*stored[:5], event(301, "room:a", "chat", ts_us=NOW)], 1_100)
        assert len(await history(store, "room:a")) == len([e for e in stored if e.channel == "room:a"]) + 1
        assert await store.prune("chat", "room:", NOW - 60 * DAY_US, 1_000) > 10


async def test_the_registry_is_the_same_after_a_move(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    async with source.open_registry() as registry:
        await create_apps(registry, "chat", "other", "gone")
        await registry.patch_limits("chat", LimitsPatch(connections=7))
        await registry.set_kind("chat", "poll", PolicyOverride(durability="logged"))
        await registry.suspend_app("other", NOW)
        await registry.rotate_key("chat", "key_chat", key("key_2", created_us=NOW + 1), NOW + DAY_US)
        await registry.revoke_secret("chat", "sec_chat", NOW + 1)
        await registry.add_webhook(endpoint(), 9)
        await registry.change_webhook("chat", "whe_1", EndpointPatch(enabled=False, disabled_why="410"))
        await registry.delete_app("gone", NOW)
        await registry.add_admin_token(b"\x01" * 32, "first", NOW)
        await registry.revoke("chat", "token", "jti", NOW, NOW + DAY_US)
        apps = await registry.apps("", 9)
        keys, secrets = await registry.keys("chat"), await registry.secrets("chat")
        webhooks, revocations = await registry.all_webhooks(), await registry.revocations(0, 99)
        version = await registry.version()
    await moved(tmp_path, target)
    async with target.open_registry() as registry:
        assert await registry.apps("", 9) == apps
        assert await registry.keys("chat") == keys
        assert await registry.secrets("chat") == secrets
        assert await registry.all_webhooks() == webhooks
        assert await registry.revocations(0, 99) == revocations
        assert await registry.deleted_apps() == ["gone"]
        assert await registry.admin_tokens() == {b"\x01" * 32: "first"}
        assert await registry.version() > version
        await registry.revoke("chat", "user", "ann", NOW, NOW + DAY_US)
        last = (await registry.revocations(revocations[-1].cursor, 9))[-1]
        assert last == Revocation(revocations[-1].cursor + 1, "chat", "user", "ann", NOW)


async def test_the_webhooks_queue_is_the_same_after_a_move(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    async with source.open_registry(), source.open_webhooks(lambda: NOW) as queue:
        await queue.begin("other", "whe_0")
        await queue.begin("chat", "whe_1")
        steps = [PresentStep("chat", "room:a", "ann", 3)]
        batch = Appended(items=[item(seq) for seq in range(1, 8)], present=steps, generations={"": 3})
        await queue.append(LOG, 70, batch)
        await queue.formed("whe_1", 5, [message(1, (1, 2), (4, 4)), message(2, (5, 5))])
        tried = Try(message_id="msg_1", at_us=NOW, attempt=1, items=3, duration_ms=5, status=500)
        await queue.failed(message(1, (1, 2), (4, 4)), tried, 4, NOW + 9)
        await queue.died("msg_2", "given up", NOW)
        kept = (
            await queue.items("chat", 0, 99, 1 << 20),
            await queue.states("chat"),
            await queue.pending("whe_1"),
            await queue.tries("whe_1", 9),
            await queue.dead_letters("whe_1", None, 9),
            await queue.presences(),
            await queue.stats(),
        )
    await moved(tmp_path, target)
    async with target.open_webhooks(lambda: NOW) as queue:
        assert await queue.cursor(LOG) == 70
        assert kept == (
            await queue.items("chat", 0, 99, 1 << 20),
            await queue.states("chat"),
            await queue.pending("whe_1"),
            await queue.tries("whe_1", 9),
            await queue.dead_letters("whe_1", None, 9),
            await queue.presences(),
            await queue.stats(),
        )
        await queue.append(LOG, 80, Appended(items=[item(8)]))
        assert (await queue.items("chat", 7, 99, 1 << 20))[0].n == 8


async def test_analytics_are_the_same_after_a_move(source: SqliteMake, target: PostgresMake, tmp_path: Path) -> None:
    async def rows(rollups: Rollups) -> list[object]:
        found: list[object] = [await rollups.progress(LOG)]
        for level in LEVELS:
            found.append(await rollups.app_rows("chat", level, 0, 1 << 40))
            found.append(await rollups.channel_rows("chat", "room:a", level, 0, 1 << 40))
        return found

    meter = Meter("chat", NOW, 5, 50, 70, 9, Latency(123, {7: 4, 9: 1}))
    log = [event(seq, "room:a", "chat", user_id=f"user{seq}") for seq in range(1, 300)]
    settings = RollupSettings()
    async with source.open_registry(), source.open_rollups(settings) as rollups:
        await rollups.add(LOG, deltas_of([*log, meter], dict.fromkeys(LEVELS, 0)), 77)
        had = await rows(rollups)
    assert all(had)
    await moved(tmp_path, target)
    async with target.open_rollups(settings) as rollups:
        assert await rows(rollups) == had
        await rollups.add(LOG, deltas_of([meter], dict.fromkeys(LEVELS, 0)), 99)
        (day,) = await rollups.app_rows("chat", LEVELS[-1], 0, 1 << 40)
        assert (day.events, day.deliveries, day.latency.sum_us) == (299 + 10, 140, 246)


async def test_a_move_that_was_interrupted_goes_on_where_it_was(
    source: SqliteMake, target: PostgresMake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await fill_events(source, 400)
    async with source.open_registry() as registry:
        await create_apps(registry, "chat")
    monkeypatch.setattr(moving, "STEP_ROWS", 50)
    monkeypatch.setattr(moving, "TELL_EVERY_ROWS", 100)

    class Interrupted(Exception):
        pass

    def interrupt(line: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        await trio.to_thread.run_sync(move, databases(tmp_path), target.url, interrupt)
    with psycopg.connect(target.url) as connection:
        with pytest.raises(StoreFault, match="half moved"):
            moving.refuse_unfinished(connection)
        assert connection.execute("SELECT count(*) FROM polyglot.events").fetchone() == (100,)
    other = tmp_path / "other"
    async with SqliteMake(other).open_registry():
        pass
    with pytest.raises(StoreFault, match="only half moved"):
        await trio.to_thread.run_sync(move, databases(other), target.url, print)
    line, told = await moved(tmp_path, target)
    assert told[0] == "going on after 100 of 401 events"  # one is a forgotten app's
    assert "1 apps and 400 events" in line
    async with target.open_events() as store:
        assert await history(store, "post:b") == [e for e in stored if e.channel == "post:b"]
    with psycopg.connect(target.url) as connection:
        moving.refuse_unfinished(connection)
        assert connection.execute("SELECT count(*) FROM polyglot.events").fetchone() == (400,)
    line, _ = await moved(tmp_path, target)
    assert "already" in line


async def test_nothing_is_moved_into_a_database_that_has_something(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    await fill_events(source, 3)
    async with target.open_registry() as registry:
        await create_apps(registry, "chat")
    with pytest.raises(StoreFault, match="of its own"):
        await moved(tmp_path, target)


async def test_an_event_that_postgresql_cant_hold_is_set_aside_and_the_rest_moves(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    await fill_events(source, 9)
    with closing(sqlite3.connect(tmp_path / "events0.db")) as database, database:
        database.execute("UPDATE events SET type = 'a' || char(0) WHERE seq = 3")
    line, _ = await moved(tmp_path, target)
    assert "8 events" in line
    with psycopg.connect(target.url) as connection:
        rows = connection.execute("SELECT why FROM polyglot.set_aside ORDER BY set_aside_no").fetchall()
    assert [why for (why,) in rows] == ["it holds a NUL byte, which PostgreSQL can't", "no reason"]


async def test_a_name_that_postgresql_cant_hold_stops_a_move_until_it_is_changed(
    source: SqliteMake, target: PostgresMake, tmp_path: Path
) -> None:
    async with source.open_registry() as registry:
        await create_apps(registry, "chat")
        await registry.rename_app("chat", "a\0b")
        with pytest.raises(StoreFault, match=r"polyglot\.apps.*can't be stored"):
            await moved(tmp_path, target)
        await registry.rename_app("chat", "ab")
    line, _ = await moved(tmp_path, target)
    assert "1 apps" in line
    async with target.open_registry() as registry:
        with pytest.raises(Invalid):
            await registry.rename_app("chat", "a\0b")
        assert (await registry.app("chat")).name == "ab"


async def test_a_registry_whose_rights_were_taken_is_away_until_they_are_back(target: PostgresMake) -> None:
    async with target.open_registry() as registry:
        await create_apps(registry, "chat")
        with psycopg.connect(target.url, autocommit=True) as admin:
            admin.execute("ALTER TABLE polyglot.apps RENAME TO apps_away")
            with pytest.raises(Unavailable):
                await registry.app("chat")
            with pytest.raises(Unavailable):
                await registry.rename_app("chat", "x")
            admin.execute("ALTER TABLE polyglot.apps_away RENAME TO apps")
        assert (await registry.app("chat")).name == "Chat"
