"""The log against a plain model, through crashes, torn tails, lost tails and flipped bytes.

A crash is a copy of the directory, opened in the original's place: what `kill -9` leaves. A loss cuts acknowledged
bytes off that copy, or flips one: what a disk may do. After each the heads, what readers find and what the tail holds
are those of the model, and no (channel, epoch, seq) and no position is ever given out twice.
"""

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import outcome
import trio
from contracts.log_events import event
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from log_directory import add, crashed, overwrite, record_offsets, segments, until
from log_writers import WRITERS

from polyglotd.log import runs
from polyglotd.log.interface import (
    STORE_READER,
    AppForgotten,
    ChannelHead,
    EpochBegun,
    ErasedWhat,
    Erasure,
    LogSettings,
    Meter,
    ReadRecord,
    TailMoved,
)
from polyglotd.log.segment_reader import SegmentReader
from polyglotd.log.segments import SegmentLog
from polyglotd.model import Event, new_epoch, new_handle, tombstone

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
MEMORY = Path("/dev/shm")  # thousands of fsyncs: the disk is not what is tried here
SETTINGS = LogSettings(segment_bytes=900)
CHANNELS = [(app, channel) for app in ("app", "other") for channel in ("room:a", "room:b", "post:c")]

channels = st.sampled_from(CHANNELS)
SETTINGS_OF_RUNS = settings(
    max_examples=400 if FULL else 25,
    stateful_step_count=60 if FULL else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class TrioThread:
    """A trio loop with one task that does what it is asked: a log's nursery lives in one task."""

    def __init__(self) -> None:
        self._started: queue.Queue[tuple[trio.lowlevel.TrioToken, Any]] = queue.Queue()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)
        self._thread.start()
        self._token, self._send = self._started.get(timeout=10)

    async def _serve(self) -> None:
        send, receive = trio.open_memory_channel[Any](1)
        self._started.put((trio.lowlevel.current_trio_token(), send))
        async for function, answers in receive:
            answers.put(await outcome.acapture(function))

    def do(self, function: Callable[[], Awaitable[Any]]) -> Any:
        answers: queue.Queue[Any] = queue.Queue()
        trio.from_thread.run_sync(self._send.send_nowait, (function, answers), trio_token=self._token)
        return answers.get(timeout=30).unwrap()

    def stop(self) -> None:
        trio.from_thread.run_sync(self._send.close, trio_token=self._token)
        self._thread.join(timeout=10)


