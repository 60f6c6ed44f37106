"""What is TimescaleDB's own: chunks, compression, continuous aggregates; on the real extension."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from contracts.log_events import EPOCH, event, events
from contracts.stores import TimescaleMake

from polyglotd.log.interface import Erasure
from polyglotd.model import tombstone
from polyglotd.store.interface import HistoryQuery

NOVEMBER_US = 1_795_508_130_000_000
LOBBY = HistoryQuery(app_id="app", channel="room:lobby", epoch=EPOCH, limit=1_000)


@pytest.fixture
def timescale() -> Iterator[TimescaleMake]:
    made = TimescaleMake()
    try:
        yield made
    finally:
        made.end()


def ask(make: TimescaleMake, query: str) -> list[tuple[Any, ...]]:
    """As a person, while no store of ours is open: there is one connection."""
    with psycopg.connect(make.url, autocommit=True, prepare_threshold=None) as person:
        answer = person.execute(query.encode())
        return answer.fetchall() if answer.description else []


async def test_the_store_is_a_hypertable_by_time_and_app(timescale: TimescaleMake) -> None:
    async with timescale.open_events() as store:
        assert store.name == "timescaledb"
    dimensions = ask(
        timescale,
        "SELECT column_name, dimension_type FROM timescaledb_information.dimensions "
        "WHERE hypertable_schema = 'polyglot' AND hypertable_name = 'events' ORDER BY dimension_number",
    )
    assert dimensions == [("ts", "Time"), ("app_id", "Space")]
    jobs = ask(
        timescale, "SELECT proc_name FROM timescaledb_information.jobs WHERE hypertable_schema IS NOT NULL ORDER BY 1"
    )
    assert ("policy_compression",) in jobs
    assert ("policy_refresh_continuous_aggregate",) in jobs


async def test_compressed_events_are_read_counted_erased_and_pruned_as_others(timescale: TimescaleMake) -> None:
    stored = events(1, 300)
    async with timescale.open_events() as store:
        await store.append("log", stored, 100)
    compressed = ask(timescale, "SELECT compress_chunk(c) FROM show_chunks('polyglot.events') c")
    assert compressed
    assert ask(timescale, "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed")[0][0] >= 1
    erasure = Erasure(
        erasure_id="era_1", app_id="app", what="event", channel="room:lobby", epoch=EPOCH, first_seq=5, last_seq=5,
        user_id=None, ts_us=NOVEMBER_US + 10**9,
    )  # fmt: skip
    async with timescale.open_events() as store:
        assert (await store.history(LOBBY)).events == stored
        await store.append("log", [*stored[:3], event(301), erasure], 200)
        assert (await store.usage("app", "2026-11")).events == 301
        page = await store.history(LOBBY)
        assert page.events == [*stored[:4], tombstone(stored[4]), *stored[5:], event(301)]
        assert await store.prune("app", "room:", NOVEMBER_US + 100, 1_000) == 99
        assert [e.seq for e in (await store.history(LOBBY)).events] == list(range(100, 302))


async def test_views_count_events_and_bytes_by_minute_and_hour(timescale: TimescaleMake) -> None:
    async with timescale.open_events() as store:
        await store.append("log", [*events(1, 20), event(1, "room:other", data=b'"four"')], 100)
    live = ask(timescale, "SELECT channel, events, bytes FROM polyglot.events_by_minute ORDER BY channel")
    assert live == [("room:lobby", 20, sum(len(e.data) for e in events(1, 20))), ("room:other", 1, 6)]
    ask(timescale, "CALL refresh_continuous_aggregate('polyglot.events_by_minute', NULL, NULL)")
    ask(timescale, "CALL refresh_continuous_aggregate('polyglot.events_by_hour', NULL, NULL)")
    kept = ask(timescale, "SELECT channel, events, bytes FROM polyglot.events_by_hour ORDER BY channel")
    assert kept == live
    # Retention and erasing take events; what was counted stays, where nobody refreshes that time again.
    ask(timescale, "DELETE FROM polyglot.events")
    assert ask(timescale, "SELECT channel, events, bytes FROM polyglot.events_by_hour ORDER BY channel") == live
