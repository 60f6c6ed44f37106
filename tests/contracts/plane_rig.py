"""What the plane's contract needs around a plane: a gateway that says yes, and a log in memory that can fail.

The gateway here does as little as the interface allows: it accepts whoever names a token, opens topics of the kinds
below, and admits joins with what they ask for. A test that wants another answer takes the records itself.
"""

import json
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest
import trio
import trio.testing
from plane_client import PATIENCE_S

from polyglotd.log.interface import AppendedRun, LogAppender, LogRecord, LogSettings, RecentId
from polyglotd.log.native_log import NativeSegmentLog, open_native_segments
from polyglotd.log.record import check_record, decode_record
from polyglotd.model import BUILT_IN_KINDS, Event, Limits, Policy, Unavailable, encode_event, now_us
from polyglotd.plane.asgi.plane import AsgiPlane
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.interface import (
    Accept,
    Accepted,
    Admit,
    AnyCommand,
    AnyRecord,
    Backfill,
    ConfigureApp,
    Connect,
    Join,
    NeedHistory,
    OpenTopic,
    Plane,
    Publish,
    PublishItem,
    PublishResults,
    ReadWindow,
    Record,
    Refused,
    RefuseJoin,
    WindowPage,
)
from polyglotd.plane.native.library import Library, NoDriver, load_library
from polyglotd.plane.native.plane import NativePlane

APP = "chat-app"  # of two loops of a driver the one that does not accept
GENEROUS = Limits(publishes_per_connection=100_000, publishes_per_app=1_000_000)
EPOCH = "epoch1"

KINDS: dict[str, Policy] = {
    **BUILT_IN_KINDS,
    "queue": Policy(history_events=1_000, overflow="queue"),  # a memory kind
}

AnyRecordT = TypeVar("AnyRecordT", bound=Record)


class MemoryLog:
    """A LogAppender that keeps its events in a list. `broken`: appends are refused. `gate`: what a sync waits for."""

    retry_after_ms = 1234

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.broken = False
        self.sync_broken = False
        self.gate: trio.Event | None = None
        self.appends = 0
        self.appended = trio.Event()

    def append(self, records: Sequence[LogRecord]) -> int:
        if self.broken:
            raise Unavailable("the disk is full", retry_after_ms=self.retry_after_ms)
        heads: dict[tuple[str, str], tuple[str, int]] = {}
        for event in self.events:
            heads[event.app_id, event.channel] = (event.epoch, event.seq)
        for record in records:
            assert isinstance(record, Event)
            epoch, seq = heads.get((record.app_id, record.channel), (record.epoch, record.seq - 1))
            if record.seq != (seq + 1 if record.epoch == epoch else 1):
                raise ValueError(f"seq {record.seq} of {record.epoch} after {seq} of {epoch}")
            heads[record.app_id, record.channel] = (record.epoch, record.seq)
        self.events += [record for record in records if isinstance(record, Event)]
        self.appends += 1
        self.appended.set()
        self.appended = trio.Event()
        return len(self.events)

    async def synced(self, position: int) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.sync_broken:
            raise Unavailable("an fsync failed")

    def recent_ids(self, app_id: str, channel: str) -> Sequence[RecentId]:
        return [
            RecentId(event.id, event.user_id, event.seq, event.ts_us)
            for event in self.events
            if event.channel == channel and not event.id.startswith("evt_")
        ]

    def of(self, channel: str) -> list[Event]:
        return [event for event in self.events if event.channel == channel]