class SegmentLogMachine(RuleBasedStateMachine):
    writer = "python"

    @initialize()
    def open_first(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.trio = TrioThread()
        self.joined_bytes, runs.JOINED_BYTES = runs.JOINED_BYTES, 300  # so that channels have several runs
        self.lives = 0
        self.directory = self.root / "log-0"
        # The model.
        self.heads: dict[tuple[str, str], tuple[str, int]] = {}
        self.forgotten: dict[tuple[str, str], tuple[str, int]] = {}  # heads that a crash may bring back
        self.used: set[tuple[str, str, str, int]] = set()  # every seq that was acknowledged, also of lost events
        self.records: list[tuple[ReadRecord, int]] = []  # what is in the log, and where each ends
        self.read = 0  # how many of them the store's reader has read
        self.committed = 0  # its cursor, a position
        self.highest = 0  # the highest position that anyone has seen
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "trio"):
            self.trio.do(self.stack.aclose)
            self.trio.stop()
            runs.JOINED_BYTES = self.joined_bytes
            shutil.rmtree(self.root)

    # --- lives ---

    def open(self) -> None:
        async def enter() -> tuple[SegmentLog, SegmentReader]:
            self.stack = AsyncExitStack()
            log = await self.stack.enter_async_context(WRITERS[self.writer](self.directory, SETTINGS))
            return log, log.reader(STORE_READER, self.committed)

        self.log, self.reader = self.trio.do(enter)
        self.read = sum(end <= self.committed for _, end in self.records)

    def crash(self, last: Callable[[], object] = lambda: None) -> Path:
        """Take a copy right after the `last` that was done, and end the original where nobody looks."""
        self.lives += 1

        async def copied() -> Path:
            last()
            return crashed(self.directory, f"log-{self.lives}")  # no task runs in between

        copy = self.trio.do(copied)
        self.trio.do(self.stack.aclose)
        shutil.rmtree(self.directory)
        self.directory = copy
        return segments(copy)[-1]

    def found_again(self) -> None:
        """After a crash: channels that were forgotten in memory alone may be back where they stood."""
        for key, head in list(self.forgotten.items()):
            if self.log.head(*key) == ChannelHead(*head) and key not in self.heads:
                self.heads[key] = head
        self.forgotten = {}

    def lost(self, end: int) -> None:
        """What ended beyond `end` is gone, and with it every channel's past."""
        self.records = [(record, at) for record, at in self.records if at <= end]
        self.heads = {}
        self.forgotten = {}

    @rule()
    def restart(self) -> None:
        self.trio.do(self.stack.aclose)
        self.forgotten = {}
        own = self.log.head("never", "room:never")
        self.open()
        assert self.log.repairs == ()
        assert self.log.head("never", "room:never") == own

    @rule()
    def kill(self) -> None:
        self.crash()
        self.open()
        assert self.log.repairs == ()
        self.found_again()

    @rule(rubbish=st.binary(min_size=1, max_size=40))
    def kill_within_a_write(self, rubbish: bytes) -> None:
        last = self.crash()
        add(last, b"\x60\x00\x00\x00" + rubbish)  # the beginning of a record of 96 bytes
        self.open()
        assert [repair.bytes_cut for repair in self.log.repairs] == [4 + len(rubbish)]
        self.found_again()

    @rule(data=st.data())
    def lose_the_end(self, data: st.DataObject) -> None:
        last = self.crash()
        size = last.stat().st_size
        kept = data.draw(st.integers(0, size - 1), label="bytes kept")
        with last.open("r+b") as file:
            file.truncate(kept)
        self.lost(int(last.stem) + kept)
        self.open()

    @rule(data=st.data())
    def flip_a_byte_of_the_last_record(self, data: st.DataObject) -> None:
        last = self.crash()
        start = record_offsets(last)[-1]
        if start == 0:  # a segment's head: nothing was written after it
            start = last.stat().st_size
            add(last, b"\x00")
            self.open()
            return
        at = data.draw(st.integers(start, last.stat().st_size - 1), label="offset")
        overwrite(last, at, bytes([last.read_bytes()[at] ^ data.draw(st.integers(1, 255), label="bits")]))
        self.lost(int(last.stem) + start)
        self.open()
        assert self.log.repairs

    # --- writing ---

    def next_event(self, key: tuple[str, str], heads: dict[tuple[str, str], tuple[str, int]], **fields: Any) -> Event:
        app_id, channel = key
        head = self.log.head(app_id, channel)
        epoch, seq = heads.get(key, (head.epoch, head.seq))
        heads[key] = (epoch, seq + 1)
        assert (app_id, channel, epoch, seq + 1) not in self.used, "a seq is given out twice"
        return event(seq + 1, channel, app_id, epoch, **fields)

    def append(self, records: list[Any]) -> None:
        async def append() -> int:
            return self.log.append(records)

        start = self.log.end
        end = self.trio.do(append)
        assert end == self.log.end
        assert start >= self.highest, "a position is given out twice"
        self.highest = end
        # Where each record ends, is found by reading them; the last ends at `end`.
        for record in records:
            self.records.append((record, end))
            if isinstance(record, Event):
                self.used.add((record.app_id, record.channel, record.epoch, record.seq))

    @rule(keys=st.lists(channels, min_size=1, max_size=5), size=st.integers(1, 200), own_id=st.booleans())
    def publish(self, keys: list[tuple[str, str]], size: int, own_id: bool) -> None:
        fields: dict[str, Any] = {"data": b'"' + b"x" * size + b'"'} | ({"id": "mine"} if own_id else {})
        for key in keys:  # a batch each: then the position after each is known
            heads: dict[tuple[str, str], tuple[str, int]] = {}
            self.append([self.next_event(key, heads, **fields)])
            self.heads |= heads

    @rule(keys=st.lists(channels, min_size=2, max_size=5), data=st.data())
    def publish_a_batch_that_is_refused(self, keys: list[tuple[str, str]], data: st.DataObject) -> None:
        heads: dict[tuple[str, str], tuple[str, int]] = {}
        batch = [self.next_event(key, heads) for key in keys]
        at = data.draw(st.integers(0, len(batch) - 1))
        bad = batch[at]
        batch[at] = event(bad.seq + 5, bad.channel, bad.app_id, bad.epoch)
        try:
            self.append(batch)
        except ValueError:
            return
        raise AssertionError("a seq out of turn was taken")

    @rule(key=channels)
    def publish_in_a_new_epoch(self, key: tuple[str, str]) -> None:
        epoch = new_epoch()
        self.append([event(1, key[1], key[0], epoch)])
        self.heads[key] = (epoch, 1)

    @rule()
    def meter(self) -> None:
        self.append([Meter("app", 1, 2, 3, 4, 5)])

    @rule(key=channels)
    def begin_epoch(self, key: tuple[str, str]) -> None:
        epoch = new_epoch()

        async def begin() -> None:
            self.log.begin_epoch(*key, epoch)

        self.trio.do(begin)
        self.records.append((EpochBegun(*key, epoch), self.log.end))
        self.highest = self.log.end
        self.heads[key] = (epoch, 0)

    @rule(app_id=st.sampled_from(["app", "other"]))
    def forget_app(self, app_id: str) -> None:
        async def forget() -> None:
            self.log.forget_app(app_id)

        self.trio.do(forget)
        self.records.append((AppForgotten(app_id, self.log.head(app_id, "room:never").epoch), self.log.end))
        self.highest = self.log.end
        self.heads = {key: head for key, head in self.heads.items() if key[0] != app_id}
        self.forgotten = {key: head for key, head in self.forgotten.items() if key[0] != app_id}
        self.rewritten(lambda: app_id not in self.log.forgetting())
        gone = {index for index, (r, _) in enumerate(self.records) if isinstance(r, Event) and r.app_id == app_id}
        self.read -= sum(index < self.read for index in gone)
        self.records = [record for index, record in enumerate(self.records) if index not in gone]

    def rewritten(self, done: Callable[[], bool]) -> None:
        """Wait until the segments are."""

        async def wait() -> None:
            await self.log._eraser.erase()  # not after a while
            await until(done)

        self.trio.do(wait)

    @precondition(lambda self: any(isinstance(record, Event) for record, _ in self.records))
    @rule(data=st.data(), what=st.sampled_from(["event", "history", "user"]))
    def erase(self, data: st.DataObject, what: ErasedWhat) -> None:
        events = [record for record, _ in self.records if isinstance(record, Event)]
        chosen = data.draw(st.sampled_from(events), label="of this event")
        erasure = Erasure(
            erasure_id=new_handle("era_"),
            app_id=chosen.app_id,
            what=what,
            channel="" if what == "user" else chosen.channel,
            epoch="" if what == "user" else chosen.epoch,
            first_seq=chosen.seq if what == "event" else 0,
            last_seq=chosen.seq,
            user_id="user1" if what == "user" else None,
            ts_us=chosen.ts_us,
        )

        ends: list[int] = []

        def erase() -> None:
            ends.append(self.log.erase(erasure))

        async def erased() -> None:
            erase()

        if data.draw(st.booleans(), label="and crash"):
            self.crash(erase)
            self.open()
            self.found_again()
        else:
            self.trio.do(erased)
        [self.highest] = ends
        self.records.append((erasure, self.highest))

        def is_erased(record: ReadRecord) -> bool:
            if not isinstance(record, Event) or record.app_id != chosen.app_id:
                return False
            of_a_past = what == "history" and record.channel == chosen.channel and record.epoch != chosen.epoch
            return of_a_past or erasure.covers(record)

        self.records = [(tombstone(r) if is_erased(r) else r, end) for r, end in self.records]  # type: ignore[arg-type]
        id_ = erasure.erasure_id
        self.rewritten(lambda: all(state.in_log for state in self.log.erasures() if state.erasure.erasure_id == id_))
        assert id_ in [state.erasure.erasure_id for state in self.log.erasures()]

    @rule(chosen=st.sets(channels))
    def forget_idle(self, chosen: set[tuple[str, str]]) -> None:
        read = {
            key for key, (_, seq) in self.heads.items() if self.log.tail_first(*key) == seq + 1
        }  # by the store: others stay

        async def forget() -> int:
            return await self.log.forget_idle(lambda app_id, channel, _: (app_id, channel) in chosen)

        count = self.trio.do(forget)
        gone = chosen & read
        assert count == len(gone)
        for key in gone:
            self.forgotten[key] = self.heads.pop(key)

    # --- reading ---

    @precondition(lambda self: self.read < len(self.records))
    @rule(limit=st.integers(1, 6))
    def read_on(self, limit: int) -> None:
        async def read() -> Any:
            with trio.fail_after(5):
                return await self.reader.next_batch(limit)

        batch = self.trio.do(read)
        assert 1 <= len(batch.records) <= limit
        expected = self.records[self.read : self.read + len(batch.records)]
        assert batch.records == [record for record, _ in expected]
        assert batch.ends == [end for _, end in expected]
        self.read += len(batch.records)

    @rule()
    def commit(self) -> None:
        """The store has what was read."""
        if self.read:
            self.committed = max(self.committed, self.records[self.read - 1][1])

            async def commit() -> None:
                await self.reader.commit(self.committed)

            self.trio.do(commit)

    @rule(but=st.integers(0, 5))
    def read_and_commit_almost_all(self, but: int) -> None:
        while self.read < len(self.records) - but:
            self.read_on(min(6, len(self.records) - but - self.read))
        self.commit()
        self.let_the_upkeep_work()

    @rule()
    def let_the_upkeep_work(self) -> None:
        async def wait() -> None:
            await self.log._upkeep._write_cursors()
            await self.log._upkeep._tidy()

        self.trio.do(wait)

    @rule(
        key=channels, after=st.integers(0, 9), size=st.integers(1, 9), limit=st.integers(1, 9), newest=st.booleans()
    )
    def look_at_the_tail(self, key: tuple[str, str], after: int, size: int, limit: int, newest: bool) -> None:
        self.look_at(key, after, size, limit, newest)

    def look_at(self, key: tuple[str, str], after: int, size: int, limit: int, newest: bool) -> None:
        epoch, seq = self.heads.get(key, ("", 0))
        first = self.log.tail_first(*key)
        ours = [
            (r, end)
            for r, end in self.records
            if isinstance(r, Event) and (r.app_id, r.channel, r.epoch) == (*key, epoch) and r.seq <= seq
        ]
        not_stored = [r.seq for r, end in ours if end > self.committed]
        assert first <= (not_stored[0] if not_stored else seq + 1), "neither store nor tail would have it"

        async def tail() -> Any:
            return await self.log.tail(*key, after, after + size + 1, limit=limit, newest=newest)

        expected = [r for r, _ in ours if max(first - 1, after) < r.seq < after + size + 1]
        try:
            assert self.trio.do(tail) == (expected[-limit:] if newest else expected[:limit])
        except TailMoved:
            raise AssertionError("the tail names a segment that is gone") from None

    # --- what is always true ---

    @invariant()
    def heads_are_the_models(self) -> None:
        if not hasattr(self, "log"):
            return
        for key in CHANNELS:
            head = self.log.head(*key)
            if key in self.heads:
                assert head == ChannelHead(*self.heads[key])
            else:
                assert head.seq == 0
                assert (*key, head.epoch, 1) not in self.used, "a channel stands in an epoch that it had before"
