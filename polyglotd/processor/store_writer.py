"""Copy what is in the log into the store, in log order.

Run by `processor.pipeline`, one writer per log. The cursor that counts moves in the store's transaction, so a crash
repeats nothing; `commit` only lets the log go. Does not trim the log or apply retention.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from polyglotd.log.interface import LogReader, ReadBatch, ReadRecord
from polyglotd.model import Event, Unavailable, now_us
from polyglotd.store.interface import EventStore, RecordRefused, SetAside, StoreFault

logger = logging.getLogger(__name__)

BATCH_RECORDS_MAX = 1000  # and what the reader reads at once: a writer holds some MiB, or one large event
WRITE_DEADLINE_S = 30.0
GATHER_S, GATHER_BYTES = 0.05, 256 << 10  # a transaction costs as much as some hundred events: few come with many
RETRY_S = 1.0
SAID_EVERY_S = 60.0  # a store that is away for hours is no news every second
TRIES_MAX = 3  # of a record that makes the store fail in a way that it has no name for


@dataclass(slots=True)
class WriterStats:
    """For metrics and health."""

    events_total: int = 0
    batches_total: int = 0
    failures_total: int = 0
    set_aside_total: int = 0
    position: int = 0  # after the last record that is stored
    waiting_for_store: bool = False
    oldest_waiting_us: int | None = None  # ts of the oldest event that is read and not yet stored


class StoreWriter:
    """Waits out a lost store, and sets aside what can't ever be stored; a damaged log ends the processor."""

    def __init__(
        self,
        log_id: str,
        reader: LogReader,
        store: EventStore,
        *,
        position: int = 0,
        clock: Callable[[], int] = now_us,
    ) -> None:
        """`position`: the store's cursor, where `reader` begins."""
        self._log_id = log_id
        self._reader = reader
        self._store = store
        self._clock = clock
        self._said_at = float("-inf")
        self._has_batch = False  # read, and not stored yet
        self.stats = WriterStats(position=position)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        while True:
            batch = await self._reader.next_batch(BATCH_RECORDS_MAX)  # no deadline: idle is no fault
            self._has_batch = True
            # While the store is lost one batch waits here; the rest waits in the log, which has a bound.
            self.stats.oldest_waiting_us = next((r.ts_us for r in batch.records if isinstance(r, Event)), None)
            if await self._written(batch.records, batch.end) is not None:
                await self._one_by_one(batch)
            self._has_batch = False
            self.stats.batches_total += 1
            self.stats.oldest_waiting_us = None
            await self._commit(batch.end)
            if self._reader.end - self._reader.position < GATHER_BYTES:
                await trio.sleep(GATHER_S)

    @property
    def position(self) -> int:
        """Everything before it is stored. Not only after a record: a segment's head, which no batch holds, is passed
        as well, so that an idle writer is at the log's end."""
        return self.stats.position if self._has_batch else max(self.stats.position, self._reader.position)

    def lag_s(self) -> float:
        """How long the oldest event waits that was read and is not stored; 0 where none waits."""
        oldest = self.stats.oldest_waiting_us
        return 0.0 if oldest is None else max(0.0, (self._clock() - oldest) / 1_000_000)

    async def _written(
        self, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> str | None:
        """Store the records, however long that takes; None, or why at least one of them can't ever be stored."""
        tries = 0
        while True:
            try:
                with trio.fail_after(WRITE_DEADLINE_S):
                    await self._store.append(self._log_id, records, end, set_aside)
            except (Unavailable, StoreFault, trio.TooSlowError) as error:
                self._say(error)
            except RecordRefused as refused:
                return refused.why
            except Exception as error:
                # A fault of ours that one record brings about would else stop the log behind it at every start.
                logger.exception("the store failed in an unforeseen way")
                tries += 1
                if tries >= TRIES_MAX:
                    return repr(error)
            else:
                self._stored(records, end)
                return None
            self.stats.failures_total += 1
            await trio.sleep(RETRY_S)

    async def _one_by_one(self, batch: ReadBatch) -> None:
        """A record that can't be stored must not stop those behind it: it goes into a table of its own."""
        for record, end in zip(batch.records, batch.ends, strict=True):
            why = await self._written([record], end)
            if why is None:
                continue
            logger.error(
                "a record of the log can't be stored and is set aside: %s",
                why,
                extra={"log": self._log_id, "position": end, "app_id": getattr(record, "app_id", None)},
            )
            self.stats.set_aside_total += 1
            if (fault := await self._written([], end, [SetAside(record, why)])) is not None:
                raise RuntimeError(f"the record before position {end} can't even be set aside: {fault}")

    async def _commit(self, position: int) -> None:
        try:
            await self._reader.commit(position)
        except Unavailable as error:
            logger.warning("the log was not let go, the next batch does it: %s", error)

    def _stored(self, records: Sequence[ReadRecord], end: int) -> None:
        stats = self.stats
        stats.events_total += sum(isinstance(record, Event) for record in records)
        stats.position = end
        if stats.waiting_for_store:
            stats.waiting_for_store = False
            self._said_at = float("-inf")
            logger.warning("the store takes events again")

    def _say(self, error: Exception) -> None:
        self.stats.waiting_for_store = True
        if trio.current_time() - self._said_at >= SAID_EVERY_S:
            self._said_at = trio.current_time()
            logger.warning("events wait in the log for the store, which is tried every %.0f s: %r", RETRY_S, error)