class Rig:
    """A running plane, its log, and the gateway's end of the border."""

    def __init__(self, plane: Plane, log: "MemoryLog | SegmentsOfDriver") -> None:
        self.plane = plane
        self.log = log
        self.address = ("", 0)
        self.limits = GENEROUS
        self.policies = dict(KINDS)
        self.topics: dict[str, int] = {}
        self.automatic: dict[type, Callable[[Any], None]] = {
            Connect: self.accept,
            Join: self.admit,
            NeedHistory: self.backfill,
        }
        self.admits: dict[str, Any] = {}  # fields of every Admit
        self._heard: list[AnyRecord] = []
        self._more = trio.Event()
        self._listening = trio.Event()
        self._listening.set()
        self._hearing = trio.CancelScope()
        self._requests = 0
        self._next_topic = 1

    # --- the gateway that says yes

    async def listen(self) -> None:
        """Take the plane's records, and answer those that have an automatic answer."""
        while True:
            if not self._listening.is_set():
                await self._listening.wait()
            records: Sequence[AnyRecord] = []
            with trio.CancelScope() as self._hearing:
                records = await self.plane.receive()
            for record in records:
                self._heard.append(record)
                if (answer := self.automatic.get(type(record))) is not None:
                    answer(record)
            self._more.set()
            self._more = trio.Event()

    @asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        """Take no records for a while."""
        self._listening = trio.Event()
        self._hearing.cancel()
        await trio.testing.wait_all_tasks_blocked()
        yield
        self._listening.set()

    def submit(self, *commands: AnyCommand) -> None:
        self.plane.submit(commands)

    def configure(self, limits: Limits, *, events_used_up: bool = False, bytes_used_up: bool = False) -> None:
        self.limits = limits
        self.submit(ConfigureApp(APP, limits, limits.publishes_per_app, events_used_up, bytes_used_up))

    def accept(self, record: Connect) -> None:
        self.submit(Accept(record.conn, APP, parse_qs(record.query)["token"][0]))

    def open(self, channel: str, *, seq: int = 0, window: Sequence[Event] = (), epoch: str = EPOCH) -> int:
        """Open a channel's topic, once."""
        if channel not in self.topics:
            topic = self.topics[channel] = self._next_topic
            self._next_topic += 1
            policy = self.policies[channel.partition(":")[0]]
            self.submit(OpenTopic(topic, APP, channel, policy, epoch, seq, list(window)))
        return self.topics[channel]

    def admit(self, record: Join) -> None:
        params = json.loads(record.params)
        since = params.get("since")
        if record.channel.partition(":")[0] not in self.policies:
            self.submit(RefuseJoin(record.conn, record.sub, b'{"reason":"unknown_channel_kind","message":""}'))
            return
        fields: dict[str, Any] = {
            "conn": record.conn,
            "sub": record.sub,
            "topic": self.open(record.channel),
            "may_publish": True,
            "sees_presence": True,
            "since": None if since is None else (since["epoch"], since["seq"]),
            "history": params.get("history"),
            "echo": params.get("self", True),
        }
        self.submit(Admit(**(fields | self.admits)))

    def backfill(self, record: NeedHistory) -> None:
        """Answer from the log, which forgets nothing."""
        channel = next(name for name, topic in self.topics.items() if topic == record.topic)
        page: list[Event] = []
        size = 0
        logged = self.log.of(channel)
        for event in logged:
            if (
                event.epoch == logged[-1].epoch
                and record.after < event.seq <= record.until
                and len(page) < record.limit
            ):
                size += len(encode_event(event))
                if page and size > record.bytes_max:
                    break
                page.append(event)
        self.submit(Backfill(record.conn, record.sub, page, gone=not page))

    # --- what happened

    async def heard(self, kind: type[AnyRecordT], **fields: Any) -> AnyRecordT:
        """Wait for a record of this kind with these fields; it is taken out of what was heard."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for record in self._heard:
                    if isinstance(record, kind) and all(getattr(record, n) == v for n, v in fields.items()):
                        self._heard.remove(record)
                        return record
                await self._more.wait()

    def all_heard(self, kind: type[AnyRecordT]) -> list[AnyRecordT]:
        return [record for record in self._heard if isinstance(record, kind)]

    @property
    def story(self) -> list[AnyRecord]:
        """Everything heard and not taken, in order."""
        return self._heard

    # --- the gateway's own conversations

    async def publish(self, *items: PublishItem) -> PublishResults:
        return await self.heard(PublishResults, request=self.start_publish(*items))

    def start_publish(self, *items: PublishItem) -> int:
        self._requests += 1
        self.submit(Publish(self._requests, list(items)))
        return self._requests

    async def results(self, request: int) -> list[Accepted | Refused]:
        return (await self.heard(PublishResults, request=request)).results

    async def appended(self, appends: int) -> None:
        """Wait until the log was written to so often."""
        with trio.fail_after(PATIENCE_S):
            while self.log.appends < appends:
                await trio.sleep(0.001)

    async def publish_many(self, channel: str, count: int, data: bytes = b"null") -> None:
        topic = self.open(channel)
        results = await self.publish(*(PublishItem(topic, "m", data, None, None) for _ in range(count)))
        assert len(results.results) == count

    async def at_rest(self) -> None:
        """Wait until the plane has carried out what was submitted, and its answers were heard."""
        self.open("queue:at-rest")
        for _ in range(2):  # commands, and those that answer what came of them
            await trio.testing.wait_all_tasks_blocked()
            await self.window("queue:at-rest")
        await trio.testing.wait_all_tasks_blocked()

    async def window(self, channel: str, **fields: Any) -> WindowPage:
        self._requests += 1
        asked: dict[str, Any] = {"after": None, "before": None, "limit": 1000, "bytes_max": 1 << 20}
        self.submit(ReadWindow(self._requests, self.topics[channel], **(asked | fields)))
        return await self.heard(WindowPage, request=self._requests)


def event(channel: str, seq: int, *, epoch: str = EPOCH, data: bytes = b"null", ts_us: int | None = None) -> Event:
    """An event as history holds it."""
    at_us = now_us() if ts_us is None else ts_us
    return Event(f"evt_{seq:026}", APP, channel, epoch, seq, "m", data, None, at_us)


@asynccontextmanager
async def open_asgi(log: LogAppender | None = None, **settings: Any) -> AsyncIterator[Rig]:
    """`log`: a real one, in the place of the one that can be made to fail."""
    memory = MemoryLog()
    rig = Rig(AsgiPlane(memory if log is None else log, PlaneSettings(port=0, **settings)), memory)
    async with trio.open_nursery() as nursery:
        rig.address = await nursery.start(rig.plane.run)
        rig.configure(GENEROUS)
        nursery.start_soon(rig.listen)
        yield rig
        nursery.cancel_scope.cancel()


class SegmentsOfDriver:
    """What the driver has appended to a real log, read back, in the shape of `MemoryLog`. `broken`: files may not
    grow any more, for this process (the limit is the kernel's): a full disk."""

    retry_after_ms = 1000

    def __init__(self, log: NativeSegmentLog, directory: Path) -> None:
        self._log = log
        self._directory = directory
        self._may_grow = resource.getrlimit(resource.RLIMIT_FSIZE)

    @property
    def events(self) -> list[Event]:
        events: list[Event] = []
        for path in sorted(self._directory.glob("*.seg")):
            data, at = path.read_bytes(), 0
            while at < len(data):
                size = check_record(data, at)
                record = decode_record(data, at, size)
                events += [record] if isinstance(record, Event) else []
                at = size
        return events

    def of(self, channel: str) -> list[Event]:
        return [event for event in self.events if event.channel == channel]

    @property
    def appends(self) -> int:
        return self._log.counters().writes

    @property
    def broken(self) -> bool:
        return resource.getrlimit(resource.RLIMIT_FSIZE) != self._may_grow

    @broken.setter
    def broken(self, broken: bool) -> None:
        size = max(path.stat().st_size for path in self._directory.glob("*.seg"))
        soft = size if broken else self._may_grow[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, self._may_grow[1]))

    @property
    def gate(self) -> trio.Event:
        raise NotImplementedError

    @gate.setter
    def gate(self, gate: trio.Event) -> None:
        pytest.skip("the kernel's fsync can't be held; native/tests/test_engine_log.cpp holds it")

    sync_broken = gate


