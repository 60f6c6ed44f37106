"""Events that the driver appends by itself and tells of by runs: known as if Python had appended them, only later."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import driver
import pytest
import trio
from contracts.log_events import EPOCH, event, events
from log_directory import SETTINGS, break_disk, crashed, segments, until
from log_writers import WRITERS, open_native

from polyglotd.log import runs, upkeep
from polyglotd.log.checkpoint import read_checkpoint
from polyglotd.log.interface import STORE_READER, AppendedRun, ChannelHead, LogSettings, Meter
from polyglotd.log.native_library import LogFull
from polyglotd.log.native_log import NativeSegmentLog
from polyglotd.log.native_writer import Frontier
from polyglotd.log.segments import SegmentLog
from polyglotd.model import Event, Unavailable

NOW_US = 1_795_508_200_000_000
CHANNELS = ["room:a", "room:b", "post:c"]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[NativeSegmentLog]:
    async with open_native(tmp_path / "log", LogSettings(), clock=lambda: NOW_US) as log:
        yield log


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "JOINED_BYTES", 300)


# --- the same as with the writer in Python ---


def made_up(seed: int) -> list[list[Event]]:
    """Batches over a few channels, some with own ids, some that begin an epoch."""
    random = Random(seed)
    at = dict.fromkeys(CHANNELS, (EPOCH, 0))
    batches = []
    for number in range(60):
        batch = []
        for _ in range(random.randint(1, 9)):
            channel = random.choice(CHANNELS)
            epoch, seq = at[channel]
            if seq and random.random() < 0.01:
                epoch, seq = f"epoch-{number}", 0
            at[channel] = (epoch, seq + 1)
            fields = {"id": f"mine-{number}-{len(batch)}"} if random.random() < 0.2 else {}
            data = b'"' + b"x" * random.randint(0, 300) + b'"'
            ts_us = NOW_US - random.randint(0, 400_000_000)
            batch.append(event(seq + 1, channel, epoch=epoch, data=data, ts_us=ts_us, **fields))
        batches.append(batch)
    return batches


async def seen(log: SegmentLog) -> dict[str, object]:
    found: dict[str, object] = {}
    for channel in CHANNELS:
        tail = await log.tail("app", channel, 0, 10_000)
        found[channel] = (
            log.head("app", channel),
            log.tail_first("app", channel),
            tail,
            await log.tail("app", channel, 3, 50, limit=7),
            await log.tail("app", channel, 3, 50, limit=7, newest=False),
            log.recent_ids("app", channel),
        )
    return found


def checkpoint(directory: Path) -> object:
    read = read_checkpoint(directory)
    assert read is not None
    head, table = read
    return head.position, sorted((s.app_id, s.channel, s.epoch, s.seq, s.ts_us) for s in table.states())


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_runs_leave_the_same_behind_as_appends_in_python(
    tmp_path: Path, seed: int, loose: bool, short_runs: None
) -> None:
    batches = made_up(seed)
    settings = LogSettings(segment_bytes=6_000)
    paths = {name: tmp_path / name for name in WRITERS}
    results: dict[str, list[object]] = {name: [] for name in WRITERS}
    for name, path in paths.items():
        async with WRITERS[name](path, settings, clock=lambda: NOW_US) as log:
            reader = log.reader(STORE_READER, 0)
            waiting: list[driver.Batch] = []
            for number, batch in enumerate(batches):
                if isinstance(log, NativeSegmentLog):
                    waiting.append(driver.write(log, batch))
                    epochs = {e.channel for w in waiting for e, _, _ in w.events if e.seq == 1}
                    if number % 3 == 0 or epochs:  # an epoch a channel in one telling
                        driver.tell(log, *waiting, loose=loose and not epochs)
                        waiting = []
                else:
                    log.append(batch)
                if number % 20 == 19:
                    if waiting:
                        assert isinstance(log, NativeSegmentLog)
                        driver.tell(log, *waiting, loose=loose)
                        waiting = []
                    await reader.commit((await reader.next_batch(30)).end)
                    results[name].append(await seen(log))
            results[name] += [log.end, log.stats().unread_bytes, crashed(path, f"{name}-crashed")]
        results[name] += [checkpoint(path)]
    python, native = results["python"], results["native"]
    crashes = [python.pop(-2), native.pop(-2)]
    assert native == python
    again = []
    for path in (*paths.values(), *crashes):  # each is opened by the writer of the other
        assert isinstance(path, Path)
        other = WRITERS["native" if path.name.startswith("python") else "python"]
        async with other(path, settings, clock=lambda: NOW_US) as log:
            assert log.repairs == ()
            again.append(await seen(log))
    assert again[0] == again[1]
    assert again[2] == again[3]
    for name in ("python", "native"):
        assert [p.name for p in segments(paths[name])] == [p.name for p in segments(paths["python"])]


async def test_a_run_moves_its_channels_head_when_it_is_told(log: NativeSegmentLog) -> None:
    batch = driver.write(log, events(1, 3))
    assert log.head("app", "room:lobby").seq == 0
    assert log.end == batch.end
    driver.tell(log, batch)
    assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 3)
    assert await log.tail("app", "room:lobby", 0, 9) == events(1, 3)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"first_seq": 3}, id="the same seq again"),
        pytest.param({"first_seq": 5}, id="a gap"),
        pytest.param({"epoch": "another"}, id="a new epoch that does not begin at 1"),
        pytest.param({"channel": "room:new"}, id="a new channel that does not begin at 1"),
        pytest.param({"last_seq": 3}, id="it ends before it begins"),
        pytest.param({"start": 0}, id="it lies before the one before"),
    ],
)
async def test_a_run_that_does_not_follow_is_a_bug_and_raises(
    log: NativeSegmentLog, change: dict[str, object]
) -> None:
    driver.tell(log, driver.write(log, events(1, 3)))
    batch = driver.write(log, events(4, 6))
    (run,) = driver.runs_of([batch])
    values = {name: getattr(run, name) for name in AppendedRun.__struct_fields__} | change
    with pytest.raises(ValueError):
        log.appended([AppendedRun(**values)], batch.end)  # type: ignore[arg-type]


async def test_python_and_the_driver_share_positions(log: NativeSegmentLog) -> None:
    first = driver.write(log, events(1, 3))
    end = log.append([event(1, "room:python"), Meter("app", 1, 2, 3, 4, 5)])
    second = driver.write(log, events(4, 5))
    assert (first.end, end) == (log.end - (second.end - first.end), second.start)
    driver.tell(log, first, second)
    batch = await log.reader("r", 0).next_batch(100)
    assert batch.records == [*events(1, 3), event(1, "room:python"), Meter("app", 1, 2, 3, 4, 5), *events(4, 5)]
    assert await log.tail("app", "room:lobby", 0, 9) == events(1, 5)


# --- runs that come late ---


async def test_a_run_from_before_a_new_epoch_is_of_the_past(log: NativeSegmentLog) -> None:
    driver.tell(log, driver.write(log, events(1, 3)))
    late = driver.write(log, events(4, 6))
    log.begin_epoch("app", "room:lobby", "second")
    after = driver.write(log, [event(1, epoch="second")])
    driver.tell(log, late, after)
    assert log.head("app", "room:lobby") == ChannelHead("second", 1)
    assert await log.tail("app", "room:lobby", 0, 9) == [event(1, epoch="second")]


async def test_a_run_from_before_its_app_was_forgotten_is_of_the_past(log: NativeSegmentLog) -> None:
    driver.tell(log, driver.write(log, events(1, 3)))
    late = driver.write(log, [*events(4, 6), event(1, "room:new"), event(1, app_id="other")])
    log.forget_app("app")
    driver.tell(log, late)
    assert log.head("app", "room:lobby").seq == 0
    assert log.head("app", "room:new").seq == 0
    assert log.head("other", "room:lobby") == ChannelHead(EPOCH, 1)


async def test_a_run_of_the_old_epoch_behind_the_new_one_is_a_bug(log: NativeSegmentLog) -> None:
    driver.tell(log, driver.write(log, events(1, 3)))
    log.begin_epoch("app", "room:lobby", "second")
    with pytest.raises(ValueError):
        driver.tell(log, driver.write(log, events(4, 6)))


async def test_what_the_store_read_before_it_was_told_is_not_in_the_tail(log: NativeSegmentLog) -> None:
    reader = log.reader(STORE_READER, 0)
    batch = driver.write(log, events(1, 9))
    await reader.commit((await reader.next_batch(4)).end)
    driver.tell(log, batch)
    assert log.tail_first("app", "room:lobby") == 5
    assert await log.tail("app", "room:lobby", 0, 99) == events(5, 9)
    await reader.commit((await reader.next_batch(100)).end)
    assert log.tail_first("app", "room:lobby") == 10
    driver.tell(log, driver.write(log, [event(10)]))
    assert log.tail_first("app", "room:lobby") == 10


async def test_a_kill_before_anything_was_told_loses_nothing(tmp_path: Path) -> None:
    async with open_native(tmp_path / "log", SETTINGS, clock=lambda: NOW_US) as log:
        driver.tell(log, driver.write(log, events(1, 9)))
        for seq in range(10, 40):
            driver.write(log, [event(seq, id=f"mine-{seq}", ts_us=NOW_US), event(seq - 9, "room:b")])
        copy = crashed(tmp_path / "log")
    for path in (copy, tmp_path / "log"):  # killed, and closed
        async with open_native(path, SETTINGS, clock=lambda: NOW_US) as log:
            assert log.repairs == ()
            assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 39)
            assert log.head("app", "room:b") == ChannelHead(EPOCH, 30)
            assert [e.seq for e in await log.tail("app", "room:lobby", 0, 99)] == list(range(1, 40))
            assert [known.seq for known in log.recent_ids("app", "room:lobby")] == list(range(10, 40))


# --- checkpoints and removal ---


@pytest.fixture
def quick_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TICK_S", 0.01)


async def test_no_segment_goes_and_no_checkpoint_claims_what_was_not_told(tmp_path: Path, quick_upkeep: None) -> None:
    path = tmp_path / "log"
    async with open_native(path, SETTINGS) as log:
        reader = log.reader(STORE_READER, 0)
        first = driver.write(log, events(1, 3))
        driver.tell(log, first)
        batches = [driver.write(log, [event(seq)]) for seq in range(4, 40)]
        log.append([Meter("app", 1, 2, 3, 4, 5)])
        await reader.commit(log.end)
        full = len(segments(path))
        await trio.sleep(0.1)  # some rounds of upkeep
        assert len(segments(path)) == full
        read = read_checkpoint(path)
        assert read is not None
        assert read[0].position <= batches[0].start
        written = (path / "checkpoint").stat().st_mtime_ns
        await trio.sleep(0.05)
        assert (path / "checkpoint").stat().st_mtime_ns == written  # it is not written again and again
        copy = crashed(path)
        driver.tell(log, *batches)
        await until(lambda: len(segments(path)) == 1)
        read = read_checkpoint(path)
        assert read is not None
        assert read[0].position > batches[-2].end
    async with open_native(copy, SETTINGS) as log:
        assert log.head("app", "room:lobby") == ChannelHead(EPOCH, 39)


async def test_segments_with_the_drivers_recent_ids_stay_for_the_dedupe_window(
    tmp_path: Path, quick_upkeep: None
) -> None:
    path = tmp_path / "log"
    now_us = NOW_US
    async with open_native(path, SETTINGS, clock=lambda: now_us) as log:
        reader = log.reader(STORE_READER, 0)
        batch = [driver.write(log, [event(1, id="mine", ts_us=NOW_US)])]
        batch += [driver.write(log, [event(seq)]) for seq in range(2, 40)]
        driver.tell(log, *batch)
        await reader.commit(log.end)
        full = len(segments(path))
        await trio.sleep(0.1)
        assert len(segments(path)) == full
        now_us += 301 * 1_000_000
        await until(lambda: len(segments(path)) == 1)


async def test_a_run_over_a_segments_end_is_read_when_its_beginning_is_gone(
    tmp_path: Path, quick_upkeep: None
) -> None:
    path = tmp_path / "log"
    async with open_native(path, SETTINGS) as log:
        reader = log.reader(STORE_READER, 0)
        batches = [driver.write(log, [event(seq), event(seq, "room:b")]) for seq in range(1, 31)]
        driver.tell(log, *batches)  # one run a channel, over several segments
        full = len(segments(path))
        await reader.commit(batches[14].end)
        await until(lambda: len(segments(path)) < full)
        assert log.tail_first("app", "room:b") == 16
        assert await log.tail("app", "room:b", 0, 99) == events(16, 30, "room:b")
        assert await log.tail("app", "room:lobby", 0, 99, limit=3) == events(28, 30)
        assert await log.tail("app", "room:lobby", 0, 99, limit=3, newest=False) == events(16, 18)


def test_the_frontier_goes_over_what_is_known_without_a_gap() -> None:
    frontier = Frontier(10)
    frontier.piece(10, 15)
    assert frontier.position == 15
    frontier.piece(20, 25)  # the driver wrote 15..20
    frontier.piece(25, 30)
    assert frontier.position == 15
    frontier.piece(35, 40)
    frontier.told(20)
    assert frontier.position == 30
    frontier.told(33)
    assert frontier.position == 33
    frontier.told(50)
    frontier.piece(50, 51)
    assert frontier.position == 51


# --- readers, durability, bounds ---


async def next_of(log: NativeSegmentLog, found: list[object]) -> None:
    found += (await log.reader("r", log.end).next_batch(10)).records


async def test_a_waiting_reader_is_woken_by_a_run(log: NativeSegmentLog) -> None:
    found: list[object] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(next_of, log, found)
        await trio.testing.wait_all_tasks_blocked()
        driver.tell(log, driver.write(log, events(1, 3)))
    assert found == events(1, 3)


@pytest.mark.parametrize("by_driver", [True, False])
async def test_with_always_a_reader_is_woken_once_the_run_is_durable(tmp_path: Path, by_driver: bool) -> None:
    async with open_native(tmp_path / "log", LogSettings(sync="always")) as log:
        found: list[object] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(next_of, log, found)
            await trio.testing.wait_all_tasks_blocked()
            batch = driver.write(log, events(1, 3))
            if by_driver:  # in its own thread
                await trio.to_thread.run_sync(log._native.log.sync, batch.end)
            driver.tell(log, batch)
            if not by_driver:
                assert await log.tail("app", "room:lobby", 0, 9) == []
        assert found == events(1, 3)
        assert log.readable_end == batch.end
        assert await log.tail("app", "room:lobby", 0, 9) == events(1, 3)


async def test_with_always_the_newest_durable_events_are_the_newest_that_are_shown(tmp_path: Path) -> None:
    async with open_native(tmp_path / "log", LogSettings(sync="always")) as log:
        await log.synced(log.append([event(1, "room:python")]))
        first = driver.write(log, events(1, 5))
        log._native.log.sync(first.end)
        second = driver.write(log, events(6, 9))
        log._table.follow(driver.runs_of([first, second])[0])  # told, and not yet made durable
        assert await log.tail("app", "room:lobby", 0, 99, limit=2) == events(4, 5)
        assert await log.tail("app", "room:lobby", 0, 99, limit=2, newest=False) == events(1, 2)


async def test_at_bytes_max_the_driver_is_refused_until_readers_let_go(tmp_path: Path) -> None:
    async with open_native(tmp_path / "log", LogSettings(bytes_max=2_000)) as log:
        reader = log.reader(STORE_READER, 0)
        batches = []
        while log.end + 200 < log._native.limit:
            batches.append(driver.write(log, [event(len(batches) + 1)]))
        with pytest.raises(LogFull):
            driver.write(log, events(len(batches) + 1, len(batches) + 2))
        assert 1_700 < log.stats().unread_bytes <= 2_000
        driver.tell(log, *batches)
        with pytest.raises(Unavailable):
            log.append(events(1, 2, "room:python"))
        log.append([Meter("app", 1, 2, 3, 4, 5)])
        await reader.commit(batches[4].end)
        driver.tell(log, driver.write(log, [event(len(batches) + 1)]))
        assert log.counters().writes_full == 2


async def test_a_full_disk_under_the_driver_is_said_once_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    async with open_native(path, LogSettings()) as log:
        cure = break_disk(path, "/dev/full")
        for _ in range(3):
            with pytest.raises(OSError):
                driver.write(log, [event(1)])
        await until(lambda: "can't be written to" in caplog.text)
        cure()
        driver.tell(log, driver.write(log, [event(1)]))
        await until(lambda: "takes events again" in caplog.text)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2


async def test_an_fsync_of_the_drivers_that_fails_ends_the_log_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    async with open_native(path, LogSettings(sync="always")) as log:
        driver.tell(log, driver.write(log, [event(1)]))
        await log.synced(log.end)
        cure = break_disk(path, "/dev/null")
        batch = driver.write(log, [event(2)])
        with pytest.raises(Exception, match="fdatasync"):
            await trio.to_thread.run_sync(log._native.log.sync, batch.end)
        await until(lambda: log.stats().failed is not None)
        cure()
        with pytest.raises(Unavailable):
            log.append([event(1, "room:python")])
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)
    async with open_native(path, LogSettings(sync="always")) as log:
        assert log.head("app", "room:lobby").epoch != EPOCH
