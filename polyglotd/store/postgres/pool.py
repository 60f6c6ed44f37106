"""Connections to PostgreSQL: a bounded number, each used by one worker thread at a time, each use with a deadline.

Opened by the stores of this room with `open_pool`. psycopg's own pool is not used: it answers a server that hangs
with a thread that hangs. Here a deadline ends the connection itself, whatever it waits for, and the next use makes a
new one.
"""

import heapq
import logging
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from os import dup
from typing import Any, TypeVar

import psycopg
import trio
from psycopg import adapters
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, TransactionStatus

from polyglotd.model import Unavailable
from polyglotd.store.interface import StoreFault
from polyglotd.store.postgres.arrays import BigintArray, BigintArrayDumper
from polyglotd.store.postgres.faults import away, translate

logger = logging.getLogger(__name__)

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_S = 5  # libpq counts whole seconds
READ_DEADLINE_S = 5.0  # nobody waits longer for a page of history
WRITE_DEADLINE_S = 10.0  # a batch into a busy server, which takes some hundredths of a second
TURN_DEADLINE_S = 5.0  # for a free connection
DOWN_S = 0.5  # a server that refused is not asked again so soon: callers are told at once
WATCH_EVERY_S = 0.25
LOCK_TIMEOUT_MS = 5_000  # for a table that somebody has locked
YEAR_2000_US = 946_684_800_000_000

_SETTINGS = {
    "application_name": "polyglotd",
    "timezone": "UTC",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    # A plan for any channel is one for a channel of the usual size: it sorts all of it, also where that is large.
    "plan_cache_mode": "force_custom_plan",
    # For who dies within a transaction without the kernel to say so (a host that lost power).
    "idle_in_transaction_session_timeout": "60000",
}


class Micros(int):
    """A moment as `timestamptz`: microseconds since 1970."""


class _MicrosDumper(Dumper):
    format = Format.BINARY
    oid = adapters.types["timestamptz"].oid

    def dump(self, obj: Micros) -> Buffer:
        return (obj - YEAR_2000_US).to_bytes(8, "big", signed=True)


class _MicrosLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data, "big", signed=True) + YEAR_2000_US


class _Use:
    """One use of a connection by a thread."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.over = False  # the deadline passed
        self.done = False
        self._lock = threading.Lock()
        self._wire: socket.socket | None = None

    def __lt__(self, other: "_Use") -> bool:
        return self.deadline < other.deadline

    def begin(self, wire: socket.socket) -> None:
        with self._lock:
            self._wire = wire
            if self.over:
                _shut(wire)

    def end(self) -> None:
        with self._lock:
            self._wire = None
            self.done = True

    def break_off(self) -> None:
        """Called in trio's thread: whatever the other one waits for ends with an error."""
        with self._lock:
            if self.done:
                return
            self.over = True
            if self._wire is not None:
                _shut(self._wire)