class AnySeqs:
    """A driver's log for a gateway that invents where channels stand: what does not follow is only forgotten."""

    def __init__(self, log: NativeSegmentLog) -> None:
        self._log = log
        self.handle = log.handle
        self.recent_ids = log.recent_ids

    def appended(self, runs: Sequence[AppendedRun], told: int) -> None:
        for run in runs:
            with suppress(ValueError):
                self._log.appended([run], 0)
        self._log.appended([], told)


@asynccontextmanager
async def open_native(
    log: NativeSegmentLog | None = None, *, io_threads: int = 1, **settings: Any
) -> AsyncIterator[Rig]:
    """The driver writes to a log of its own kind, so there is always a real one."""
    library = native_library()
    async with AsyncExitStack() as stack:
        if log is None:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="polyglot-rig.")))
            log = await stack.enter_async_context(open_native_segments(directory, LogSettings(), library.cdll))
        plane = NativePlane(
            library,
            AnySeqs(log),
            PlaneSettings(port=0, **settings),
            log_always=log._settings.sync == "always",
            io_threads=io_threads,
        )
        rig = Rig(plane, SegmentsOfDriver(log, log._directory))
        async with trio.open_nursery() as nursery:
            rig.address = await nursery.start(rig.plane.run)
            rig.configure(GENEROUS)
            nursery.start_soon(rig.listen)
            try:
                yield rig
            finally:
                rig.log.broken = False
            nursery.cancel_scope.cancel()


def native_library() -> Library:
    try:
        return load_library()
    except NoDriver as why:
        pytest.skip(str(why))


MAKES = {"asgi": open_asgi, "native": open_native, "native-2": partial(open_native, io_threads=2)}
