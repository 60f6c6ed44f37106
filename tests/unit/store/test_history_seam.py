"""History across the seam of store and log, while the store runs behind, catches up, and segments go."""

from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglotd.log.interface import STORE_READER, LogReader, LogSettings
from polyglotd.log.segments import open_segments
from polyglotd.model import Event, encode_event
from polyglotd.store.history import read_history
from polyglotd.store.interface import EventPage, EventStore, HistoryQuery
from polyglotd.store.sqlite.events import open_sqlite_events

SETTINGS = LogSettings(segment_bytes=1_500)


def query(**fields: object) -> HistoryQuery:
    return HistoryQuery(**({"app_id": "app", "channel": "room:lobby", "epoch": EPOCH} | fields))  # type: ignore[arg-type]


def plain_history(stored: list[Event], query: HistoryQuery) -> tuple[list[int], bool]:
    """The same over a list."""
    matching = [
        e
        for e in stored
        if (query.after is None or e.seq > query.after)
        and (query.before is None or e.seq < query.before)
        and (query.type is None or e.type == query.type)
        and (query.from_us is None or e.ts_us >= query.from_us)
        and (query.to_us is None or e.ts_us < query.to_us)
    ]
    if query.after is None:
        matching.reverse()
    page: list[Event] = []
    for e in matching:
        size = sum(len(encode_event(kept)) for kept in [*page, e])
        if len(page) == query.limit or (page and size > query.bytes_max):
            break
        page.append(e)
    return sorted(e.seq for e in page), len(page) < len(matching)


async def copy(reader: LogReader, store: EventStore, log_id: str, count: int) -> None:
    """What the processor does, so far."""
    while count:
        batch = await reader.next_batch(count)
        await store.append(log_id, batch.records, batch.end)
        await reader.commit(batch.end)
        count -= len(batch.records)


bounds = st.none() | st.integers(-2, 35)
queries = st.builds(
    query,
    after=bounds,
    before=bounds,
    type=st.none() | st.sampled_from(["odd", "even", "never"]),
    from_us=bounds,
    to_us=bounds,
    limit=st.integers(1, 12),
    bytes_max=st.sampled_from([1, 500, 1_000, 1 << 20]),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 30), st.lists(queries, min_size=5, max_size=20))
async def test_a_page_is_that_of_a_list_wherever_the_seam_is(
    tmp_path_factory: pytest.TempPathFactory, stored: int, asked: list[HistoryQuery]
) -> None:
    path = tmp_path_factory.mktemp("seam")
    written = [event(s, type="odd" if s % 2 else "even", ts_us=s) for s in range(1, 31)]
    async with open_segments(path / "log", SETTINGS) as log, open_sqlite_events(path / "events.db") as store:
        for e in written:
            log.append([e, event(e.seq, "room:other")])
        await copy(log.reader(STORE_READER, 0), store, log.id, stored * 2)
        assert log.tail_first("app", "room:lobby") == stored + 1
        for q in asked:
            page = await read_history(store, log, q)
            assert ([e.seq for e in page.events], page.more) == plain_history(written, q)
            assert all(e in written for e in page.events)


async def test_the_past_of_a_past_epoch_comes_from_the_store(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        log.append([*events(1, 5), event(1, epoch="second")])
        assert (await read_history(store, log, query())).events == []
        await copy(log.reader(STORE_READER, 0), store, log.id, 6)
        assert (await read_history(store, log, query())).events == events(1, 5)
        assert (await read_history(store, log, query(epoch="second"))).events == [event(1, epoch="second")]


async def test_a_channel_without_events_has_an_empty_page(tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        epoch = log.head("app", "room:never").epoch
        for fields in ({}, {"after": 0}, {"before": 5}, {"after": 3, "before": 9}):
            assert await read_history(store, log, query(channel="room:never", epoch=epoch, **fields)) == EventPage(
                [], more=False
            )


async def test_pages_have_no_hole_while_the_store_catches_up_and_segments_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyglotd.log.upkeep.TICK_S", 0.001)
    reads = 0
    async with open_segments(tmp_path / "log", SETTINGS) as log, open_sqlite_events(tmp_path / "e.db") as store:
        reader = log.reader(STORE_READER, 0)
        seq = 0

        async def publish() -> None:
            nonlocal seq
            for _ in range(300):
                log.append(events(seq + 1, seq + 3))
                seq += 3
                await trio.sleep(0.001)

        async def keep_copying() -> None:
            while True:
                batch = await reader.next_batch(7)
                await store.append(log.id, batch.records, batch.end)
                await reader.commit(batch.end)

        async def keep_reading() -> None:
            nonlocal reads
            while True:
                last = seq
                newest = await read_history(store, log, query(limit=40))
                found = [e.seq for e in newest.events]
                assert found == list(range(found[0], found[-1] + 1)) if found else last == 0
                assert not found or found[-1] >= last
                assert len(found) >= min(last, 40)
                oldest = await read_history(store, log, query(after=last // 2, limit=1000))
                found = [e.seq for e in oldest.events]
                assert found == list(range(last // 2 + 1, last // 2 + 1 + len(found)))
                assert len(found) >= last - last // 2
                reads += 1
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_copying)
            nursery.start_soon(keep_reading)
            await publish()
            with trio.fail_after(10):
                while log.stats().segments > 5:
                    await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert reads > 5
