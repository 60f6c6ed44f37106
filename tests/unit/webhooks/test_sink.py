"""The stage that queues: from a real log, what endpoints want, once, whatever is cut off."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from polyglotd.log.interface import Erasure, LogSettings, PresenceChanged, QuotaReached
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import Endpoint, EndpointPatch, EndpointSecret, Event, WebhookType
from polyglotd.processor.log_stage import LogStage
from polyglotd.processor.webhooks import sink as sink_module
from polyglotd.processor.webhooks.endpoints import Endpoints
from polyglotd.processor.webhooks.sink import WebhookSink
from polyglotd.store.sqlite.webhooks import SqliteWebhookQueue, open_sqlite_webhooks

NOW = 1_795_508_130_000_000


def event(log: SegmentLog, seq: int, app_id: str = "app", channel: str = "room:a", ts_us: int = NOW) -> Event:
    epoch = log.head(app_id, channel).epoch
    return Event(f"evt_{seq}", app_id, channel, epoch, seq, "m", b'"secret"', "ann", ts_us + seq)


def endpoint(app_id: str = "app", *types: WebhookType, since_us: int = 0) -> Endpoint:
    kinds = types or ("event.published",)
    return Endpoint(
        f"whe_{app_id}", app_id, "https://a.example/", kinds, (EndpointSecret("whsec_"),), since_us, since_us
    )


class Registry:
    def __init__(self, *found: Endpoint) -> None:
        self.found = list(found)
        self.changes = 1

    async def version(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.changes

    async def all_webhooks(self) -> list[Endpoint]:
        return self.found

    async def change_webhook(self, app_id: str, endpoint_id: str, patch: EndpointPatch) -> Endpoint:
        raise NotImplementedError


@asynccontextmanager
async def stage(log: SegmentLog, queue: SqliteWebhookQueue, registry: Registry) -> AsyncIterator[LogStage]:
    sink = WebhookSink(queue, Endpoints(registry, queue, lambda: NOW), lambda: NOW)
    position = await sink.cursor(log.id)
    reader = sink.durable_commits(log.reader("webhooks", position))
    running = LogStage("webhooks", log.id, reader, sink, position=position)
    async with trio.open_nursery() as nursery:
        await nursery.start(running.run)
        yield running
        nursery.cancel_scope.cancel()


async def through(running: LogStage, log: SegmentLog) -> None:
    with trio.fail_after(10):
        while running.position < log.end:
            await trio.sleep(0.002)


async def bodies(queue: SqliteWebhookQueue, app_id: str = "app") -> list[dict[str, object]]:
    return [json.loads(one.body) for one in await queue.items(app_id, 0, 1_000, 1 << 30)]


async def test_what_an_endpoint_wants_is_queued_once_over_restarts(tmp_path: Path) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        registry = Registry(endpoint())
        for first in range(1, 200, 20):
            async with stage(log, queue, registry) as running:
                log.append([event(log, seq) for seq in range(first, first + 20)])
                if first % 40 == 1:
                    await through(running, log)  # else it is cut off wherever it is
        async with stage(log, queue, registry) as running:
            await through(running, log)
        found = await bodies(queue)
        assert [body["event"]["seq"] for body in found] == list(range(1, 201))  # type: ignore[index]
        assert len({body["id"] for body in found}) == 200
        assert await bodies(queue, "other") == []


async def test_only_what_happens_after_an_endpoint_began_is_for_it(tmp_path: Path) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        log.append([event(log, seq) for seq in range(1, 6)])
        async with stage(log, queue, Registry(endpoint(since_us=NOW + 4))) as running:
            await through(running, log)
        assert [body["event"]["seq"] for body in await bodies(queue)] == [4, 5]  # type: ignore[index]


async def test_presence_and_quotas_become_items_of_those_who_want_them(tmp_path: Path) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        log.append(
            [
                PresenceChanged("occupied", "app", "room:a", "", NOW),
                PresenceChanged("joined", "app", "room:a", "ann", NOW),
                PresenceChanged("joined", "app", "room:a", "ann", NOW + 1),
                QuotaReached("app", "events-per-month", "2026-11", 80, 10, 8, NOW),
                QuotaReached("other", "events-per-month", "2026-11", 80, 10, 8, NOW),
                event(log, 1),
            ]
        )
        async with stage(log, queue, Registry(endpoint("app", "member.joined", "quota.reached"))) as running:
            await through(running, log)
        joined, quota = await bodies(queue)
        assert {**joined, "id": ""} == {
            "id": "", "type": "member.joined", "app_id": "app", "channel": "room:a", "user_id": "ann",
            "timestamp": "2026-11-24T08:15:30.000000Z",
        }  # fmt: skip
        assert (quota["quota"], quota["percent"], quota["used"], quota["month"]) == (
            "events-per-month", 80, 8, "2026-11",
        )  # fmt: skip


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "after it was queued"])
async def test_an_erasure_in_the_log_reaches_what_is_before_it(tmp_path: Path, at_once: bool) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        log.append([event(log, 1), event(log, 2)])
        async with stage(log, queue, Registry(endpoint())) as running:
            if not at_once:
                await through(running, log)
            epoch = log.head("app", "room:a").epoch
            log.erase(Erasure("era_1", "app", "event", "room:a", epoch, 1, 1, None, NOW + 9))
            log.append([event(log, 3)])
            await through(running, log)
        data = [body["event"]["data"] for body in await bodies(queue)]  # type: ignore[index]
        assert data[-2:] == ["secret", "secret"]
        assert "secret" not in data[:-2]


async def test_a_forgotten_app_leaves_nothing_behind(tmp_path: Path) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        registry = Registry(endpoint(), endpoint("other"))
        log.append([event(log, 1), event(log, 1, "other")])
        async with stage(log, queue, registry) as running:
            await through(running, log)
            log.forget_app("app")
            await through(running, log)
        assert await bodies(queue) == []
        assert len(await bodies(queue, "other")) == 1


async def test_where_nothing_is_wanted_the_log_is_let_go_as_far_as_the_cursor_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        monkeypatch.setattr(sink_module, "CURSOR_S", 1e9)
        async with stage(log, queue, Registry()) as running:
            log.append([event(log, 1)])
            await through(running, log)
            first = await queue.cursor(log.id)
            log.append([event(log, seq) for seq in range(2, 100)])
            await through(running, log)
            assert await queue.cursor(log.id) == first < log.end
            assert log.stats().readers["webhooks"] == first
            monkeypatch.setattr(sink_module, "CURSOR_S", 0)
            log.append([event(log, 100)])
            await through(running, log)
            with trio.fail_after(10):
                while log.stats().readers["webhooks"] < log.end:
                    await trio.sleep(0.002)
        assert await queue.cursor(log.id) == log.end


async def test_a_log_that_falls_silent_is_let_go_though_nothing_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        monkeypatch.setattr(sink_module, "CURSOR_S", 0.1)
        monkeypatch.setattr(sink_module, "CURSOR_BYTES", 1 << 40)
        async with stage(log, queue, Registry()) as running:
            for seq in (1, 2):  # the first moves the cursor, having been told of none
                log.append([event(log, seq)])
                await through(running, log)
            with trio.fail_after(10):
                while log.stats().readers["webhooks"] < log.end:
                    await trio.sleep(0.01)
            assert await queue.cursor(log.id) == log.end
            log.append([event(log, 3)])
            await through(running, log)


async def test_a_record_that_is_no_text_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with (
        open_segments(tmp_path / "log", LogSettings()) as log,
        open_sqlite_webhooks(tmp_path / "w.db") as queue,
    ):
        bad = Event("evt_2", "app", "room:a", log.head("app", "room:a").epoch, 2, "m", b'"\xff"', None, NOW)
        log.append([event(log, 1), bad, event(log, 3)])
        async with stage(log, queue, Registry(endpoint())) as running:
            await through(running, log)
            assert running.stats.set_aside_total == 1
        assert [body["event"]["seq"] for body in await bodies(queue)] == [1, 3]  # type: ignore[index]
