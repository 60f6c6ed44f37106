"""Tails of patterns and of whole apps: what an operator's WebSocket gets that follows more than one channel.

Events of logged kinds come from the log, by position (`tail_feed`); those of memory kinds by membership
(`tail_members`). A tail reads at its reader's pace and holds nobody up: neither the log's trimming nor the plane.
Where that makes it miss something, it says so. What the dispatch hands in costs nothing while nobody tails.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from polyglotd.gateway.admission import Admission
from polyglotd.gateway.callers import Caller
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.gateway.streams import NORMAL, StreamEnded
from polyglotd.gateway.tail_feed import Entry as FedEvent
from polyglotd.gateway.tail_feed import TailFeed
from polyglotd.gateway.tail_members import TailMembers
from polyglotd.gateway.topics import Topic, Topics, unknown_kind
from polyglotd.gateway.virtual import Mailbox, VirtualConnections
from polyglotd.log.interface import EventLog, LogCorrupt, TailMoved, Wanted
from polyglotd.model import Invalid, Refusal, Unavailable, check_pattern, encode_event, format_ts, kind_of
from polyglotd.plane.interface import VIRTUAL_CONN_FIRST, Disconnect, Joined, Left, Published
from polyglotd.protocol.cursor import LogPlace, parse_log_place
from polyglotd.protocol.tail import encode_event_at, encode_notice_at

logger = logging.getLogger(__name__)

WHOLE_APP = "*"
TAILS_MAX = 256  # each is three tasks and some 512 KiB under way
MESSAGES_PER_S = 2_000  # of all tails of patterns: each costs some 90 µs of the thread that everything else waits for
BURST_S = 0.1
LET_GO_S = 15.0  # how often tails look for topics that they alone hold open
LAG_BYTES = 1 << 20  # of the log behind: more is said, and how much, every LAG_SAID_S
LAG_SAID_S = 10.0
QUIET_BYTES = 1 << 20  # of the log passed without an event: then the reader gets a new cursor, every QUIET_SAID_S
QUIET_SAID_S = 5.0
NOT_DURABLE_YET_S = 0.1
SLOW_CONSUMER = 4009
INTERNAL = 1011
GOING_AWAY = 1012

Reopen = Callable[[], Awaitable[Mailbox]]
"""Gives a tail another connection."""


class Pace:
    """How fast all tails together may go."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self.lagged = 0  # how often one of them was behind, or missed something

    async def take(self, count: int) -> None:
        """Return when so many messages may go out."""
        now = trio.current_time()
        self._next_s = max(self._next_s, now - BURST_S) + count / MESSAGES_PER_S
        await trio.sleep_until(max(now, self._next_s - BURST_S))


