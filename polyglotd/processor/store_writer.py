"""Copy what is in the log into the store, in log order.

Run by `processor.pipeline`, one writer per log. The cursor that counts moves in the store's transaction, so a crash
repeats nothing; `commit` only lets the log go. Does not trim the log or apply retention.
"""

import logging
import time
from dataclasses import dataclass

import trio

from polyglotd.log.interface import LogReader, ReadBatch
from polyglotd.model import Event, Unavailable
from polyglotd.store.interface import EventStore, RecordRefused, SetAside

logger = logging.getLogger(__name__)

BATCH_RECORDS_MAX = 1000  # of at most 64 KiB each by default: a writer holds 64 MiB at worst
WRITE_DEADLINE_S = 30.0
RETRY_S = 1.0


@dataclass(slots=True)
class WriterStats:
    """For metrics and health."""

    events_total: int = 0
    batches_total: int = 0
    failures_total: int = 0
    set_aside_total: int = 0
    position: int = 0  # after the last record that is stored
    waiting_for_store: bool = False
    last_ts_us: int = 0  # of the last event that was stored


class StoreWriter:
    """Waits out a lost store; any other error ends the processor."""

    def __init__(self, log_id: str, reader: LogReader, store: EventStore) -> None:
        self._log_id = log_id
        self._reader = reader
        self._store = store
        self.stats = WriterStats()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            batch = await self._reader.next_batch(BATCH_RECORDS_MAX)  # no deadline: idle is no fault
            # While the store is lost one batch waits here; the rest waits in the log, which has a bound.
            while not await self._stored(batch):
                await trio.sleep(RETRY_S)

    async def _stored(self, batch: ReadBatch) -> bool:
        set_aside: list[SetAside] = []
        try:
            with trio.fail_after(WRITE_DEADLINE_S):
                await self._append(batch, set_aside)
                await self._reader.commit(batch.end)
        except (Unavailable, trio.TooSlowError) as error:
            self.stats.failures_total += 1
            self.stats.waiting_for_store = True
            logger.warning("store write failed, next try in %.1f s: %r", RETRY_S, error)
            return False
        self._count(batch, len(set_aside))
        return True

    async def _append(self, batch: ReadBatch, set_aside: list[SetAside]) -> None:
        """A record that can never be stored must not stop those behind it: it goes into a table of its own."""
        records = list(batch.records)
        while True:
            try:
                await self._store.append(self._log_id, records, batch.end, set_aside)
            except RecordRefused as refused:
                logger.error("a record is set aside: %s", refused.why)
                set_aside.append(SetAside(records.pop(refused.index), refused.why))
            else:
                return

    def _count(self, batch: ReadBatch, set_aside: int) -> None:
        events = [record for record in batch.records if isinstance(record, Event)]
        self.stats.batches_total += 1
        self.stats.events_total += len(events)
        self.stats.set_aside_total += set_aside
        self.stats.position = batch.end
        self.stats.waiting_for_store = False
        if events:
            self.stats.last_ts_us = events[-1].ts_us


def lag_s(stats: WriterStats, behind_bytes: int) -> float:
    """How old the newest stored event is while others wait; 0 where none waits."""
    if behind_bytes <= 0 or stats.last_ts_us == 0:
        return 0.0
    return max(0.0, time.time() - stats.last_ts_us / 1_000_000)
