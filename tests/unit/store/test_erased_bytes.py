"""What is erased is in no file of the store any more: neither in free space of pages nor in the write-ahead log."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from contracts.log_events import EPOCH, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, Erasure
from polyglotd.store.interface import HistoryQuery, SetAside
from polyglotd.store.sqlite.events import SqliteEventStore, open_sqlite_events

LATE_US = 1_795_508_139_000_000


def erasure(number: int, what: Any, seq: int = 1, user: str | None = None) -> Erasure:
    channel = "" if what == "user" else "room:lobby"
    return Erasure(f"era_{number}", "app", what, channel, EPOCH, seq if what == "event" else 0, seq, user, LATE_US)


def found_in(directory: Path, text: bytes) -> list[str]:
    return [path.name for path in directory.iterdir() if text in path.read_bytes()]


async def all_erased(store: SqliteEventStore) -> None:
    while not await store.erase_on(100):
        pass


sizes = st.lists(st.integers(1, 6_000), min_size=1, max_size=40)
rounds = st.lists(st.tuples(sizes, st.sets(st.integers(0, 200), max_size=20)), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds)
def test_no_byte_of_erased_events_is_left_whatever_their_sizes(asked: list[Any]) -> None:
    async def main(directory: Path) -> None:
        gone: list[bytes] = []
        seq = 0
        erased: set[int] = set()
        async with open_sqlite_events(directory / "events.db") as store:
            for number, (lengths, places) in enumerate(asked):
                batch = []
                for size in lengths:
                    seq += 1
                    batch.append(event(seq, data=b'"secret-%d-%s"' % (seq, b"x" * size), user_id=f"user-{seq}-"))
                await store.append("log", batch, 1_000 * number + 1)
                chosen = {1 + place % seq for place in places} - erased
                erased |= chosen
                erasures = [erasure(1_000 * number + one, "event", one) for one in chosen]
                await store.append("log", erasures, 1_000 * number + 2)
                await all_erased(store)
                gone += [text for one in chosen for text in (b"secret-%d-" % one, b"user-%d-" % one)]
                for text in gone:
                    assert not found_in(directory, text)
            page = await store.history(HistoryQuery(app_id="app", channel="room:lobby", epoch=EPOCH, limit=1_000))
            assert [e.seq for e in page.events if e.type == "erased"] == sorted(erased)

    with TemporaryDirectory() as name:
        trio.run(main, Path(name))


async def test_nothing_of_a_deleted_app_or_of_what_was_set_aside_is_left(tmp_path: Path) -> None:
    async with open_sqlite_events(tmp_path / "events.db") as store:
        secret = [event(n, "room:secret-channel", data=b'"secret"') for n in range(1, 200)]
        await store.append("log", secret, 100)
        await store.append("log", [], 150, [SetAside(event(1, user_id="anna", data=b'"aside"'), "why")])
        await store.append("log", [erasure(1, "user", user="anna"), AppForgotten("app", "e")], 200)
        await all_erased(store)
        assert not found_in(tmp_path, b"anna")
        while not await store.erase_forgotten("app", 50):
            pass
        await store.erased("app")
        for text in (b'"secret"', b"secret-channel"):
            assert not found_in(tmp_path, text)
