"""What is erased leaves the segments, through a crash at any step; every other record stays as it was."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from contracts.log_events import EPOCH, event, events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_directory import crashed, overwrite, record_offsets, segments, until
from log_writers import WRITERS, OpenSegments

from polyglotd.log import rewriting, segment_files
from polyglotd.log.erasures import SETTLED_MAX, Erasures
from polyglotd.log.interface import (
    STORE_READER,
    AppForgotten,
    Erasure,
    ErasureState,
    LogFault,
    LogSettings,
    Meter,
    ReadRecord,
    RecentId,
)
from polyglotd.log.rewriting import Work, rewrite
from polyglotd.log.segment_reader import open_segments_reader
from polyglotd.log.segments import SegmentLog
from polyglotd.log.steady import Rewrites
from polyglotd.model import Event, Unavailable, tombstone

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
MEMORY = Path("/dev/shm")
SETTINGS = LogSettings(segment_bytes=1_500)
LATE_US = 1_795_508_130_999_999
SECRET = b'"the-secret-text"'


def erasure(number: int = 1, what: Any = "event", first: int = 1, last: int = 1, **fields: Any) -> Erasure:
    values: dict[str, Any] = {"app_id": "app", "channel": "room:lobby", "epoch": EPOCH, "user_id": None}
    if what == "user":
        values |= {"channel": "", "epoch": "", "user_id": "user1"}
    return Erasure(
        erasure_id=f"era_{number}", what=what, first_seq=first, last_seq=last, ts_us=LATE_US, **(values | fields)
    )


async def all_records(log: SegmentLog) -> list[ReadRecord]:
    """What a reader that begins now finds."""
    reader = log.reader("test", 0)
    found: list[ReadRecord] = []
    with trio.fail_after(10):
        while reader.position < log.end:
            found += (await reader.next_batch(5)).records
    return found


def holds(directory: Path, text: bytes) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file() and text in path.read_bytes()]


async def rewritten(log: SegmentLog) -> None:
    await until(lambda: all(state.in_log for state in log.erasures()))


async def test_an_erased_event_leaves_the_newest_segment_while_it_is_appended_to(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append([event(1), event(2, data=SECRET, user_id="someone"), event(3)])
        sizes = [path.stat().st_size for path in segments(tmp_path / "log")]
        end = log.erase(erasure(first=2, last=2))
        assert end == log.end
        assert log.shown(event(2)) == tombstone(event(2))
        log.append([event(4)])
        await rewritten(log)
        assert not holds(tmp_path, SECRET)
        assert not holds(tmp_path, b"someone")
        log.append([event(5)])
        expected = [event(1), tombstone(event(2)), event(3), erasure(first=2, last=2), event(4), event(5)]
        assert await all_records(log) == expected
        assert list(await log.tail("app", "room:lobby", 0, 9)) == [e for e in expected if isinstance(e, Event)]
        assert record_offsets(segments(tmp_path / "log")[0])[1:4] != []
        assert segments(tmp_path / "log")[0].stat().st_size > sizes[0]
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        assert log.repairs == ()
        assert await all_records(log) == expected
        assert [state.in_log for state in log.erasures()] == [True]


async def test_the_shortest_event_has_room_for_its_tombstone(open_segments: OpenSegments, tmp_path: Path) -> None:
    shortest = event(1, "r:1", "a", "e", id="x", type="t", data=b"1", user_id=None)
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append([shortest])
        log.erase(erasure(app_id="a", channel="r:1", epoch="e"))
        await rewritten(log)
        assert (await all_records(log))[0] == tombstone(shortest)


async def test_a_history_goes_with_the_epochs_before_it_and_what_comes_after_stays(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    asked = erasure(what="history", first=0, last=2, epoch="second")
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        past, now = [event(1), event(2)], [event(1, epoch="second"), event(2, epoch="second")]
        other = event(1, "room:other")
        log.append([*past, other, *now, event(3, epoch="second")])
        log.erase(asked)
        log.append([event(4, epoch="second"), event(1, epoch="third")])
        await rewritten(log)
        assert await all_records(log) == [
            *map(tombstone, past),
            other,
            *map(tombstone, now),
            event(3, epoch="second"),
            asked,
            event(4, epoch="second"),
            event(1, epoch="third"),
        ]


async def test_a_users_events_go_in_every_channel_of_the_app_and_in_no_other(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    asked = erasure(what="user", user_id="anna")
    annas = [event(1, user_id="anna"), event(1, "post:1", user_id="anna", id="annas-own")]
    kept = [event(2, user_id="anna2"), event(3, user_id=None), event(1, app_id="other", user_id="anna")]
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append([*annas, *kept])
        log.erase(asked)
        late = event(4, user_id="anna")
        log.append([late])
        await rewritten(log)
        assert await all_records(log) == [*map(tombstone, annas), *kept, asked, late]


async def test_a_publishers_own_id_is_still_a_users_after_one_event_was_erased(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    """Else a repeat would be published again after a restart."""
    mine = event(1, id="mine", user_id="anna", data=SECRET)
    clock = lambda: mine.ts_us + 1  # noqa: E731
    async with open_segments(tmp_path / "log", LogSettings(), clock=clock) as log:
        log.append([mine])
        log.erase(erasure())
        await rewritten(log)
        assert (await all_records(log))[0] == tombstone(mine)
    async with open_segments(tmp_path / "log", LogSettings(), clock=clock) as log:
        assert log.recent_ids("app", "room:lobby") == [RecentId("mine", "anna", 1, mine.ts_us)]
        log.erase(erasure(2, "user", user_id="anna"))
        await rewritten(log)
        assert not holds(segments(tmp_path / "log")[0].parent, b"mineanna")


async def test_nothing_of_a_forgotten_apps_events_is_left(open_segments: OpenSegments, tmp_path: Path) -> None:
    async with open_segments(tmp_path / "log", LogSettings(segment_bytes=500)) as log:
        log.append([event(1, "room:secret-name", data=SECRET), event(1, app_id="other")])
        log.append([event(2, "room:secret-name", data=SECRET)])
        log.forget_app("app")
        assert "app" in log.forgetting()
        await until(lambda: "app" not in log.forgetting())
        assert not holds(tmp_path, SECRET)
        assert not holds(tmp_path, b"secret-name")
        found = await all_records(log)
        assert found[0] == event(1, app_id="other")
        assert isinstance(found[1], AppForgotten)
        assert len(found) == 2
        log.append([event(1, epoch=log.head("app", "room:lobby").epoch)])  # the id is used anew
        await trio.testing.wait_all_tasks_blocked()
    async with open_segments(tmp_path / "log", LogSettings(segment_bytes=500)) as log:
        await until(lambda: "app" not in log.forgetting())
        assert (await all_records(log))[2:] == [event(1, epoch=log.head("app", "room:lobby").epoch)]


async def test_an_erasure_that_was_not_begun_is_found_again_after_a_crash(
    open_segments: OpenSegments, tmp_path: Path
) -> None:
    async with open_segments(tmp_path / "log", SETTINGS) as log:
        log.append(events(1, 30, data=SECRET))
        log.erase(erasure(what="history", first=0, last=29))
        copy = crashed(tmp_path / "log")  # no task ran since
    assert holds(copy, SECRET)
    async with open_segments(copy, SETTINGS) as log:
        assert log.shown(event(29)) == tombstone(event(29))
        assert log.shown(event(30)) == event(30)
        await rewritten(log)
        found = [record for record in await all_records(log) if isinstance(record, Event)]
        assert found == [*map(tombstone, events(1, 29)), event(30, data=SECRET)]


async def test_a_reader_in_another_process_waits_while_records_are_overwritten(tmp_path: Path) -> None:
    async with (
        WRITERS["python"](tmp_path / "log", LogSettings()) as log,
        open_segments_reader(tmp_path / "log", STORE_READER, 0) as reader,
        trio.open_nursery() as nursery,
    ):
        log.append([event(1)])
        [segment] = segments(tmp_path / "log")
        offset = record_offsets(segment)[1]
        whole = segment.read_bytes()[offset:]
        log._rewrites.begin()
        overwrite(segment, offset + 20, b"half")
        found: list[ReadRecord] = []

        async def read() -> None:
            found.extend((await reader.next_batch(5)).records)

        nursery.start_soon(read)
        await trio.sleep(0.6)  # longer than it is patient with damage
        assert not found
        overwrite(segment, offset, whole)
        log._rewrites.end()
        await until(lambda: found == [event(1)])


async def test_a_disk_that_refuses_is_tried_again(
    open_segments: OpenSegments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_segments(tmp_path / "log", LogSettings()) as log:
        log.append([event(1, data=SECRET), event(2)])
        with monkeypatch.context() as patch:
            log.erase(erasure())
            failing(patch, at=3, how=OSError)
            with pytest.raises(OSError, match="at step"):
                await log._eraser.erase()
        assert [state.in_log for state in log.erasures()] == [False]
        await log._eraser.erase()
        assert [state.in_log for state in log.erasures()] == [True]
        assert not holds(tmp_path, SECRET)


def test_a_damaged_file_of_what_is_under_way_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / rewriting.NAME).write_bytes(b"nonsense")
    with pytest.raises(LogFault, match="erasing can't be read"):
        rewriting.finish_round(tmp_path)


# --- a crash at every step ---


class Crash(BaseException):
    """The process ends here."""


def failing(patch: pytest.MonkeyPatch, at: int, how: type[BaseException]) -> Callable[[], int]:
    """From the step `at` on, files can't be changed: that write is half done. How many steps there were."""
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return steps >= at

    def wrapped(function: Callable[..., Any], *, writes: bool = False) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if step():
                if writes and steps == at:
                    fd, data, *offset = args
                    function(fd, data[: len(data) // 2], *offset)
                raise how(f"at step {steps}")
            return function(*args, **kwargs)

        return call

    for name in ("pwrite", "write"):
        patch.setattr(os, name, wrapped(getattr(os, name), writes=True))
    for name in ("fsync", "fdatasync"):
        patch.setattr(os, name, wrapped(getattr(os, name)))
    patch.setattr(Path, "rename", wrapped(Path.rename))
    patch.setattr(Path, "unlink", wrapped(Path.unlink))
    return lambda: steps


@contextmanager
def directory() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield root / "log"
    finally:
        shutil.rmtree(root)


users = st.sampled_from([None, "anna", "bob"])
places = st.sampled_from([("app", "room:a"), ("app", "room:b"), ("other", "room:a")])
published = st.tuples(places, users, st.integers(0, 400), st.booleans())
asked = st.lists(
    st.tuples(st.sampled_from(["event", "history", "user", "app"]), st.integers(0, 39)), min_size=1, max_size=3
)


def meant(erasures: list[Erasure], app_gone: str | None, record: ReadRecord) -> ReadRecord | None:
    """What is to be read in the record's place; None: nothing."""
    if not isinstance(record, Event):
        return record
    if record.app_id == app_gone:
        return None
    return tombstone(record) if any(found.covers(record) for found in erasures) else record


@settings(max_examples=300 if FULL else 40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(published, min_size=1, max_size=40), asked, st.data())
def test_a_crash_at_any_step_leaves_a_log_that_opens_and_goes_on_erasing(
    texts: list[Any], asks: list[Any], data: st.DataObject
) -> None:
    seqs: dict[tuple[str, str], int] = {}
    records: list[Event] = []
    for number, (place, user, size, own) in enumerate(texts):
        seqs[place] = seqs.get(place, 0) + 1
        text = b'"secret-%d-%s"' % (number, b"x" * size)
        fields = {"id": f"own-{number}"} if own else {}
        records.append(event(seqs[place], place[1], place[0], user_id=user, data=text, **fields))
    erasures: list[Erasure] = []
    app_gone = None
    for number, (what, at) in enumerate(asks):
        chosen = records[at % len(records)]
        if what == "app":
            app_gone = chosen.app_id
        elif what == "user":
            if chosen.user_id:
                erasures.append(erasure(number, "user", app_id=chosen.app_id, user_id=chosen.user_id))
        else:
            first = 0 if what == "history" else chosen.seq
            erasures.append(erasure(number, what, first, chosen.seq, app_id=chosen.app_id, channel=chosen.channel))

    async def write(log: Path) -> None:
        async with WRITERS["python"](log, SETTINGS) as opened:
            for record in records:
                opened.append([record, Meter("app", 1, 2, 3, 4, 5)])
            for found in erasures:
                opened.erase(found)
            if app_gone:
                opened.forget_app(app_gone)
            crashed(log, "before")  # no task ran since: nothing is erased yet

    async def check(log: Path) -> None:
        async with WRITERS["python"](log, SETTINGS) as opened:
            assert not opened.repairs
            await rewritten(opened)
            await until(lambda: app_gone is None or app_gone not in opened.forgetting())
            found = [record for record in await all_records(opened) if isinstance(record, Event)]
            shown = [meant(erasures, app_gone, record) for record in records]
            assert found == [record for record in shown if record is not None]
            for record in records:
                if meant(erasures, app_gone, record) != record:
                    assert not holds(log, record.data)

    with directory() as log:
        trio.run(write, log)
        before = log.with_name("before")
        segs = segment_files.list_segments(before)
        end = segs[-1].end
        work = Work([ErasureState(found, end) for found in erasures], {app_gone: end} if app_gone else {})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rewriting, "ROUND_RECORDS", data.draw(st.integers(1, 5), label="records a round"))
            steps = failing(patch, data.draw(st.integers(1, 24), label="crash at step"), Crash)
            try:
                rewrite(before, segs, work, Rewrites(0, lambda _: None))
            except Crash:
                assert steps()
        trio.run(check, before)


# --- what is hidden meanwhile ---


def test_what_is_settled_hides_nothing_and_names_no_user() -> None:
    erasures = Erasures()
    asks = [erasure(1), erasure(2, "history", 0, 3), erasure(3, "user"), erasure(4)]
    for ask in asks:
        erasures.add(ask, 100)
    for ask in asks:
        assert erasures.shown(event(1)) == tombstone(event(1))
        erasures.settle(ask.erasure_id, 5)
        assert not any(state.settled_us for state in erasures.states() if state.erasure == ask), "it is in segments"
        erasures.rewritten([state for state in erasures.states() if state.erasure == ask], {})
        erasures.settle(ask.erasure_id, 5)
    assert erasures.shown(event(1)) == event(1)
    assert erasures.under_way == 0
    assert {state.erasure.user_id for state in erasures.states()} == {None}


def test_of_settled_ones_the_newest_are_remembered() -> None:
    erasures = Erasures()
    for number in range(SETTLED_MAX + 5):
        erasures.add(erasure(number), number)
        erasures.rewritten(erasures.unwritten(), {})
        erasures.settle(f"era_{number}", 1)
    assert [state.position for state in erasures.states()] == list(range(5, SETTLED_MAX + 5))


async def test_more_than_can_be_kept_in_mind_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyglotd.log.segments.UNDER_WAY_MAX", 2)
    async with WRITERS["python"](tmp_path / "log", LogSettings()) as log:
        log.erase(erasure(1))
        log.erase(erasure(2))
        end = log.end
        with pytest.raises(Unavailable):
            log.erase(erasure(3))
        assert log.end == end
