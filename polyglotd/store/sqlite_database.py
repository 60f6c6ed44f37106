"""One SQLite file: opening, migrating, one writer, a few readers. Used by `sqlite_events` and `sqlite_registry`.

Every statement runs in a worker thread. Writes share one connection and one thread at a time, in `BEGIN IMMEDIATE`
transactions with `synchronous = FULL` in WAL mode: what a call has returned from survives a power loss. Readers have
connections of their own and see the last commit. A commit is not cancelled half-way: it is shielded, and short.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

import trio

from polyglotd.model import Unavailable
from polyglotd.store.interface import SchemaTooNew, StoreCorrupt, StoreFault

T = TypeVar("T")

logger = logging.getLogger(__name__)

READERS = 4
BUSY_S = 10.0  # how long a write waits for another process's
CLOSE_S = 5.0


class Database:
    """An open file. `write` and `read` take a function that is given the connection."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self.path = path
        self._writer = writer
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._one = trio.CapacityLimiter(1)
        self._several = trio.CapacityLimiter(READERS)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction: committed when it returns, rolled back when it raises.

        Raises `Unavailable` where the file can't be written now. Cancelled: only before it began."""
        await self._one.acquire()
        try:
            with trio.CancelScope(shield=True):
                result = await trio.to_thread.run_sync(self._transaction, work)
        finally:
            self._one.release()
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the last commit. Raises `Unavailable` where the file can't be read now."""
        return await trio.to_thread.run_sync(self._reading, work, limiter=self._several)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
                    self._writer.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise _unavailable(self.path, error) from error
        return result

    def _reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            try:
                connection = self._readers.get_nowait()
            except Empty:
                connection = connect(self.path)
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._readers.put(connection)
        except sqlite3.Error as error:
            raise _unavailable(self.path, error) from error

    def close(self) -> None:
        """Blocking. No call may be under way."""
        with suppress(Empty):
            while True:
                self._readers.get_nowait().close()
        with suppress(sqlite3.Error):
            self._writer.execute("PRAGMA optimize")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()

    def file_sizes(self) -> tuple[int, int]:
        """Bytes of the file and of its write-ahead log."""
        wal = Path(f"{self.path}-wal")
        return self.path.stat().st_size, wal.stat().st_size if wal.exists() else 0


@asynccontextmanager
async def open_database(path: Path, migrations: Sequence[str]) -> AsyncIterator[Database]:
    """Open the file, creating and migrating it where need be. Raises `StoreFault` where it can't be used."""
    connection = await trio.to_thread.run_sync(_open, path, migrations)
    database = Database(path, connection)
    try:
        yield database
    finally:
        with trio.move_on_after(CLOSE_S, shield=True):
            await trio.to_thread.run_sync(database.close)


def migrate(path: Path, migrations: Sequence[str]) -> int:
    """Bring the file to the newest schema; how many migrations ran. Blocking. Raises `StoreFault`."""
    with closing(_connect_or_fault(path)) as connection:
        return _migrate(path, connection, migrations)


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings that all of ours have."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _open(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    connection = _connect_or_fault(path)
    try:
        _migrate(path, connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_or_fault(path: Path) -> sqlite3.Connection:
    try:
        connection = connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise _fault(path, error) from error
    return connection


def _migrate(path: Path, connection: sqlite3.Connection, migrations: Sequence[str]) -> int:
    """Under the write lock, so that two processes that start at once do not collide."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise SchemaTooNew(
                    f"{path} has schema {version}, and this release knows {len(migrations)}:"
                    " start the release that wrote it, or a newer one."
                )
            for number, script in enumerate(migrations[version:], start=version + 1):
                for statement in script.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise _fault(path, error) from error
    return len(migrations) - int(version)


def _fault(path: Path, error: sqlite3.Error) -> StoreFault:
    if _damaged(error):
        return StoreCorrupt(
            f"{path} is damaged, or no database of ours ({error}): restore it from a backup, or move it away to begin"
            " with an empty one."
        )
    return StoreFault(f"{path} can't be opened ({error}): see that the directory exists and may be written.")


def _unavailable(path: Path, error: sqlite3.Error) -> Unavailable:
    # The path stays out of the message: it may reach a client.
    del path
    return Unavailable(
        "the database can't be used now" if _damaged(error) else f"the database is busy or full: {error}"
    )


def _damaged(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