class PatternTail:
    """What its reader has of it; as `streams.Stream`."""

    def __init__(self, feed: TailFeed, log: EventLog, wanted: Wanted, members: TailMembers, pace: Pace) -> None:
        self._pace = pace
        self._feed = feed
        self._log = log
        self._wanted = wanted
        self.members = members
        self._from = feed.want(wanted)
        self._position = self._from
        self._told = self._from  # the reader's newest cursor
        self._told_s = trio.current_time()
        self._lag_said_s = -LAG_SAID_S
        self._send, self._receive = trio.open_memory_channel[list[bytes]](0)
        self._ended: tuple[int, str] | None = None
        self.scope = trio.CancelScope()

    @property
    def place(self) -> LogPlace:
        return LogPlace(self._log.id, self._position)

    def resume(self, since: LogPlace) -> bytes | None:
        """Begin there; a notice where that can't be."""
        if since.log_id != self._log.id or since.position > self._from:
            return self._notice("reset", "the cursor is not of this event log; what came since then is not sent")
        self._position = self._told = since.position
        return None

    def begins(self) -> bytes:
        """So that its reader can resume before anything came."""
        return self._notice("position", "the tail begins here")

    async def frames(self, timeout_s: float) -> Sequence[bytes]:
        """As `Stream.frames`."""
        with trio.move_on_after(timeout_s):
            try:
                return await self._receive.receive()
            except trio.EndOfChannel:
                code, reason = self._ended or (INTERNAL, "it failed; that has been logged")
                raise StreamEnded(code, reason) from None
        return []

    def close(self) -> None:
        self.scope.cancel()
        self.members.end()
        self._feed.drop(self._wanted)

    # --- from the log ---

    async def run(self, mailbox: Mailbox, reopen: Reopen, notices: list[bytes]) -> None:
        """Send what comes until it is closed, or its connection ends."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    await self._send.send(notices)
                    nursery.start_soon(self._run_log)
                    await self._run_mailbox(mailbox, reopen)
                    nursery.cancel_scope.cancel()
        finally:
            self._send.close()

    async def _run_log(self) -> None:
        while True:
            try:
                messages = await self._of_log()
            except TailMoved:
                messages = [self._missed()]
            except LogCorrupt as error:
                logger.error("a tail ends at a damaged place of the log: %s", error)
                self._ended = (INTERNAL, "the event log is damaged; see the server's log")
                self.scope.cancel()
                return
            if messages:
                await self._pace.take(len(messages))
                await self._send.send(messages)

    async def _of_log(self) -> list[bytes]:
        feed = self._feed
        if self._position >= max(feed.kept_from, self._from):
            entries, self._position = feed.after(self._position, self._wanted)
            if not entries:
                if (quiet := self._quiet()) is None:
                    await feed.moved_beyond(self._position)
                    return []
                return [quiet]
            return [self._event(entry) for entry in entries]
        entries, end = await feed.read_back(self._position, self._wanted)
        if end == self._position:
            await trio.sleep(NOT_DURABLE_YET_S)
        messages = [self._event(entry) for entry in entries]
        self._position = end
        if (lag := self._lag(entries)) is not None:
            messages.append(lag)
        return messages

    def _event(self, entry: FedEvent) -> bytes:
        self._told, self._told_s = entry.end, trio.current_time()
        return encode_event_at(encode_event(self._log.shown(entry.event)), LogPlace(self._log.id, entry.end))

    def _missed(self) -> bytes:
        self._pace.lagged += 1
        before, self._position = self._position, self._log.begin
        return self._notice(
            "missed",
            f"the event log holds positions {before} to {self._position} no more: what was published there is in the"
            " channels' history, and is not sent",
        )

    def _lag(self, entries: Sequence[FedEvent]) -> bytes | None:
        behind, now = self._log.end - self._position, trio.current_time()
        if behind < LAG_BYTES or now - self._lag_said_s < LAG_SAID_S:
            return None
        self._lag_said_s = now
        self._pace.lagged += 1
        at = f", at events of {format_ts(entries[-1].event.ts_us)}" if entries else ""
        return self._notice("lagging", f"{behind} bytes of the event log behind{at}; it goes on from there")

    def _quiet(self) -> bytes | None:
        now = trio.current_time()
        if self._position - self._told < QUIET_BYTES or now - self._told_s < QUIET_SAID_S:
            return None
        return self._notice("position", "nothing that matches came up to here")

    def _notice(self, code: str, message: str) -> bytes:
        self._told, self._told_s = self._position, trio.current_time()
        return encode_notice_at(code, message, self.place)

    # --- from the plane ---

    async def _run_mailbox(self, mailbox: Mailbox, reopen: Reopen) -> None:
        while True:
            frames = await mailbox.take()
            if frames:
                await self._pace.take(len(frames))
            if messages := self.members.messages(frames, self.place):
                await self._send.send(messages)
            if frames or (ended := mailbox.ended) is None:
                continue
            if ended.code != SLOW_CONSUMER:
                self._ended = (ended.code, ended.reason)
                return
            try:
                mailbox = await reopen()
            except Refusal as refusal:
                self._ended = (GOING_AWAY, refusal.message)
                return
            self._pace.lagged += 1
            words = "too slow: events of memory kinds are missing here, and can't be had again"
            await self._send.send([self._notice("lagging", words)])


class PatternTails:
    """Run by the gateway; its dispatch hands in what concerns members."""

    def __init__(
        self,
        port: PlanePort,
        directory: Directory,
        admission: Admission,
        topics: Topics,
        virtual: VirtualConnections,
        log: EventLog,
    ) -> None:
        self._port = port
        self._directory = directory
        self._admission = admission
        self._topics = topics
        self._virtual = virtual
        self._log = log
        self._feed = TailFeed(log)
        self._pace = Pace()
        self._by_app: dict[str, list[PatternTail]] = {}
        self._count = 0
        self._nursery: trio.Nursery | None = None
        topics.on_begun = self._on_begun

    def __len__(self) -> int:
        return self._count

    @property
    def lagged(self) -> int:
        """For metrics: since the start."""
        return self._pace.lagged

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._feed.run)
                task_status.started()
                while True:
                    await trio.sleep(LET_GO_S)
                    for tails in list(self._by_app.values()):
                        for tail in tails:
                            tail.members.let_go_idle()
        finally:
            self._nursery = None

    @asynccontextmanager
    async def open(
        self, caller: Caller, pattern: str, since: str | None, request: ConnectRequest
    ) -> AsyncIterator[PatternTail]:
        """Raises what the caller is refused for, before anything was sent."""
        entry = await self._directory.entry(caller.app.app_id)
        wanted = _wanted(entry, pattern)
        place = None if since is None else parse_log_place(since)
        if since is not None and place is None:
            raise Invalid("since is a cursor as an earlier message of a tail of a pattern gave it", field="since")
        if self._nursery is None or self._count >= TAILS_MAX:
            raise Unavailable("too many tails are open")
        connection = await self._admission.stream(request, wanted.app_id, caller.credential, self._virtual.new_conn)
        mailbox = self._virtual.open(connection.conn, wanted.app_id, None, "tail")
        conns = [connection.conn]

        async def reopen() -> Mailbox:
            another = await self._admission.stream(request, wanted.app_id, caller.credential, self._virtual.new_conn)
            conns[0] = another.conn
            mailbox = self._virtual.open(another.conn, wanted.app_id, None, "tail")
            tail.members.begin(another.conn)
            return mailbox

        members = TailMembers(self._port, self._topics, wanted, self._virtual.new_sub)
        tail = PatternTail(self._feed, self._log, wanted, members, self._pace)
        self._by_app.setdefault(wanted.app_id, []).append(tail)
        self._count += 1
        try:
            members.begin(connection.conn)
            notices = [tail.begins()] if place is None else _resumed(tail, place, entry, wanted)
            self._nursery.start_soon(self._run, tail, mailbox, reopen, notices)
            yield tail
        finally:
            tail.close()
            self._forget(tail, wanted.app_id)
            self._port.send(Disconnect(conns[0], NORMAL, ""))

    # --- records ---

    def on_published(self, record: Published, topic: Topic) -> None:
        if self._count and not record.position:
            for tail in self._by_app.get(topic.app_id, ()):
                tail.members.on_published(record, topic)

    def on_joined(self, record: Joined) -> bool:
        """Whether it was a member of a tail's, and nobody else's concern."""
        return record.sub >= VIRTUAL_CONN_FIRST and any(
            tail.members.on_joined(record) for tails in self._by_app.values() for tail in tails
        )

    def on_left(self, record: Left) -> bool:
        """As `on_joined`."""
        return record.sub >= VIRTUAL_CONN_FIRST and any(
            tail.members.on_left(record) for tails in self._by_app.values() for tail in tails
        )

    def on_closed(self, topic: Topic) -> None:
        for tail in self._by_app.get(topic.app_id, ()):
            tail.members.on_closed(topic)

    def _on_begun(self, topic: Topic) -> None:
        for tail in self._by_app.get(topic.app_id, ()):
            tail.members.on_begun(topic)

    # --- within ---

    async def _run(self, tail: PatternTail, mailbox: Mailbox, reopen: Reopen, notices: list[bytes]) -> None:
        """A fault of ours ends this tail alone."""
        try:
            await tail.run(mailbox, reopen, notices)
        except Exception:
            logger.exception("a tail failed")

    def _forget(self, tail: PatternTail, app_id: str) -> None:
        tails = self._by_app[app_id]
        tails.remove(tail)
        if not tails:
            del self._by_app[app_id]
        self._count -= 1


def _wanted(entry: Entry, pattern: str) -> Wanted:
    """Raises `Invalid`, `UnknownChannelKind`."""
    app_id = entry.app.app_id
    if pattern == WHOLE_APP:
        return Wanted(app_id, "", True)
    check_pattern(pattern, "channel")
    if entry.policy(kind_of(pattern)) is None:
        raise unknown_kind(pattern)
    return Wanted(app_id, pattern.removesuffix("*"), pattern.endswith("*"))


def _resumed(tail: PatternTail, place: LogPlace, entry: Entry, wanted: Wanted) -> list[bytes]:
    """Let it begin there; what its reader is to know of that."""
    notices = []
    if (refused := tail.resume(place)) is not None:
        notices.append(refused)
    policy = entry.policy(kind_of(wanted.name))
    if policy is None or policy.durability == "memory":
        words = "events of memory kinds can't be had again: of those there are only new ones from here on"
        notices.append(encode_notice_at("memory_not_resumed", words, tail.place))
    return notices
