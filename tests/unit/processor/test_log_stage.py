"""The copy from log to store: nothing twice, nothing missing, whatever the store or a record does."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH, event, events

from polyglotd.log.interface import STORE_READER, AppForgotten, LogSettings, Meter, ReadBatch, ReadRecord
from polyglotd.log.segment_reader import open_segments_reader
from polyglotd.log.segments import open_segments
from polyglotd.model import Unavailable
from polyglotd.processor import log_stage
from polyglotd.processor.log_stage import LogStage
from polyglotd.store.interface import HistoryQuery, SetAside, StoreCorrupt
from polyglotd.store.sqlite.events import SqliteEventStore, open_sqlite_events

SETTINGS = LogSettings(segment_bytes=1_000)
HISTORY = HistoryQuery(app_id="app", channel="room:lobby", epoch=EPOCH, limit=1_000)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stage, "RETRY_S", 0.001)


class Faulty:
    """A real store with a fault in front: `before` runs ahead of each append and may raise."""

    def __init__(self, store: SqliteEventStore, before: Callable[[Sequence[ReadRecord]], Awaitable[None]]) -> None:
        self._store = store
        self._before = before
        self.appends = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        self.appends += 1
        await self._before(records)
        await self._store.append(log_id, records, end, set_aside)


async def run_until(writer: LogStage, position: int) -> None:
    """Let the writer work until it has stored everything before `position`."""
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        with trio.fail_after(10):
            while writer.position < position:
                await trio.sleep(0.002)
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def seqs(store: SqliteEventStore) -> list[int]:
    return [e.seq for e in (await store.history(HISTORY)).events]


async def test_what_is_in_the_log_comes_into_the_store_and_the_log_is_let_go(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        for seq in range(1, 51):
            log.append([event(seq), Meter("app", event(seq).ts_us, 2, 10, 0, 0)])
        writer = LogStage("store", log.id, log.reader(STORE_READER, 0), store)
        await run_until(writer, log.end)
        assert (await store.history(HISTORY)).events == events(1, 50)
        assert (await store.usage("app", "2026-11")).events == 150
        assert await store.cursor(log.id) == log.end
        assert log.tail_first("app", "room:lobby") == 51
        assert log.stats().readers[STORE_READER] == log.end
        assert (writer.stats.events_total, writer.position) == (50, log.end)


async def test_a_writer_that_is_cut_off_anywhere_is_continued_without_loss_or_repetition(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        for seq in range(1, 201):
            log.append([event(seq), Meter("app", event(seq).ts_us, 1, 1, 0, 0)])
        for number in range(1, 60):
            position = await store.cursor(log.id)
            if position == log.end:
                break
            with trio.move_on_after(0.0007 * number):
                await LogStage("store", log.id, log.reader(STORE_READER, position), store, position=position).run()
        position = await store.cursor(log.id)
        await run_until(
            LogStage("store", log.id, log.reader(STORE_READER, position), store, position=position), log.end
        )
        assert await seqs(store) == list(range(1, 201))
        assert (await store.usage("app", "2026-11")).events == 400


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Unavailable("away"), id="unavailable"),
        pytest.param(StoreCorrupt("damaged"), id="damaged until the operator puts a backup in its place"),
    ],
)
async def test_a_lost_store_is_waited_for_and_said_once(
    tmp_path: Path, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    away = True

    async def lost(records: Sequence[ReadRecord]) -> None:
        if away:
            raise fault

    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append(events(1, 5))
        faulty = Faulty(store, lost)
        later = event(1).ts_us + 2_500_000
        writer = LogStage("store", log.id, log.reader(STORE_READER, 0), faulty, clock=lambda: later)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            while faulty.appends < 10:
                await trio.sleep(0.002)
            assert writer.waiting_for == str(fault)
            assert writer.lag_s() == 2.5
            assert writer.position == 0
            away = False
            while writer.position < log.end:
                await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
        assert await seqs(store) == [1, 2, 3, 4, 5]
        assert writer.waiting_for is None
        assert writer.lag_s() == 0
        assert writer.stats.set_aside_total == 0
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 2
    assert "wait in the log for stage store" in said[0]
    assert "again" in said[1]


async def test_a_store_that_does_not_answer_in_time_is_asked_again_and_stores_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stage, "WRITE_DEADLINE_S", 0.02)
    slow = 2

    async def stalled(records: Sequence[ReadRecord]) -> None:
        nonlocal slow
        if slow:
            slow -= 1
            await trio.sleep(1)

    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append(events(1, 5))
        writer = LogStage("store", log.id, log.reader(STORE_READER, 0), Faulty(store, stalled))  # type: ignore[arg-type]
        await run_until(writer, log.end)
        assert await seqs(store) == [1, 2, 3, 4, 5]
        assert writer.stats.failures_total >= 2


async def test_records_that_cant_be_stored_are_set_aside_and_those_around_them_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log, open_sqlite_events(tmp_path / "e.db") as store:
        bad = {3, 4, 7, 10}
        log.append([event(seq, data=b'"\xff"' if seq in bad else b"1") for seq in range(1, 11)])
        writer = LogStage("store", log.id, log.reader(STORE_READER, 0), store)
        await run_until(writer, log.end)
        assert await seqs(store) == [1, 2, 5, 6, 8, 9]
        assert (await store.stats()).set_aside == len(bad) == writer.stats.set_aside_total
        assert await store.cursor(log.id) == log.end
        log.append([event(11)])
        await run_until(writer, log.end)
        assert (await seqs(store))[-1] == 11
    errors = [record for record in caplog.records if "set aside" in record.message]
    assert len(errors) == len(bad)
    assert all("UTF-8" in record.message for record in errors)


async def test_a_record_that_breaks_the_store_is_set_aside_after_some_tries(tmp_path: Path) -> None:
    tries = 0

    async def break_down(records: Sequence[ReadRecord]) -> None:
        nonlocal tries
        if any(getattr(record, "seq", 0) == 3 for record in records):
            tries += 1
            raise TypeError("a fault of ours")

    async with open_segments(tmp_path / "log", LogSettings()) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append(events(1, 5))
        writer = LogStage("store", log.id, log.reader(STORE_READER, 0), Faulty(store, break_down))  # type: ignore[arg-type]
        await run_until(writer, log.end)
        assert await seqs(store) == [1, 2, 4, 5]
        assert (await store.stats()).set_aside == 1
        assert tries == 3 * log_stage.TRIES_MAX  # with its batch, with half of it, and alone


async def test_a_forgotten_app_is_forgotten_where_the_log_says_so(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append(events(1, 5))
        log.forget_app("app")
        epoch = log.head("app", "room:lobby").epoch
        log.append([event(1, epoch=epoch)])
        await run_until(LogStage("store", log.id, log.reader(STORE_READER, 0), store), log.end)
        assert await store.forgotten_apps() == ["app"]
        assert await store.erase_forgotten("app", 100)
        assert await seqs(store) == []
        page = await store.history(HistoryQuery(app_id="app", channel="room:lobby", epoch=epoch))
        assert page.events == [event(1, epoch=epoch)]


async def test_a_log_that_cant_be_let_go_now_is_let_go_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        """A reader whose first commit fails."""

        def __init__(self) -> None:
            self.batches = [ReadBatch([event(1)], 100, [100]), ReadBatch([AppForgotten("x", "e")], 200, [200])]
            self.committed: list[int] = []
            self.refusals = 1
            self.position = 0
            self.end = 200

        async def next_batch(self, limit: int) -> ReadBatch:
            if not self.batches:
                await trio.sleep_forever()
            return self.batches.pop(0)

        async def commit(self, position: int) -> None:
            if self.refusals:
                self.refusals -= 1
                raise Unavailable("the disk is full")
            self.committed.append(position)

    async with open_sqlite_events(tmp_path / "e.db") as store:
        reader = Stubborn()
        await run_until(LogStage("store", "log_1", reader, store), 200)
        assert reader.committed == [200]
        assert await seqs(store) == [1]
    assert "the disk is full" in caplog.text


async def test_a_writer_beside_the_logs_owner_copies_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with open_segments(path, SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append(events(1, 20))
        async with open_segments_reader(path, STORE_READER, 0) as reader:
            await run_until(LogStage("store", log.id, reader, store), log.end)
        assert await seqs(store) == list(range(1, 21))