class _Idle:
    """A connection that nobody uses, and a handle of ours on its socket: libpq may close its own at any time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wire = socket.socket(fileno=dup(connection.fileno()))

    def alive(self) -> bool:
        """A server that ended it has said so: there is something to read, if only the end."""
        poll = select.poll()
        poll.register(self.wire, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not self.connection.closed and not poll.poll(0)

    def close(self) -> None:
        self.wire.close()
        with suppress(psycopg.Error):
            self.connection.close()


class Pool:
    """`url`: libpq's. `prepared`: statements used often are prepared on the server."""

    def __init__(
        self,
        url: str,
        *,
        connections_max: int,
        prepared: bool = True,
        read_deadline_s: float = READ_DEADLINE_S,
        write_deadline_s: float = WRITE_DEADLINE_S,
    ) -> None:
        self.where = where(url)
        self._read_deadline_s = read_deadline_s
        self._write_deadline_s = write_deadline_s
        self._url = url
        self._prepare_threshold = 3 if prepared else None
        self._turns = trio.Semaphore(connections_max, max_value=connections_max)
        self._threads = trio.CapacityLimiter(connections_max)
        self._idle: list[_Idle] = []  # the last one used is the next one used
        self._uses: list[_Use] = []  # a heap
        self._down_until = 0.0
        self._down_why: Exception | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Break off uses that are over their deadline, until cancelled. `open_pool` runs it."""
        task_status.started()
        while True:
            await trio.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            while self._uses and (self._uses[0].done or self._uses[0].deadline < now):
                heapq.heappop(self._uses).break_off()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """The query's result, run in a thread, outside of a transaction.

        Raises `Unavailable` where the server is away or does not answer in time, `StoreFault` where an operator must
        mend something. Cancelled: it ends first, within the deadline.
        """
        return await self.do(query, deadline_s=self._read_deadline_s)

    async def write(self, job: Callable[[Connection], T]) -> T:
        """The job's result, run in a thread and one transaction, once that is durable.

        Raises what the job raised, and as `read`. Cancelled: it is done or it is not.
        """

        def in_transaction(connection: Connection) -> T:
            with connection.transaction():
                return job(connection)

        return await self.do(in_transaction)

    async def do(self, job: Callable[[Connection], T], *, deadline_s: float | None = None) -> T:
        """The job's result, which looks after its transactions itself. Else as `write`."""
        deadline_s = self._write_deadline_s if deadline_s is None else deadline_s
        try:
            with trio.fail_after(max(deadline_s, TURN_DEADLINE_S)):
                await self._turns.acquire()
        except trio.TooSlowError:
            raise away(self.where, "all of its connections are busy") from None
        use = _Use(time.monotonic() + deadline_s)
        heapq.heappush(self._uses, use)
        try:
            return await trio.to_thread.run_sync(self._do, job, use, limiter=self._threads)
        except (Unavailable, StoreFault):
            raise
        except psycopg.Error as error:
            if use.over:
                raise away(self.where, f"it did not answer within {deadline_s:g} s") from error
            raise translate(self.where, error) from error
        finally:
            self._turns.release()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # --- in a thread ---

    def _do(self, job: Callable[[Connection], T], use: _Use) -> T:
        idle = self._take()
        try:
            use.begin(idle.wire)
            return job(idle.connection)
        finally:
            use.end()
            connection = idle.connection
            if use.over or connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
                idle.close()
            else:
                self._idle.append(idle)

    def _take(self) -> _Idle:
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if idle.alive():
                return idle
            idle.close()
        return _Idle(self._connect())

    def _connect(self) -> Connection:
        if (why := self._down_why) is not None and time.monotonic() < self._down_until:
            raise away(self.where, _words(why))
        try:
            connection = connect(self._url)
        except psycopg.Error as error:
            self._down_until = time.monotonic() + DOWN_S
            self._down_why = error
            raise
        self._down_why = None
        connection.prepare_threshold = self._prepare_threshold
        return connection


def where(url: str) -> str:
    """Host and database, for people: no user, no password."""
    parts = conninfo_to_dict(url)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = parts.get("port")
    return f"{host}{f':{port}' if port else ''}/{parts.get('dbname') or parts.get('user') or ''}"


def connect(url: str) -> Connection:
    """A connection in autocommit mode, with timeouts and the types of ours. Blocking; raises psycopg.Error."""
    given = conninfo_to_dict(url)
    defaults = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    info = make_conninfo(**(defaults | given))  # type: ignore[arg-type]  # numbers are taken
    connection = psycopg.connect(info, autocommit=True)
    try:
        connection.adapters.register_dumper(Micros, _MicrosDumper)
        connection.adapters.register_dumper(BigintArray, BigintArrayDumper)
        connection.adapters.register_loader("timestamptz", _MicrosLoader)
        connection.execute(
            "SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(_SETTINGS)),
            [text for setting in _SETTINGS.items() for text in setting],
        )
    except BaseException:
        connection.close()
        raise
    return connection


def one_row(
    connection: Connection, query: str, values: Sequence[object] | Mapping[str, object] = ()
) -> tuple[int, ...]:
    """Of a query that always gives one."""
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


def table_exists(connection: Connection, name: str) -> bool:
    """Whether schema polyglot has it. Looks at the catalog itself: `to_regclass` may remember what was so before the
    transaction, or the wait for a lock, began."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'polyglot' AND c.relname = %s)",
        (name,),
    ).fetchone()
    return row is not None and bool(row[0])


def _words(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _shut(wire: socket.socket) -> None:
    with suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def open_pool(
    url: str,
    *,
    connections_max: int,
    prepared: bool = True,
    read_deadline_s: float = READ_DEADLINE_S,
    write_deadline_s: float = WRITE_DEADLINE_S,
) -> AsyncIterator[Pool]:
    """Connects when it is first used."""
    pool = Pool(
        url,
        connections_max=connections_max,
        prepared=prepared,
        read_deadline_s=read_deadline_s,
        write_deadline_s=write_deadline_s,
    )
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            try:
                yield pool
            except Exception as error:
                failure = error  # it rises as itself, not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        pool.close()
