"""The native plane: the `Plane` interface over the driver in C++.

Built by the composition root, owned by the gateway. All it does by itself is to listen, to pack commands for the
loops that they are for, and to take records out; for events of logged kinds it tells the log what the driver has
appended, before the gateway hears of it.
"""

import ctypes
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import trio

from polyglotd.log.interface import AppendedRun, RecentId
from polyglotd.model.latency import Latency
from polyglotd.plane.asgi.listening import listen
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.interface import AnyCommand, AnyRecord, OpenTopic, PlaneCounters, TopicClosed
from polyglotd.plane.native.codec import (
    AcceptFailed,
    DriverPublished,
    decode_records,
    encode_commands,
    with_recent_ids,
)
from polyglotd.plane.native.counters import decode_counters, decode_latencies
from polyglotd.plane.native.driver import Driver
from polyglotd.plane.native.library import Library
from polyglotd.plane.native.loops import Loops

logger = logging.getLogger(__name__)

RECORDS_UNREAD_BYTES_MAX = 8 << 20


class DriverLog(Protocol):
    """What this plane needs of a log that the driver writes to."""

    @property
    def handle(self) -> ctypes.c_void_p:
        """The `plg_log`."""

    def appended(self, runs: Sequence[AppendedRun], told: int) -> None:
        """The driver has written these; of all before `told` this call or one before has told."""

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        """As `LogAppender` has it."""


class _Names(NamedTuple):
    app_id: str
    channel: str


class NativePlane:
    name = "native"

    def __init__(
        self, library: Library, log: DriverLog, settings: PlaneSettings, *, log_always: bool, io_threads: int = 1
    ) -> None:
        """`log_always`: members see an event once it is synced (`[log] sync = always`). `io_threads`: loops of the
        driver, over which apps are spread."""
        self._library = library
        self._log = log
        self._log_always = log_always
        self._told = 0
        self._settings = settings
        self._driver: Driver | None = None
        self._started = trio.Event()
        self.io_threads = io_threads
        self._loops = Loops(io_threads) if io_threads > 1 else None
        # By loop, what was submitted in this turn of trio's, or before the driver runs.
        self._unsent: list[list[AnyCommand]] = [[] for _ in range(io_threads)]
        self._unsent_any = trio.Event()
        self._topics: dict[int, _Names] = {}
        self._last_counters = PlaneCounters()
        self._last_latencies: Mapping[str, Latency] = {}
        self._over = False
        self._wake_fd = -1

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        listening = await listen(self._settings.host, self._settings.port, self._settings.backlog)
        host, port = listening[0].getsockname()[:2]
        self._driver = Driver(self._library, self._options(), self._log.handle, [sock.detach() for sock in listening])
        self._wake_fd = self._driver.wake_fd
        try:
            self._started.set()
            task_status.started((host, port))
            while True:
                await self._unsent_any.wait()
                self._send()
        finally:
            self._send()
            self._over = True
            self._last_counters = self.counters()
            self._last_latencies = self.take_latencies()
            driver, self._driver = self._driver, None
            # Joins threads that end at once: nothing else runs meanwhile, so nobody calls the driver any more.
            driver.close()

    def submit(self, commands: Sequence[AnyCommand]) -> None:
        if self._over:
            return  # every conn, sub and topic is gone
        # One call a loop for all that this turn of trio's decides: each call wakes the driver's thread.
        if self._loops is None:
            self._unsent[0] += [self._prepared(command) for command in commands]
        else:
            for command in commands:
                prepared = self._prepared(command)
                for loop in self._loops.of(command):
                    self._unsent[loop].append(prepared)
        self._unsent_any.set()

    def _send(self) -> None:
        if not self._unsent_any.is_set() or self._driver is None:
            return
        self._unsent_any = trio.Event()
        for loop, unsent in enumerate(self._unsent):
            if unsent:
                self._unsent[loop] = []
                self._driver.submit(loop, encode_commands(unsent))

    async def receive(self) -> Sequence[AnyRecord]:
        await self._started.wait()
        while True:
            self._send()  # what the records before were answered with
            await trio.lowlevel.wait_readable(self._wake_fd)
            if taken := self._take():
                return taken

    def _take(self) -> list[AnyRecord]:
        if self._driver is None:
            return []
        count, packed, told = self._driver.take_records()
        return self._taken(decode_records(count, packed) if count else [], told)

    def counters(self) -> PlaneCounters:
        if self._driver is None:
            return self._last_counters
        return decode_counters(self._driver.counters())

    def take_latencies(self) -> Mapping[str, Latency]:
        if self._driver is None:
            last, self._last_latencies = self._last_latencies, {}
            return last
        return dict(decode_latencies(self._driver.take_latencies()))

    # --- inside

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "heads_waiting_max": settings.heads_waiting_max,
            "head_bytes_max": settings.head_bytes_max,
            "head_deadline_s": settings.head_deadline_s,
            "accept_deadline_s": settings.accept_deadline_s,
            "silence_s": settings.silence_s,
            "close_s": settings.close_s,
            "send_progress_s": settings.send_progress_s,
            "send_buffer_bytes": settings.send_buffer_bytes,
            "high_water_bytes": settings.high_water_bytes,
            "records_unread_max": settings.records_unread_max,
            "records_unread_bytes_max": RECORDS_UNREAD_BYTES_MAX,
            "topic_idle_s": settings.topic_idle_s,
            "topic_sweep_s": settings.topic_sweep_s,
            "log_always": self._log_always,
            "io_threads": self.io_threads,
        }

    def _prepared(self, command: AnyCommand) -> Any:
        if not isinstance(command, OpenTopic):
            return command
        self._topics[command.topic] = _Names(command.app_id, command.channel)
        if command.policy.durability != "logged":
            return command
        return with_recent_ids(command, self._log.recent_ids(command.app_id, command.channel))

    def _taken(self, records: "list[AnyRecord | DriverPublished | AcceptFailed]", told: int) -> list[AnyRecord]:
        runs: list[AppendedRun] = []
        taken: list[AnyRecord] = []
        for record in records:
            if isinstance(record, DriverPublished):
                if record.position:
                    runs.append(self._run(record))
                taken.append(record.for_gateway())
            elif isinstance(record, AcceptFailed):
                logger.warning(
                    "new connections are refused or wait: %s; they are tried again", os.strerror(record.why)
                )
            else:
                if isinstance(record, TopicClosed) and record.closed:
                    self._topics.pop(record.topic, None)
                taken.append(record)
        if self._loops is not None:
            self._loops.taken(taken)
        if runs or told > self._told:
            self._told = max(self._told, told)
            self._log.appended(runs, self._told)
        return taken

    def _run(self, record: DriverPublished) -> AppendedRun:
        names = self._topics[record.topic]
        return AppendedRun(
            app_id=names.app_id,
            channel=names.channel,
            epoch=record.epoch,
            first_seq=record.first_seq,
            last_seq=record.last_seq,
            last_ts_us=record.ts_us,
            start=record.start,
            end=record.position,
            ids_given=record.ids_given,
        )
