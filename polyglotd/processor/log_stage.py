"""Bring what is in the log into a store, in log order: the one way in which every stage does it.

Built by the composition root, a stage with a reader and a store (`Sink`) of its own; run by `processor.pipeline`. The
cursor that counts moves in the store's transaction, so a crash repeats nothing; `commit` only lets the log go. What a
record means is the store's alone.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from polyglotd.log.interface import LogFault, LogReader, ReadBatch, ReadRecord
from polyglotd.model import Event, Unavailable, now_us
from polyglotd.processor.stage import StageStats
from polyglotd.store.interface import RecordRefused, SetAside, StoreFault

logger = logging.getLogger(__name__)

BATCH_RECORDS_MAX = 4000  # and what the reader reads at once: a stage holds some MiB, or one large event
WRITE_DEADLINE_S = 30.0
GATHER_S, GATHER_BYTES = 0.05, 256 << 10  # a transaction costs as much as some hundred events: few come with many
RETRY_S = 1.0
SAID_EVERY_S = 60.0  # a store that is away for hours is no news every second
TRIES_MAX = 3  # of a record that makes the store fail in a way that it has no name for


class Sink(Protocol):
    """A store that a stage fills. `EventStore` is one."""

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        """Take the records, keep those set aside in a table for people to look at, and move this log's cursor to
        `end`, in one transaction. Records that mean nothing to it are passed over.

        Idempotent: a batch that ends at or before the cursor changes nothing. Raises `RecordRefused`, with nothing
        changed, where one record can't be taken whatever the state of the store, and `Unavailable` or `StoreFault`
        where none can now. Cancelled: it is done or it is not; repeat it.
        """

    async def cursor(self, log_id: str) -> int:
        """The position after the last record that was taken from this log; 0 for a new one."""


class LogStage:
    """Satisfies `Stage`. Waits out a lost store, and sets aside what can't ever be taken; a damaged log raises."""

    def __init__(
        self,
        name: str,
        log_id: str,
        reader: LogReader,
        sink: Sink,
        *,
        position: int = 0,
        clock: Callable[[], int] = now_us,
    ) -> None:
        """`position`: the store's cursor, where `reader` begins."""
        self.name = name
        self.stats = StageStats()
        self.waiting_for: str | None = None
        self._log_id = log_id
        self._reader = reader
        self._sink = sink
        self._clock = clock
        self._done = position  # after the last record that is in the store
        self._said_at = float("-inf")
        self._has_batch = False  # read, and not done yet
        self._oldest_us: int | None = None  # ts of the oldest event of that batch

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await. Raises `LogFault`."""
        task_status.started()
        ahead: ReadBatch | LogFault | None = None
        while True:
            batch = ahead or await self._reader.next_batch(BATCH_RECORDS_MAX)  # no deadline: idle is no fault
            if isinstance(batch, LogFault):
                raise batch
            self._has_batch = True
            # While the store is lost one batch waits here, or two; the rest waits in the log, which has a bound.
            self._oldest_us = next((r.ts_us for r in batch.records if isinstance(r, Event)), None)
            ahead = None
            if self._much_waits():
                ahead = await self._do_and_read_on(batch)
            else:
                await self._do(batch)
            self._has_batch = ahead is not None  # what was read ahead is not done
            self._oldest_us = None
            self.stats.batches_total += 1
            await self._commit(batch.end)
            if ahead is None and not self._much_waits():
                await trio.sleep(GATHER_S)

    def _much_waits(self) -> bool:
        return self._reader.end - self._reader.position >= GATHER_BYTES

    async def _do(self, batch: ReadBatch) -> None:
        if await self._written(batch.records, batch.end) is not None:
            await self._divide(batch.records, batch.ends)

    async def _do_and_read_on(self, batch: ReadBatch) -> ReadBatch | LogFault | None:
        """What comes next, read while the store, often in another process, takes this batch."""
        ahead: ReadBatch | LogFault | None = None

        async def read() -> None:
            nonlocal ahead
            try:
                ahead = await self._reader.next_batch(BATCH_RECORDS_MAX)
            except LogFault as fault:
                ahead = fault  # once this batch is done: it is good

        async with trio.open_nursery() as reading:
            reading.start_soon(read)
            await self._do(batch)
        return ahead

    @property
    def position(self) -> int:
        """Everything before it is done. Not only after a record: a segment's head, which no batch holds, is passed
        as well, so that an idle stage is at the log's end."""
        return self._done if self._has_batch else max(self._done, self._reader.position)

    def lag_s(self) -> float:
        """How long the oldest event waits that was read and is not done; 0 where none waits."""
        return 0.0 if self._oldest_us is None else max(0.0, (self._clock() - self._oldest_us) / 1_000_000)

    async def _written(
        self, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> str | None:
        """Bring the records in, however long that takes; None, or why at least one of them can't ever be taken."""
        tries = 0
        while True:
            try:
                with trio.fail_after(WRITE_DEADLINE_S):
                    await self._sink.append(self._log_id, records, end, set_aside)
            except trio.TooSlowError:
                self._waits(f"no answer from its store within {WRITE_DEADLINE_S:g} s")
            except (Unavailable, StoreFault) as error:
                self._waits(str(error))
            except RecordRefused as refused:
                if not set_aside:
                    return refused.why
                self._waits(f"a record can't even be set aside: {refused.why}")
            except Exception as error:
                # A fault of ours that one record brings about would else stop the log behind it at every start.
                logger.exception("stage %s failed in an unforeseen way", self.name)
                tries += 1
                if tries >= TRIES_MAX and not set_aside:
                    return repr(error)
                self._waits(repr(error))
            else:
                self._written_until(records, end)
                return None
            self.stats.failures_total += 1
            await trio.sleep(RETRY_S)

    async def _divide(self, records: Sequence[ReadRecord], ends: Sequence[int]) -> None:
        """A record that can't be taken must not stop those around it: it goes into a table of its own. It is found by
        halves."""
        middle = len(records) // 2
        for part in (slice(middle), slice(middle, None)):
            if not records[part]:
                continue
            end = ends[part][-1]
            why = await self._written(records[part], end)
            if why is not None and len(records[part]) > 1:
                await self._divide(records[part], ends[part])
            elif why is not None:
                await self._put_aside(records[part][0], end, why)

    async def _put_aside(self, record: ReadRecord, end: int, why: str) -> None:
        logger.error(
            "a record of the log can't be taken by stage %s and is set aside: %s",
            self.name,
            why,
            extra={"log": self._log_id, "position": end, "app_id": getattr(record, "app_id", None)},
        )
        self.stats.set_aside_total += 1
        await self._written([], end, [SetAside(record, why)])

    async def _commit(self, position: int) -> None:
        try:
            await self._reader.commit(position)
        except Unavailable as error:
            logger.warning("the log was not let go, the next batch of %s does it: %s", self.name, error)

    def _written_until(self, records: Sequence[ReadRecord], end: int) -> None:
        self.stats.events_total += sum(isinstance(record, Event) for record in records)
        self._done = end
        if self.waiting_for is not None:
            self.waiting_for = None
            self._said_at = float("-inf")
            logger.warning("stage %s goes on again", self.name)

    def _waits(self, why: str) -> None:
        self.waiting_for = why
        if trio.current_time() - self._said_at >= SAID_EVERY_S:
            self._said_at = trio.current_time()
            logger.warning(
                "events wait in the log for stage %s, which tries every %.0f s: %s", self.name, RETRY_S, why
            )
