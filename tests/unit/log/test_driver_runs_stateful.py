"""What the driver appends by itself and tells of later, against the same model as what Python appends.

The driver's part is played by a few lines: it gives out seqs, writes batches through the writer in C++ and keeps back
what it has to tell. Restarts and crashes come while it has not told all: nothing may be lost by that.
"""

from collections.abc import Callable
from typing import Any

import driver
from contracts.log_events import event
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from log_machine import CHANNELS, SETTINGS_OF_RUNS, SegmentLogMachine

from polyglotd.log.interface import ChannelHead, EpochBegun
from polyglotd.log.native_log import NativeSegmentLog
from polyglotd.model import Event, new_epoch, now_us

DRIVERS_CHANNELS = [(app, channel) for app in ("app", "other") for channel in ("room:driver", "post:driver")]
Key = tuple[str, str]
keys_of_driver = st.sampled_from(DRIVERS_CHANNELS)


class DriverMachine(SegmentLogMachine):
    writer = "native"

    def open(self) -> None:
        super().open()
        assert isinstance(self.log, NativeSegmentLog)
        self.untold: list[driver.Batch] = []
        self.of_a_past: list[Event] = []  # of these: their channel was put into another epoch
        self.seqs: dict[Key, tuple[str, int]] = {}  # of the topics that the driver has open
        self.drivers_end = self.log.end

    def lost(self, end: int) -> None:
        super().lost(end)
        self.untold = []

    def found_all(self) -> None:
        """At the next start nothing has to be told any more: it was in the log."""
        for batch in self.untold:
            for event_, _, _ in batch.events:
                self.tell_model(event_)
        self.untold = []

    def crash(self, last: Callable[[], object] = lambda: None) -> Any:
        self.found_all()
        return super().crash(last)

    @rule()
    def restart(self) -> None:
        self.found_all()
        forgotten = self.forgotten
        super().restart()
        self.forgotten = forgotten  # in memory alone, where the last checkpoint lies before what was not told
        self.found_again()

    def tell_model(self, event_: Event) -> None:
        if event_ not in self.of_a_past:
            self.heads[event_.app_id, event_.channel] = (event_.epoch, event_.seq)

    # --- the driver ---

    @rule(
        writes=st.lists(st.lists(keys_of_driver, min_size=1, max_size=6), min_size=1, max_size=4),
        size=st.integers(1, 200),
        own_ids=st.booleans(),
    )
    def drive(self, writes: list[list[Key]], size: int, own_ids: bool) -> None:
        for keys in writes:
            self.write(keys, size, own_ids)

    def write(self, keys: list[Key], size: int, own_ids: bool) -> None:
        assert isinstance(self.log, NativeSegmentLog)
        batch = []
        for key in keys:
            if key not in self.seqs:
                head = self.log.head(*key)
                self.seqs[key] = (head.epoch, head.seq)
            epoch, seq = self.seqs[key]
            self.seqs[key] = (epoch, seq + 1)
            assert (*key, epoch, seq + 1) not in self.used, "a seq is given out twice"
            self.used.add((*key, epoch, seq + 1))
            fields = {"id": f"mine-{seq + 1}"} if own_ids and seq % 2 else {}
            data = b'"' + b"x" * size + b'"'
            batch.append(event(seq + 1, key[1], key[0], epoch, data=data, ts_us=now_us(), **fields))
        written = driver.write(self.log, batch)
        assert written.start >= self.highest
        self.records += [(event_, end) for event_, _, end in written.events]
        self.highest = self.drivers_end = written.end
        self.untold.append(written)

    @rule(count=st.integers(1, 9), loose=st.booleans())
    def tell(self, count: int, loose: bool) -> None:
        """Of the oldest batches: a run a channel, as wide as the writes or as narrow as the events."""
        told, self.untold = self.untold[:count], self.untold[count:]
        for batch in told:
            for event_, _, _ in batch.events:
                self.tell_model(event_)
        runs = driver.runs_of(told, loose=loose)
        upto = self.untold[0].start if self.untold else self.drivers_end

        async def tell() -> None:
            assert isinstance(self.log, NativeSegmentLog)
            self.log.appended(runs, upto)

        self.trio.do(tell)

    @rule(key=keys_of_driver)
    def close_the_topic(self, key: Key) -> None:
        """Its last runs come before the driver says so: only then another may open it."""
        self.tell(len(self.untold) or 1, loose=False)
        self.seqs.pop(key, None)

    @rule(key=keys_of_driver, before=st.integers(0, 3))
    def begin_epoch_of_a_drivers_channel(self, key: Key, before: int) -> None:
        """The driver writes nothing of the old epoch any more, but may not have told of it all."""
        for _ in range(before):
            self.write([key], 10, own_ids=False)
        epoch = new_epoch()

        async def begin() -> None:
            self.log.begin_epoch(*key, epoch)

        self.past_ends(lambda e: (e.app_id, e.channel) == key)
        self.trio.do(begin)
        self.records.append((EpochBegun(*key, epoch), self.log.end))
        self.highest = self.log.end
        self.heads[key] = self.seqs[key] = (epoch, 0)

    @rule(app_id=st.sampled_from(["app", "other"]))
    def forget_app(self, app_id: str) -> None:
        self.write([(app_id, "room:driver")], 10, own_ids=True)
        self.past_ends(lambda e: e.app_id == app_id)
        self.seqs = {key: head for key, head in self.seqs.items() if key[0] != app_id}
        super().forget_app(app_id)

    def past_ends(self, of: Any) -> None:
        self.of_a_past.extend(e for batch in self.untold for e, _, _ in batch.events if of(e))

    # --- what is compared beside what the other machine does ---

    @rule(key=keys_of_driver, data=st.data())
    def look_at_the_tail_of_a_drivers_channel(self, key: Key, data: st.DataObject) -> None:
        self.look_at(
            key,
            data.draw(st.integers(0, 9)),
            data.draw(st.integers(1, 9)),
            data.draw(st.integers(1, 9)),
            data.draw(st.booleans()),
        )

    @rule(key=keys_of_driver)
    def look_at_recent_ids(self, key: Key) -> None:
        epoch, seq = self.heads.get(key, ("", 0))
        expected = [
            (r.id, r.seq)
            for r, _ in self.records
            if isinstance(r, Event)
            and (r.app_id, r.channel, r.epoch) == (*key, epoch)
            and r.seq <= seq
            and not r.id.startswith("evt_")
        ]
        assert [(known.id, known.seq) for known in self.log.recent_ids(*key)] == expected

    @invariant()
    def heads_are_the_models(self) -> None:
        super().heads_are_the_models()
        if hasattr(self, "log"):
            for key in DRIVERS_CHANNELS:
                if key in self.heads:
                    assert self.log.head(*key) == ChannelHead(*self.heads[key])


assert not set(DRIVERS_CHANNELS) & set(CHANNELS)
DriverMachine.TestCase.settings = SETTINGS_OF_RUNS
TestDriverRuns = DriverMachine.TestCase
