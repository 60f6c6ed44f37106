"""One writer, many callers: what came while the last commit ran shares the next.

Used by `events`. A commit with `synchronous = FULL` costs an fsync, so a thousand callers a second need a few
of them, not a thousand. A job that fails takes back its own statements and leaves its neighbours'.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import trio

from polyglotd.model import Unavailable
from polyglotd.store.sqlite.files import connect, translate

T = TypeVar("T")

CACHE_KIB = 2_000  # of pages, SQLite's own choice
WAITING_MAX = 1_000  # jobs; callers beyond it are told to come back


class _Job:
    def __init__(self, run: Callable[[sqlite3.Connection], Any]) -> None:
        self.run = run
        self.done = trio.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class GroupCommit:
    def __init__(self, path: Path, *, on_rollback: Callable[[], None], cache_kib: int = CACHE_KIB) -> None:
        """`on_rollback`: something that a job did was taken back (called in the writer's thread). `cache_kib`: what a
        transaction changes beyond that is written twice."""
        self._path = path
        self._cache_kib = cache_kib
        self._on_rollback = on_rollback
        self._waiting: list[_Job] = []
        self._arrived = trio.Event()
        self._thread = trio.CapacityLimiter(1)
        self._connection: sqlite3.Connection | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; a commit that has begun is finished first."""
        task_status.started()
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            jobs, self._waiting = self._waiting, []
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._commit, jobs, limiter=self._thread)
            for job in jobs:
                job.done.set()

    async def do(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Run the job in a transaction in the writer's thread; its result once that is durable.

        Raises what the job raised, and `Unavailable` or `StoreCorrupt` for SQLite's errors. Cancelled: it is done or
        it is not.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("the store has too many writes waiting")
        job = _Job(run)
        self._waiting.append(job)
        self._arrived.set()
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- in the thread ---

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._path)
                self._connection.execute(f"PRAGMA cache_size = -{self._cache_kib}")
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            if len(jobs) == 1:
                self._run_alone(connection, jobs[0])
                return
            for job in jobs:
                self._run_one(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            fault = translate(self._path, error)
            for job in jobs:
                job.error = job.error or fault
            self._on_rollback()
            # A file that came back (mounted, replaced, made writable) needs a new connection.
            self.close()

    def _run_alone(self, connection: sqlite3.Connection, job: _Job) -> None:
        """Nobody's work is beside it, so the transaction is its own, and needs no savepoint: with one SQLite keeps a
        copy of each page that it changes."""
        try:
            job.result = job.run(connection)
        except Exception as error:
            if isinstance(error, sqlite3.Error):
                raise  # as where a commit fails
            job.error = error
            self._on_rollback()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        connection.execute("COMMIT")

    def _run_one(self, connection: sqlite3.Connection, job: _Job) -> None:
        """Raises sqlite3.Error where SQLite has ended the whole transaction."""
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.run(connection)
            connection.execute("RELEASE job")
        except Exception as error:  # it is the caller's, who waits for it
            job.error = translate(self._path, error) if isinstance(error, sqlite3.Error) else error
            self._on_rollback()
            if not connection.in_transaction:
                if isinstance(error, sqlite3.Error):
                    raise
                raise sqlite3.OperationalError("the transaction ended within a job") from error
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
