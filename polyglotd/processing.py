"""The processor as the settings want it: its stages, each with a reader and a cursor of its own, and its chores.

Part of the composition root. A stage is a line in `open_processor`: its name, also its reader's, and the store
that it fills.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

from polyglotd.log.interface import STORE_READER
from polyglotd.log.segment_reader import SegmentReader, open_segments_reader, wait_for_log
from polyglotd.log.segments import SegmentLog
from polyglotd.model import PolicyOverride
from polyglotd.processor.feed import Feed
from polyglotd.processor.forgetting import Forgetting
from polyglotd.processor.log_stage import LogStage, Sink
from polyglotd.processor.pipeline import Processor
from polyglotd.processor.retention import Retention
from polyglotd.stores import Stores

OpenReader = Callable[[str, int], AbstractAsyncContextManager[SegmentReader]]
"""A reader of the log with this name, from a position on."""

Kinds = Mapping[str, Mapping[str, PolicyOverride]]


@asynccontextmanager
async def open_processor(
    log_id: str, open_reader: OpenReader, stores: Stores, kinds: Kinds
) -> AsyncIterator[Processor]:
    """Open a reader for each stage, where its store's cursor is; `Processor.run` does the work. `kinds`: the
    configuration's, by app."""
    feed = Feed()
    async with AsyncExitStack() as readers:

        async def stage(name: str, sink: Sink) -> LogStage:
            position = await sink.cursor(log_id)
            source = await readers.enter_async_context(open_reader(name, position))
            return LogStage(name, log_id, feed.reader(source), sink, position=position)

        stages = [
            await stage(STORE_READER, stores.events),
        ]
        chores = [
            Forgetting(stores.events, stores.registry),
        ]
        yield Processor(feed, stages, Retention(stores.events, stores.registry, kinds), chores)


def open_processor_beside(log: SegmentLog, stores: Stores, kinds: Kinds) -> AbstractAsyncContextManager[Processor]:
    """In the process of the log's owner."""
    return open_processor(log.id, lambda name, position: nullcontext(log.reader(name, position)), stores, kinds)


@asynccontextmanager
async def open_processor_alone(directory: Path, stores: Stores, kinds: Kinds) -> AsyncIterator[Processor]:
    """In a process of its own. Waits for the log to be there."""
    log_id = await wait_for_log(directory)

    def open_reader(name: str, position: int) -> AbstractAsyncContextManager[SegmentReader]:
        return open_segments_reader(directory, name, position)

    async with open_processor(log_id, open_reader, stores, kinds) as processor:
        yield processor
