"""The processor: everything that reads the log and writes the store. In the gateway's process, or in its own.

The daemon runs one per data directory. Today its stages are the store writer, retention, and the erasing of deleted
apps; each is a task of one nursery, and none waits for another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import trio

from polyglotd.log.interface import LogReader
from polyglotd.model import PolicyOverride
from polyglotd.processor.forgetting import Forgetting
from polyglotd.processor.retention import Retention
from polyglotd.processor.store_writer import StoreWriter
from polyglotd.store.interface import EventStore, Registry


@dataclass(frozen=True, slots=True)
class ProcessorHealth:
    """What `/health` and the metrics say of the processor."""

    events_total: int
    failures_total: int
    set_aside_total: int
    pruned_total: int
    lag_bytes: int  # of the log, not yet in the store
    lag_s: float  # how long the oldest event waits that is read and not stored
    waiting_for: str | None  # what it waits for, where it can't go on


class Processor:
    """`reader` begins at `position`, where the store's cursor is. `kinds`: the configuration's, by app."""

    def __init__(
        self,
        log_id: str,
        reader: LogReader,
        store: EventStore,
        registry: Registry,
        kinds: Mapping[str, Mapping[str, PolicyOverride]],
        position: int,
    ) -> None:
        self._reader = reader
        self._writer = StoreWriter(log_id, reader, store, position=position)
        self._retention = Retention(store, registry, kinds)
        self._forgetting = Forgetting(store, registry)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        async with trio.open_nursery() as processor:
            for stage in (self._writer, self._retention, self._forgetting):
                await processor.start(stage.run)
            task_status.started()

    async def caught_up(self, position: int) -> None:
        """Return when everything before `position` is stored; for a drain, under the caller's deadline."""
        while self._writer.position < position:
            await trio.sleep(0.02)

    def health(self) -> ProcessorHealth:
        """A snapshot."""
        stats = self._writer.stats
        return ProcessorHealth(
            events_total=stats.events_total,
            failures_total=stats.failures_total,
            set_aside_total=stats.set_aside_total,
            pruned_total=self._retention.deleted_total,
            lag_bytes=max(0, self._reader.end - self._writer.position),
            lag_s=self._writer.lag_s(),
            waiting_for="store" if stats.waiting_for_store else None,
        )
