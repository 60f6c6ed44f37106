"""The processor as the settings want it: its stages, each with a reader and a cursor of its own, and its chores.

Part of the composition root. A stage is a line in `open_processor`: its name, also its reader's, and the store
that it fills.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from polyglotd.access.webhook_addresses import Allowed
from polyglotd.config import Settings
from polyglotd.host.data_directory import Lock
from polyglotd.host.watched_process import WatchedProcess
from polyglotd.log.interface import ROLLUPS_READER, STORE_READER, LogReader
from polyglotd.log.native_events import native_events
from polyglotd.log.segment_reader import SegmentReader, open_segments_reader, wait_for_log
from polyglotd.log.segments import SegmentLog
from polyglotd.model import now_us
from polyglotd.plane.native.library import NoDriver, load_library
from polyglotd.processor.erasing import Erasing
from polyglotd.processor.feed import Feed
from polyglotd.processor.forgetting import Forgetting
from polyglotd.processor.gathered import Gathered
from polyglotd.processor.log_stage import LogStage, Sink
from polyglotd.processor.pipeline import Processor
from polyglotd.processor.report import AGE_MAX_S, ProcessorReport, StateFile, read_state, state_path
from polyglotd.processor.retention import Retention
from polyglotd.processor.rollup_retention import RollupRetention
from polyglotd.processor.rollups import RollupSink
from polyglotd.processor.stage import Chore
from polyglotd.processor.webhooks.connecting import Connector
from polyglotd.processor.webhooks.deliveries import Deliveries
from polyglotd.processor.webhooks.endpoints import Endpoints
from polyglotd.processor.webhooks.sink import WebhookSink
from polyglotd.stores import Stores

OpenReader = Callable[[str, int], AbstractAsyncContextManager[SegmentReader]]
"""A reader of the log with this name, from a position on."""

Through = Callable[[LogReader], LogReader]


@asynccontextmanager
async def open_processor(
    log_id: str, open_reader: OpenReader, stores: Stores, settings: Settings
) -> AsyncIterator[Processor]:
    """Open a reader for each stage, where its store's cursor is; `Processor.run` does the work."""
    feed = Feed()
    endpoints = Endpoints(stores.registry, stores.webhooks, now_us)
    queueing = WebhookSink(stores.webhooks, endpoints, now_us)
    async with AsyncExitStack() as readers:

        async def stage(name: str, sink: Sink, through: Through = lambda reader: reader) -> LogStage:
            position = await sink.cursor(log_id)
            source = await readers.enter_async_context(open_reader(name, position))
            return LogStage(name, log_id, through(feed.reader(source)), sink, position=position)

        stages = [
            await stage(STORE_READER, stores.events),
            await stage(ROLLUPS_READER, RollupSink(stores.rollups), partial(Gathered, hurry=feed.hurry)),
            await stage("webhooks", queueing, queueing.durable_commits),
        ]
        chores: list[Chore] = [
            Forgetting(stores.events, stores.registry, stores.rollups),
            RollupRetention(stores.rollups),
            Erasing(stores.events),
        ]
        deliveries = Deliveries(endpoints, stores.webhooks, webhook_connector(settings), now_us)
        retention = Retention(stores.events, stores.registry, settings.kinds)
        yield Processor(feed, stages, retention, deliveries, chores)


def webhook_connector(settings: Settings) -> Connector:
    """To endpoints, by the operator's rules. TLS is verified by what the system trusts, or SSL_CERT_FILE names."""
    return Connector(Allowed.of(settings.webhooks.allow_private))


def open_processor_beside(
    log: SegmentLog, stores: Stores, settings: Settings
) -> AbstractAsyncContextManager[Processor]:
    """In the process of the log's owner."""

    def open_reader(name: str, position: int) -> AbstractAsyncContextManager[SegmentReader]:
        return nullcontext(log.reader(name, position))

    return open_processor(log.id, open_reader, stores, settings)


@asynccontextmanager
async def running_processor(stores: Stores, settings: Settings) -> AsyncIterator[Processor]:
    """In a process of its own. Waits for the log to be there; the gateway finds in DATA how it is."""
    data = Path(settings.data.dir)
    directory = data / "log"
    log_id = await wait_for_log(directory)

    try:
        read_events = native_events(load_library().cdll)
    except NoDriver:
        read_events = None  # the log is read without it as well

    def open_reader(name: str, position: int) -> AbstractAsyncContextManager[SegmentReader]:
        return open_segments_reader(directory, name, position, read_events)

    async with (
        open_processor(log_id, open_reader, stores, settings) as processor,
        trio.open_nursery() as processing,
    ):
        await processing.start(processor.run)
        await processing.start(StateFile(state_path(data), processor.health).run)
        yield processor
        processing.cancel_scope.cancel()


# --- what a gateway's process knows of it ---


class Processing(Protocol):
    """The processor, as the daemon runs and watches it."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...

    def report(self) -> ProcessorReport | None: ...

    async def caught_up(self, position: int) -> None:
        """Return when everything before `position` is done; for a drain, under the caller's deadline. It may have
        ended then."""


@asynccontextmanager
async def open_processing(
    settings: Settings, log: SegmentLog, stores: Stores, locks: Mapping[Lock, int], *, development: bool
) -> AsyncIterator[Processing]:
    """As `[processor] process` says: a laptop is spared a second Python."""
    process = settings.processor.process
    if process == "own" or (process == "auto" and not development):
        yield ChildProcessor(settings, locks["processor"])
        return
    async with open_processor_beside(log, stores, settings) as processor:
        yield SharedProcessor(processor)


class SharedProcessor:
    """In this process."""

    def __init__(self, processor: Processor) -> None:
        self.run = processor.run
        self.caught_up = processor.caught_up
        self._processor = processor

    def report(self) -> ProcessorReport:
        return ProcessorReport(where="shared", health=self._processor.health(), pid=os.getpid())


class ChildProcessor:
    """In a child, which is started again when it ends. It shares our lock on the directory: whoever comes after us
    waits until it is gone as well."""

    def __init__(self, settings: Settings, lock: int) -> None:
        self._data = Path(settings.data.dir)
        command = (sys.executable, "-m", "polyglotd.processing_child")
        self._child = WatchedProcess("the processor", command, msgspec.json.encode(settings), fds=(lock,))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._child.run(task_status=task_status)

    async def caught_up(self, position: int) -> None:
        await self._child.finish(b"%d" % position)

    def report(self) -> ProcessorReport:
        child = self._child
        restarts = max(0, child.starts_total - 1)
        found = read_state(self._data, "own", restarts_total=restarts)
        if child.problem is None and found is not None and found.pid == child.pid:
            return found
        problem = child.problem
        if problem is None and trio.current_time() - child.started_at > AGE_MAX_S:
            problem = f"no word from the processor since it was started {AGE_MAX_S:.0f} s ago or longer"
        return ProcessorReport(where="own", health=None, problem=problem, pid=child.pid, restarts_total=restarts)
