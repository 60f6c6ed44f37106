"""What every event store promises (polyglotd/store/interface.py), run on each make of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
from contracts.log_events import EPOCH, event, events
from contracts.stores import Make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, EpochBegun, Erasure, Meter, QuotaReached
from polyglotd.model import Event, EventIds, encode_event, tombstone
from polyglotd.store.interface import EventStore, HistoryQuery, RecordRefused, SetAside, Usage

LOG = "log_1"
NOVEMBER_US = 1_795_508_130_000_000  # 2026-11-24
DECEMBER_US = NOVEMBER_US + 20 * 86_400_000_000

OpenStore = Callable[[], AbstractAsyncContextManager[EventStore]]


@pytest.fixture
def open_store(make: Make) -> OpenStore:
    """Opens the same store each time."""
    return make.open_events


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[EventStore]:
    async with open_store() as store:
        yield store


def query(**fields: object) -> HistoryQuery:
    return HistoryQuery(**({"app_id": "app", "channel": "room:lobby", "epoch": EPOCH} | fields))  # type: ignore[arg-type]


async def seqs(store: EventStore, **fields: object) -> list[int]:
    return [event.seq for event in (await store.history(query(**fields))).events]


# --- appending and the cursor ---


async def test_a_new_log_is_read_from_0(store: EventStore) -> None:
    assert await store.cursor(LOG) == 0


async def test_events_and_cursor_are_there_after_a_restart(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.append(LOG, events(1, 5), 500)
    async with open_store() as store:
        assert await store.cursor(LOG) == 500
        assert (await store.history(query())).events == events(1, 5)


async def test_logs_have_a_cursor_each(store: EventStore) -> None:
    await store.append(LOG, events(1, 2), 500)
    await store.append("log_2", [event(1, "room:b")], 100)
    assert (await store.cursor(LOG), await store.cursor("log_2")) == (500, 100)


async def test_a_batch_that_was_stored_already_changes_nothing(store: EventStore) -> None:
    batch = [*events(1, 5), Meter("app", NOVEMBER_US, 10, 100, 0, 0)]
    await store.append(LOG, batch, 500)
    usage = await store.usage("app", "2026-11")
    await store.append(LOG, batch, 500)
    await store.append(LOG, batch[:3], 300)
    assert await store.usage("app", "2026-11") == usage
    assert await store.cursor(LOG) == 500
    assert await seqs(store) == [1, 2, 3, 4, 5]


async def test_an_event_that_is_there_is_neither_stored_nor_counted_again(store: EventStore) -> None:
    await store.append(LOG, events(1, 3), 300)
    await store.append(LOG, events(2, 5), 500)
    assert (await store.history(query())).events == events(1, 5)
    assert (await store.usage("app", "2026-11")).events == 5


async def test_of_two_events_with_one_seq_the_first_is_kept(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.append(LOG, [event(1, id="first")], 100)
    await store.append(LOG, [event(1, id="second")], 200)
    assert [e.id for e in (await store.history(query())).events] == ["first"]
    assert "first" in caplog.text
    assert "second" in caplog.text


@pytest.mark.parametrize("times_us", [[NOVEMBER_US], [NOVEMBER_US, DECEMBER_US]], ids=["a month", "two months"])
async def test_a_batch_of_thousands_is_stored_and_counted_whole_with_repeats_in_it(
    store: EventStore, times_us: list[int]
) -> None:
    """More than goes out at once or into one statement."""
    batch = [
        event(seq, channel, ts_us=times_us[seq * len(times_us) // 600] + seq, data='"é"'.encode())
        for seq in range(1, 600)
        for channel in ("room:lobby", "room:b")
    ]
    await store.append(LOG, events(1, 3), 300)
    await store.append(LOG, [*batch, *batch[40:50], event(600, ts_us=times_us[-1] + 600)], 900)
    lobby = (await store.history(query(limit=1_000))).events
    assert [e.seq for e in lobby] == list(range(1, 601))
    assert await seqs(store, channel="room:b", limit=1_000) == list(range(1, 600))
    assert lobby[3:-1] == [e for e in batch if e.channel == "room:lobby"][3:]
    used = [await store.usage("app", month) for month in ("2026-11", "2026-12")]
    assert sum(month.events for month in used) == 600 + 599
    assert sum(month.bytes for month in used) == sum(len(e.data) for e in lobby) + 599 * 4
    assert used[1].events == (0 if len(times_us) == 1 else 300 + 300 + 1)
    assert used[0].stored_bytes == used[0].bytes + used[1].bytes

    fresh = [event(seq, app_id="other", ts_us=times_us[seq * len(times_us) // 1_201]) for seq in range(1, 1_201)]
    await store.append(LOG, fresh, 2_000)
    used = [await store.usage("other", month) for month in ("2026-11", "2026-12")]
    assert sum(month.events for month in used) == len(fresh)
    assert sum(month.bytes for month in used) == used[0].stored_bytes == sum(len(e.data) for e in fresh)


async def test_an_empty_batch_moves_the_cursor(store: EventStore) -> None:
    await store.append(LOG, [EpochBegun("app", "room:lobby", "e")], 70)
    await store.append(LOG, [], 80)
    assert await store.cursor(LOG) == 80


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b'{"b":1,"a":2,"b":3}',
        b"12345678901234567890123",
        b"1.10",
        b"1e999",
        b" [ 1 , 2 ]\t",
        '"\u00fc \U0001f600 \\u0000 \\ud83d"'.encode(),
        b'"' + b"x" * 200_000 + b'"',
    ],
    ids=["null", "keys", "digits", "fraction", "huge", "spaces", "unicode", "long"],
)
async def test_data_comes_back_as_the_same_bytes(store: EventStore, data: bytes) -> None:
    stored = event(1, data=data, user_id=None, id="J-1", type="a/b:c")
    await store.append(LOG, [stored], 100)
    assert (await store.history(query())).events == [stored]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(event(2, data=b'"\xff"'), id="data that is not UTF-8"),
        pytest.param(event(2, user_id="\ud800"), id="a user that is not UTF-8"),
        pytest.param(event(2**63), id="a seq too large"),
        pytest.param(event(2, ts_us=2**63), id="a time too large"),
        pytest.param(Meter("app", 1, 2**63, 0, 0, 0), id="a count too large"),
    ],
)
async def test_a_record_that_cant_be_stored_is_named_and_nothing_is_stored(store: EventStore, bad: object) -> None:
    with pytest.raises(RecordRefused) as refusal:
        await store.append(LOG, [event(1), bad, event(3)], 100)  # type: ignore[list-item]
    assert refusal.value.index == 1
    assert refusal.value.why
    assert await seqs(store) == []
    assert await store.cursor(LOG) == 0
    assert await store.usage("app", "2026-11") == Usage()


async def test_what_is_set_aside_is_kept_beside_the_rest(store: EventStore) -> None:
    bad = event(2, data=b'"\xff"')
    await store.append(LOG, [event(1), event(3)], 100, [SetAside(bad, "data is not UTF-8")])
    assert await seqs(store) == [1, 3]
    assert await store.cursor(LOG) == 100
    assert (await store.stats()).set_aside == 1


async def test_many_appends_at_once_are_all_durable_when_they_return(open_store: OpenStore) -> None:
    async with open_store() as store, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(store.append, f"log_{number}", [event(1, f"room:{number}")], 10)
    async with open_store() as store:
        for number in range(100):
            assert await seqs(store, channel=f"room:{number}") == [1]
            assert await store.cursor(f"log_{number}") == 10


async def test_a_refused_batch_takes_nothing_from_those_beside_it(store: EventStore) -> None:
    refused = []

    async def append(number: int) -> None:
        batch = [event(1, f"room:{number}"), event(2, f"room:{number}", data=b'"\xff"' if number % 2 else b"1")]
        try:
            await store.append(f"log_{number}", batch, 10)
        except RecordRefused:
            refused.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(append, number)
    assert sorted(refused) == list(range(1, 20, 2))
    for number in range(20):
        assert await seqs(store, channel=f"room:{number}") == ([] if number % 2 else [1, 2])
    await store.append(LOG, [event(1, "room:1"), event(1, "room:3")], 10)
    assert await seqs(store, channel="room:1") == await seqs(store, channel="room:3") == [1]


# --- history ---


@pytest.mark.parametrize(
    ("fields", "expected", "more"),
    [
        pytest.param({}, range(1, 21), False, id="all"),
        pytest.param({"limit": 5}, range(16, 21), True, id="the newest"),
        pytest.param({"limit": 5, "before": 10}, range(5, 10), True, id="the newest before"),
        pytest.param({"before": 4}, range(1, 4), False, id="before, all of them"),
        pytest.param({"limit": 5, "after": 0}, range(1, 6), True, id="the oldest"),
        pytest.param({"limit": 5, "after": 7}, range(8, 13), True, id="the oldest after"),
        pytest.param({"limit": 5, "after": 15}, range(16, 21), False, id="after, all of them"),
        pytest.param({"after": 3, "before": 8}, range(4, 8), False, id="between"),
        pytest.param({"after": 20}, [], False, id="after the last"),
        pytest.param({"before": 1}, [], False, id="before the first"),
        pytest.param({"after": 10**30}, [], False, id="after beyond any seq"),
        pytest.param({"before": 10**30, "limit": 1}, [20], True, id="before beyond any seq"),
        pytest.param({"type": "odd", "limit": 3}, [15, 17, 19], True, id="a type"),
        pytest.param({"type": "odd", "after": 16}, [17, 19], False, id="a type after"),
        pytest.param({"type": "never"}, [], False, id="a type that is not there"),
        pytest.param({"from_us": NOVEMBER_US + 18}, [18, 19, 20], False, id="from, inclusive"),
        pytest.param({"to_us": NOVEMBER_US + 3}, [1, 2], False, id="to, exclusive"),
        pytest.param({"epoch": "another"}, [], False, id="another epoch"),
        pytest.param({"channel": "room:other"}, [], False, id="another channel"),
        pytest.param({"app_id": "other"}, [], False, id="another app"),
    ],
)
async def test_history_is_what_the_query_asks_for(
    store: EventStore, fields: dict[str, object], expected: list[int], more: bool
) -> None:
    stored = [event(seq, type="odd" if seq % 2 else "even") for seq in range(1, 21)]
    await store.append(LOG, [*stored, event(1, app_id="third"), event(1, epoch="older")], 100)
    page = await store.history(query(**fields))
    assert [e.seq for e in page.events] == list(expected)
    assert page.more == more
    assert all(e in stored for e in page.events)


async def test_a_page_has_at_most_so_many_bytes_but_one_event(store: EventStore) -> None:
    await store.append(LOG, events(1, 9), 100)
    size = len(encode_event(event(1)))
    page = await store.history(query(bytes_max=3 * size + 1))
    assert ([e.seq for e in page.events], page.more) == ([7, 8, 9], True)
    page = await store.history(query(after=0, bytes_max=3 * size))
    assert ([e.seq for e in page.events], page.more) == ([1, 2, 3], True)
    page = await store.history(query(bytes_max=1))
    assert ([e.seq for e in page.events], page.more) == ([9], True)


stored_events = st.lists(
    st.tuples(
        st.sampled_from(["app", "other"]),
        st.sampled_from(["room:a", "room:b"]),
        st.sampled_from(["message", "typing"]),
        st.integers(0, 50),
    ),
    max_size=40,
)
queries = st.builds(
    HistoryQuery,
    app_id=st.sampled_from(["app", "other"]),
    channel=st.sampled_from(["room:a", "room:b"]),
    epoch=st.sampled_from([EPOCH, "older"]),
    after=st.none() | st.integers(-1, 40),
    before=st.none() | st.integers(-1, 40),
    type=st.none() | st.sampled_from(["message", "typing"]),
    from_us=st.none() | st.integers(0, 50),
    to_us=st.none() | st.integers(0, 50),
    limit=st.integers(1, 10),
    bytes_max=st.integers(1, 2_000),
)


def plain_history(stored: list[Event], query: HistoryQuery) -> tuple[list[Event], bool]:
    """The same over a list."""
    matching = [
        e
        for e in stored
        if (e.app_id, e.channel, e.epoch) == (query.app_id, query.channel, query.epoch)
        and (query.after is None or e.seq > query.after)
        and (query.before is None or e.seq < query.before)
        and (query.type is None or e.type == query.type)
        and (query.from_us is None or e.ts_us >= query.from_us)
        and (query.to_us is None or e.ts_us < query.to_us)
    ]
    matching.sort(key=lambda e: e.seq, reverse=query.after is None)
    page: list[Event] = []
    for e in matching:
        size = sum(len(encode_event(kept)) for kept in [*page, e])
        if len(page) == query.limit or (page and size > query.bytes_max):
            break
        page.append(e)
    return sorted(page, key=lambda e: e.seq), len(page) < len(matching)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(stored_events, st.lists(queries, max_size=10))
async def test_history_is_that_of_a_list(
    make: Make, rows: list[tuple[str, str, str, int]], asked: list[HistoryQuery]
) -> None:
    make.fresh()
    counts: dict[tuple[str, str], int] = {}
    stored = []
    for app_id, channel, type_, ts_us in rows:
        seq = counts[app_id, channel] = counts.get((app_id, channel), 0) + 1
        stored.append(event(seq, channel, app_id, type=type_, ts_us=ts_us))
    async with make.open_events() as store:
        await store.append(LOG, stored, 1_000)
        for q in asked:
            page = await store.history(q)
            assert (page.events, page.more) == plain_history(stored, q)


# --- the channels of an app ---


async def test_channels_are_listed_by_name_with_their_epochs_in_order(store: EventStore) -> None:
    await store.append(
        LOG,
        [
            event(1, "room:b", epoch="z-first", ts_us=NOVEMBER_US),
            event(1, "room:ä"),
            event(1, "room:b", epoch="a-second", ts_us=NOVEMBER_US + 1),
            event(1, "post:1"),
            event(1, "room:a", app_id="other"),
            event(2, "room:b", epoch="a-second", ts_us=NOVEMBER_US + 2),
        ],
        100,
    )
    listed = await store.channels_of_app("app", "", "", 10)
    assert [(one.channel, one.epochs) for one in listed] == [
        ("post:1", [EPOCH]),
        ("room:b", ["z-first", "a-second"]),
        ("room:ä", [EPOCH]),
    ]
    assert await store.channels_of_app("app", "room:", "", 10) == listed[1:]
    assert await store.channels_of_app("app", "", "room:b", 1) == listed[1:2]
    assert await store.channels_of_app("app", "", "room:b\x01", 10) == listed[2:]
    assert await store.channels_of_app("app", "room:b", "", 10) == listed[1:2]
    assert await store.channels_of_app("app", "", "s", 10) == await store.channels_of_app("none", "", "", 10) == []


async def test_channels_of_a_forgotten_app_are_not_listed(store: EventStore) -> None:
    await store.append(LOG, [event(1), AppForgotten("app", "anew"), event(1, "room:b", epoch="anew")], 100)
    assert [one.channel for one in await store.channels_of_app("app", "", "", 10)] == ["room:b"]


# --- usage ---


async def test_usage_counts_stored_and_metered_events_by_app_and_utc_month(store: EventStore) -> None:
    await store.append(
        LOG,
        [
            event(1, data=b'"\xc3\xbc"'),
            event(2, ts_us=DECEMBER_US),
            event(1, app_id="other"),
            Meter("app", NOVEMBER_US, 100, 5_000, 700, 3),
        ],
        100,
    )
    assert await store.usage("app", "2026-11") == Usage(events=101, bytes=5_004, stored_bytes=11)
    assert await store.usage("app", "2026-12") == Usage(events=1, bytes=7, stored_bytes=11)
    assert await store.usage("other", "2026-11") == Usage(events=1, bytes=7, stored_bytes=7)
    assert await store.usage("other", "2026-12") == Usage(stored_bytes=7)


async def test_a_month_ends_at_midnight_utc(store: EventStore) -> None:
    december = 1_796_083_200_000_000
    await store.append(LOG, [event(1, ts_us=december - 1), event(2, ts_us=december)], 100)
    assert (await store.usage("app", "2026-11")).events == 1
    assert (await store.usage("app", "2026-12")).events == 1


# --- retention and forgetting ---


async def test_prune_deletes_the_oldest_of_a_kind_up_to_a_limit(store: EventStore) -> None:
    await store.append(
        LOG,
        [event(s, ts_us=s) for s in range(1, 11)]
        + [event(s, "room:b", ts_us=s) for s in range(1, 4)]
        + [event(1, "post:1", ts_us=1), event(1, app_id="other", ts_us=1)],
        100,
    )
    assert await store.prune("app", "room:", before_us=4, limit=4) == 4
    assert await store.prune("app", "room:", before_us=4, limit=4) == 2
    assert await store.prune("app", "room:", before_us=4, limit=4) == 0
    assert await seqs(store) == list(range(4, 11))
    assert await seqs(store, channel="room:b") == []
    assert await seqs(store, channel="post:1") == [1]
    assert await seqs(store, app_id="other") == [1]
    await store.append(LOG, [event(4, "room:b")], 200)  # a channel that lost all its events goes on
    assert await seqs(store, channel="room:b") == [4]


async def test_prune_of_what_is_not_there_deletes_nothing(store: EventStore) -> None:
    assert await store.prune("app", "room:", before_us=4, limit=4) == 0


async def test_prune_asks_for_a_kind(store: EventStore) -> None:
    with pytest.raises(ValueError):
        await store.prune("app", "room:lob", before_us=4, limit=4)


async def test_apps_and_kinds_are_those_that_have_events(store: EventStore) -> None:
    await store.append(LOG, [event(1, ts_us=1), event(1, "post:1"), event(1, app_id="other")], 100)
    assert sorted(await store.apps_and_kinds()) == [("app", "post"), ("app", "room"), ("other", "room")]
    await store.prune("app", "room:", before_us=2, limit=10)
    assert sorted(await store.apps_and_kinds()) == [("app", "post"), ("other", "room")]


async def test_forget_app_deletes_everything_of_it_and_nothing_else(store: EventStore) -> None:
    for first in range(1, 3_000, 1_000):
        await store.append(LOG, events(first, first + 999), first + 999)
    await store.append(LOG, [event(1, "post:1"), event(1, app_id="other")], 4_000)
    await store.forget_app("app")
    assert await seqs(store) == await seqs(store, channel="post:1") == []
    assert await store.usage("app", "2026-11") == Usage()
    assert await store.apps_and_kinds() == [("other", "room")]
    assert await store.forgotten_apps() == []


async def test_an_app_forgotten_in_the_log_is_erased_up_to_there(store: EventStore) -> None:
    before = [*events(1, 5), *events(1, 5, "room:b"), event(1, app_id="other")]
    after = [event(1, epoch="anew"), event(1, "room:c", epoch="anew")]
    await store.append(LOG, [*before, AppForgotten("app", "anew"), *after], 100)
    assert await store.forgotten_apps() == ["app"]
    assert (await store.usage("app", "2026-11")).events == 2
    rounds = 0
    while not await store.erase_forgotten("app", 3):
        rounds += 1
    assert rounds >= 3  # in small steps
    assert await store.forgotten_apps() == ["app"]
    await store.erased("app")
    assert await store.forgotten_apps() == []
    assert await seqs(store) == await seqs(store, channel="room:b") == []
    assert await seqs(store, epoch="anew") == await seqs(store, channel="room:c", epoch="anew") == [1]
    assert await seqs(store, app_id="other") == [1]


async def test_erasing_what_was_not_forgotten_is_done_at_once(store: EventStore) -> None:
    await store.append(LOG, events(1, 5), 100)
    assert await store.erase_forgotten("app", 3)
    assert await seqs(store) == [1, 2, 3, 4, 5]


async def test_an_app_without_events_can_be_forgotten(store: EventStore) -> None:
    await store.append(LOG, [AppForgotten("never", "anew")], 100)
    assert await store.forgotten_apps() == ["never"]
    assert await store.erase_forgotten("never", 3)
    await store.erased("never")
    assert await store.forgotten_apps() == []


async def test_an_app_that_was_forgotten_again_meanwhile_is_not_erased_yet(store: EventStore) -> None:
    await store.append(LOG, [event(1), AppForgotten("app", "second")], 100)
    assert await store.erase_forgotten("app", 10)
    await store.append(LOG, [event(1, epoch="second"), AppForgotten("app", "third")], 200)
    await store.erased("app")
    assert await store.forgotten_apps() == ["app"]
    assert await store.erase_forgotten("app", 10)
    await store.erased("app")
    assert await store.forgotten_apps() == []
    assert await seqs(store, epoch="second") == []


async def test_stats_know_the_size(store: EventStore) -> None:
    await store.append(LOG, events(1, 500), 100)
    stats = await store.stats()
    assert stats.file_bytes + stats.wal_bytes > 20_000
    assert msgspec.structs.asdict(stats)["set_aside"] == 0


# --- erasing ---

LATE_US = NOVEMBER_US + 3_600_000_000


def erasure(number: int = 1, what: Any = "event", first: int = 1, last: int = 1, **fields: Any) -> Erasure:
    values: dict[str, Any] = {"app_id": "app", "channel": "room:lobby", "epoch": EPOCH, "user_id": None}
    if what == "user":
        values |= {"channel": "", "epoch": "", "user_id": "user1"}
    values |= {"erasure_id": f"era_{number}", "what": what, "first_seq": first, "last_seq": last, "ts_us": LATE_US}
    return Erasure(**(values | fields))


async def erased(store: EventStore, limit: int = 1_000) -> int:
    """Erase all that is asked for; in how many rounds."""
    rounds = 1
    while not await store.erase_on(limit):
        rounds += 1
        assert rounds < 1_000
    assert not await store.erasures()
    return rounds


async def history(store: EventStore, **fields: object) -> list[Event]:
    return list((await store.history(query(limit=1_000, **fields))).events)


async def test_one_event_is_a_tombstone_in_the_transaction_that_reads_of_it(store: EventStore) -> None:
    await store.append(LOG, [*events(1, 3), erasure(first=2, last=2), event(4)], 500)
    assert await history(store) == [event(1), tombstone(event(2)), event(3), event(4)]
    await erased(store)
    assert (await store.usage("app", "2026-11")).events == 4, "what was published is billed"


async def test_a_history_goes_with_its_past_epochs_and_not_what_comes_after(store: EventStore) -> None:
    past, now = events(1, 3, epoch="past"), events(1, 3)
    asked = erasure(what="history", first=0, last=2)
    await store.append(LOG, [*past, *now, event(1, "room:other"), asked], 500)
    await store.append(LOG, [event(4), event(1, epoch="next")], 600)
    assert await erased(store, limit=2) > 2, "in small steps"
    assert await history(store, epoch="past") == list(map(tombstone, past))
    assert await history(store) == [*map(tombstone, now[:2]), now[2], event(4)]
    assert await history(store, epoch="next") == [event(1, epoch="next")]
    assert await history(store, channel="room:other") == [event(1, "room:other")]


async def test_a_users_events_go_everywhere_in_the_app(store: EventStore) -> None:
    mine = [event(n, channel, user_id="anna") for n in (1, 2) for channel in ("room:lobby", "post:1")]
    other = event(1, app_id="other", user_id="anna")
    late = event(5, user_id="anna", ts_us=LATE_US + 1)
    kept = [event(3, user_id="bob"), event(4, user_id=None)]
    await store.append(LOG, [*mine, *kept, other, late, erasure(what="user", user_id="anna")], 500)
    await store.append(LOG, [event(6, user_id="anna")], 600)
    assert await erased(store, limit=1) > 3
    first = [tombstone(event(n)) for n in (1, 2)]
    assert await history(store) == [*first, *kept, late, event(6, user_id="anna")]
    assert {e.type for e in await history(store, channel="post:1")} == {"erased"}
    assert await history(store, app_id="other") == [other]


async def test_an_erasure_that_was_read_is_gone_on_with_after_a_restart(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.append(LOG, [*events(1, 9), erasure(what="history", first=0, last=9)], 500)
        assert not await store.erase_on(3)
        assert list(await store.erasures()) == ["era_1"]
    async with open_store() as store:
        await erased(store, limit=3)
        assert {e.type for e in await history(store)} == {"erased"}


async def test_the_same_erasure_again_changes_nothing(store: EventStore) -> None:
    await store.append(LOG, [event(1), erasure()], 500)
    await erased(store)
    await store.append("log_2", [erasure(), event(2)], 100)
    await store.append("log_2", [erasure(2)], 200)
    await erased(store)
    assert await history(store) == [tombstone(event(1)), event(2)]


async def test_what_was_set_aside_is_erased_as_well(store: EventStore) -> None:
    refused = SetAside(event(1, data=b'"secret"', user_id="anna"), "for a reason")
    await store.append(LOG, [], 100, [refused])
    await store.append(LOG, [erasure(what="user", user_id="anna")], 200)
    await erased(store)
    assert (await store.stats()).set_aside == 1


async def test_an_event_is_found_by_its_id_in_any_epoch(store: EventStore) -> None:
    ids = EventIds()
    ours = [event(n, ts_us=NOVEMBER_US + n, id=ids.new(NOVEMBER_US + n)) for n in range(1, 6)]
    own = [
        event(6, id="mine", user_id="a"),
        event(7, id="mine", user_id="b"),
        event(1, epoch="next", id="mine", ts_us=LATE_US),
    ]
    await store.append(LOG, [*ours, *own, event(1, "room:other", id="mine")], 500)
    for one in ours:
        assert list(await store.find("app", "room:lobby", one.id, 10)) == [one]
    assert list(await store.find("app", "room:lobby", "mine", 10)) == own[::-1]
    assert list(await store.find("app", "room:lobby", "mine", 2)) == own[:0:-1]
    for app_id, channel, event_id in (
        ("other", "room:lobby", "mine"),
        ("app", "room:none", ours[0].id),
        ("app", "room:lobby", ids.new(NOVEMBER_US + 9)),
        ("app", "room:lobby", "evt_short"),
    ):
        assert not await store.find(app_id, channel, event_id, 10)


# --- quotas ---


async def test_stored_bytes_are_those_that_are_there_and_the_months_count_is_what_came(store: EventStore) -> None:
    sizes = {seq: len(e.data) for seq, e in enumerate(events(1, 20), 1)}
    await store.append(LOG, [*events(1, 20), *events(1, 5, "post:1"), event(1, app_id="other")], 500)
    everything = await store.usage("app", "2026-11")
    assert everything.stored_bytes == everything.bytes == sum(sizes.values()) + sum(len(e.data) for e in events(1, 5))
    await store.append(LOG, [*events(15, 20), *events(21, 22)], 600)  # six of them are there already
    more = await store.usage("app", "2026-11")
    assert (more.events, more.stored_bytes - everything.stored_bytes) == (27, len(event(21).data) * 2)
    assert await store.prune("app", "room:", NOVEMBER_US + 11, 100) == 10
    pruned = await store.usage("app", "2026-11")
    assert (pruned.events, pruned.bytes) == (more.events, more.bytes)
    assert pruned.stored_bytes == more.stored_bytes - sum(sizes[seq] for seq in range(1, 11))
    assert (await store.usage("other", "2026-11")).stored_bytes == len(event(1).data)


async def test_of_what_was_erased_a_tombstone_s_bytes_are_stored(store: EventStore) -> None:
    await store.append(LOG, [*events(1, 3), erasure(first=2, last=2)], 500)  # also in the app's first transaction
    await erased(store)
    sizes = [len(e.data) for e in events(1, 3)]
    assert (await store.usage("app", "2026-11")).stored_bytes == sizes[0] + len(b"null") + sizes[2]
    await store.append(LOG, [erasure(2, "history", 0, 3)], 600)
    await erased(store)
    usage = await store.usage("app", "2026-11")
    assert (usage.stored_bytes, usage.events, usage.bytes) == (3 * len(b"null"), 3, sum(sizes))


async def test_bytes_are_those_of_utf_8(store: EventStore) -> None:
    await store.append(LOG, [event(1, data='"ä€😀"'.encode())], 100)
    assert (await store.usage("app", "2026-11")).stored_bytes == 2 + 2 + 3 + 4


async def test_of_a_forgotten_app_bytes_are_stored_until_they_are_erased(store: EventStore) -> None:
    await store.append(LOG, [*events(1, 10), AppForgotten("app", "epoch2"), event(1, epoch="epoch2")], 500)
    assert (await store.usage("app", "2026-11")).events == 1
    while not await store.erase_forgotten("app", 4):
        pass
    assert (await store.usage("app", "2026-11")).stored_bytes == len(event(1).data)


async def test_usages_and_the_cursor_are_of_one_moment(store: EventStore) -> None:
    async def write() -> None:
        for seq in range(1, 101):
            await store.append(LOG, [event(seq), Meter("app", NOVEMBER_US, 1, 1, 0, 0)], seq * 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        position = 0
        while position < 1_000:
            usages = await store.usages(LOG, ["app", "nobody"], "2026-11")
            position = usages.position
            assert usages.by_app["app"].events == position // 10 * 2
            assert usages.by_app["nobody"] == Usage()
            await trio.lowlevel.checkpoint()


async def test_a_quota_that_was_reached_is_known_for_its_month(store: EventStore) -> None:
    reached = QuotaReached("app", "events-per-month", "2026-11", 80, 100, 80, NOVEMBER_US)
    await store.append(LOG, [reached, msgspec.structs.replace(reached, quota="stored-bytes", percent=100)], 100)
    await store.append(LOG, [msgspec.structs.replace(reached, used=81)], 200)
    usage = await store.usage("app", "2026-11")
    assert usage.reached == {("events-per-month", 80), ("stored-bytes", 100)}
    assert (await store.usage("app", "2026-12")).reached == frozenset()
