"""Decode each part of the log once for all the stages that are near it.

The composition root makes one feed per log and a reader of it for every stage, around a reader of the log of the
stage's own. Whoever comes first to a position reads on, the others take what it read; it is kept until all have taken
it, up to a bound. A stage that is further behind reads by itself, and one that stands still holds up nobody.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import trio

from polyglotd.log.interface import LogReader, ReadBatch
from polyglotd.model import Event
from polyglotd.processor.event_counts import EventCounts

CACHE_BYTES_MAX = 4 << 20  # of the log; as objects some times that
READ_RECORDS_MAX = 4000  # at once
CHUNK_BYTES = 1 << 20  # about as much as one read brings: a read that began so near is waited for


class Source(LogReader, Protocol):
    """A reader that can leave out what another one has read."""

    def pass_to(self, position: int) -> None:
        """Go on there, where that is further on."""


class _Chunk(NamedTuple):
    start: int
    batch: ReadBatch


class _Read:
    """One that is under way."""

    def __init__(self, source: Source, start: int) -> None:
        self.start = start
        self.source: Source | None = source  # until it is done
        self.done = trio.Event()


class Feed:
    def __init__(self, *, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._cache_bytes_max = cache_bytes_max
        self._readers: list[FeedReader] = []
        self._chunks: list[_Chunk] = []  # in order of `start`, none within another
        self._reads: list[_Read] = []
        self.counts = EventCounts()
        self.hurry = trio.Event()  # nobody is to wait for more: it all ends soon
        self.decoded_total = 0  # records, each as often as it was decoded

    def reader(self, source: Source) -> "FeedReader":
        """Satisfies `LogReader`, from where `source` stands, which is nobody else's from now on."""
        reader = FeedReader(self, source)
        self._readers.append(reader)
        return reader

    @property
    def end(self) -> int:
        """Up to where the log may be read now."""
        return max((reader.end for reader in self._readers), default=0)

    @property
    def cached_bytes(self) -> int:
        return sum(chunk.batch.end - chunk.start for chunk in self._chunks)

    # --- for its readers ---

    def chunk_at(self, position: int) -> _Chunk | None:
        for chunk in reversed(self._chunks):
            if chunk.start <= position < chunk.batch.end:
                return chunk
        return None

    def read_near(self, position: int) -> _Read | None:
        """One under way that will, or may well, bring what stands at `position`."""
        for read in self._reads:
            if read.start <= position < read.start + CHUNK_BYTES:
                return read
        return None

    async def read(self, read: _Read, source: Source) -> None:
        """Read on for everybody. Raises `LogCorrupt`. Cancelled: somebody else will."""
        self._reads.append(read)
        try:
            source.pass_to(read.start)
            batch = await source.next_batch(READ_RECORDS_MAX)
            self.decoded_total += len(batch.records)
            events = sum(isinstance(record, Event) for record in batch.records)
            self.counts.read(read.start, batch.end, events)
            self._keep(_Chunk(read.start, batch))
        finally:
            read.source = None
            self._reads.remove(read)
            read.done.set()

    def taken(self) -> None:
        """A reader went on: what all have passed is not needed any more."""
        if self._chunks and self._chunks[0].batch.end <= (slowest := _slowest(self._readers)):
            self._chunks = [chunk for chunk in self._chunks if chunk.batch.end > slowest]

    def _keep(self, chunk: _Chunk) -> None:
        """The newest read is always kept, whatever its size: who read it has yet to take it."""
        inside = range(chunk.start, chunk.batch.end)
        self._chunks = [old for old in self._chunks if old.start not in inside]
        self._chunks.append(chunk)
        self._chunks.sort(key=lambda kept: kept.start)
        size = self.cached_bytes
        for oldest in list(self._chunks):
            if size <= self._cache_bytes_max:
                break
            if oldest is not chunk:
                size -= oldest.batch.end - oldest.start
                self._chunks.remove(oldest)


def _slowest(readers: Iterable["FeedReader"]) -> int:
    return min((reader.taken_to for reader in readers), default=0)


class FeedReader:
    """Satisfies `LogReader`."""

    def __init__(self, feed: Feed, source: Source) -> None:
        self._feed = feed
        self._source = source
        self._waits_for: _Read | None = None
        self.taken_to = source.position

    async def next_batch(self, limit: int) -> ReadBatch:
        while (chunk := self._feed.chunk_at(self.taken_to)) is None:
            await self._read_on()
        batch = chunk.batch
        first = bisect_right(batch.ends, self.taken_to)
        last = min(first + limit, len(batch.ends))
        end = batch.end if last == len(batch.ends) else batch.ends[last - 1]
        self.taken_to = end
        self._feed.taken()
        return ReadBatch(batch.records[first:last], end, batch.ends[first:last])

    async def _read_on(self) -> None:
        near = self._feed.read_near(self.taken_to)
        read = self._waits_for = near or _Read(self._source, self.taken_to)
        try:
            if near is None:
                await self._feed.read(read, self._source)
            else:
                await read.done.wait()
        finally:
            self._waits_for = None

    async def commit(self, position: int) -> None:
        await self._source.commit(position)

    @property
    def position(self) -> int:
        """Who waits for the log's next record has passed what is no record, like the one that reads for it."""
        read = self._waits_for
        return self.taken_to if read is None or read.source is None else max(self.taken_to, read.source.position)

    @property
    def end(self) -> int:
        return self._source.end
