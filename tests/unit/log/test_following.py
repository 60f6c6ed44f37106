"""What a follower and a search find, against a list, where the driver tells late and several loops write at once."""

from pathlib import Path

import driver
import pytest
import trio
from contracts.log_events import event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_writers import open_native

from polyglotd.log import follow, search
from polyglotd.log.interface import LogSettings, Wanted
from polyglotd.model import Event

CHANNELS = ["room:a", "room:ab", "room:b", "post:a"]
WANTED = [
    Wanted("app", "room:", True),
    Wanted("app", "room:a", True),
    Wanted("app", "room:a", False),
    Wanted("app", "", True),
    Wanted("ap", "proom:", True),  # its app and name, put together, are those of others
    Wanted("app2", "", True),
]
writes = st.lists(
    st.tuples(
        st.booleans(),  # told at once, or with the next that is
        st.lists(st.tuples(st.sampled_from(["app", "app2"]), st.sampled_from(CHANNELS)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes, st.lists(st.sampled_from(WANTED), min_size=1, max_size=3, unique=True), st.integers(1, 600))
async def test_they_find_the_wanted_events_in_log_order(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    written: list[tuple[bool, list[tuple[str, str]]]],
    wanted: list[Wanted],
    room: int,
) -> None:
    monkeypatch.setattr(follow, "JOINED_BYTES", 100)
    monkeypatch.setattr(search, "FOUND_BYTES_MAX", room)
    monkeypatch.setattr(search, "READ_BYTES", 150)
    directory: Path = tmp_path_factory.mktemp("log")
    seqs: dict[tuple[str, str], int] = {}
    all_events: list[Event] = []
    async with open_native(directory, LogSettings(segment_bytes=1_000)) as log:
        follower = log.follower()
        begin = log.end
        for one in wanted:
            follower.want(one)
        found: list[Event] = []
        untold: list[driver.Batch] = []
        for told, names in written:
            batch = []
            for app_id, channel in names:
                seq = seqs[app_id, channel] = seqs.get((app_id, channel), 0) + 1
                batch.append(event(seq, channel, app_id, data=b'"proom:app2room:a"'))
            all_events += batch
            untold.append(driver.write(log, batch))
            if told:
                driver.tell(log, *untold)
                untold.clear()
                with trio.move_on_after(0.001):
                    found += (await follower.next_found()).events
        if untold:
            driver.tell(log, *untold)
        expected = [e for e in all_events if any(one.includes(e.app_id, e.channel) for one in wanted)]
        with trio.fail_after(5):
            while len(found) < len(expected):
                found += (await follower.next_found()).events
        assert found == expected
        for one in wanted:
            searched: list[Event] = []
            position = begin
            while position < log.end:
                part = await log.find(one, position)
                searched += part.events
                position = part.end
            assert searched == [e for e in all_events if one.includes(e.app_id, e.channel)]


async def test_a_follower_far_behind_keeps_few_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "SPANS_MAX", 5)
    async with open_native(tmp_path, LogSettings()) as log:
        log.follower().want(WANTED[0])
        for seq in range(1, 40):
            log.append([event(seq, "room:a")])
            log.append([event(seq, "post:a")])
        found: list[Event] = []
        with trio.fail_after(5):
            while len(found) < 39:
                found += (await log.follower().next_found()).events
        assert found == [event(seq, "room:a") for seq in range(1, 40)]


async def test_a_follower_whose_segment_was_removed_says_that_it_lost_some(tmp_path: Path) -> None:
    async with open_native(tmp_path, LogSettings(segment_bytes=500)) as log:
        log.follower().want(WANTED[0])
        for seq in range(1, 30):
            log.append([event(seq, "room:a")])
        for segment in list(log._writer.segments[:-1]):
            segment.path.unlink()
        found = await log.follower().next_found()
        assert found.lost
        assert found.end == log.end
        log.append([event(30, "room:a")])
        assert (await log.follower().next_found()).events == [event(30, "room:a")]
