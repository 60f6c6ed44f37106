"""A reader of the log that waits for more, for a stage whose transaction costs little more with many records.

Put by the composition root between a stage and its part of the feed. `hurry` ends the waiting for good: at a drain
nobody is to wait for what would only have saved work.
"""

from math import inf

import trio

from polyglotd.log.interface import LogReader, ReadBatch

GATHER_S = 1.0
GATHER_RECORDS, GATHER_BYTES = 20_000, 4 << 20  # whichever comes first


class Gathered:
    """Satisfies `LogReader`."""

    def __init__(self, reader: LogReader, hurry: trio.Event) -> None:
        self._reader = reader
        self._hurry = hurry
        self._start = 0  # the position before what was gathered
        self._batches: list[ReadBatch] = []
        self._records = 0  # in them

    async def next_batch(self, limit: int) -> ReadBatch:
        """As the interface has it, but for `limit`, which bounds a single read."""
        if not self._batches:
            start = self._reader.position
            self._gather(await self._reader.next_batch(limit))
            self._start = start
        async with trio.open_nursery() as gathering:
            gathering.cancel_scope.deadline = trio.current_time() + (-inf if self._hurry.is_set() else GATHER_S)
            gathering.start_soon(self._end_on_hurry, gathering.cancel_scope)
            while self._has_room:
                self._gather(await self._reader.next_batch(limit))
            gathering.cancel_scope.cancel()
        batches, self._batches, self._records = self._batches, [], 0
        return ReadBatch(
            [record for batch in batches for record in batch.records],
            batches[-1].end,
            [end for batch in batches for end in batch.ends],
        )

    def _gather(self, batch: ReadBatch) -> None:
        self._batches.append(batch)
        self._records += len(batch.records)

    @property
    def _has_room(self) -> bool:
        return self._records < GATHER_RECORDS and self._batches[-1].end - self._start < GATHER_BYTES

    async def _end_on_hurry(self, gathering: trio.CancelScope) -> None:
        await self._hurry.wait()
        gathering.cancel()

    async def commit(self, position: int) -> None:
        await self._reader.commit(position)

    @property
    def position(self) -> int:
        return self._start if self._batches else self._reader.position

    @property
    def end(self) -> int:
        return self._reader.end
