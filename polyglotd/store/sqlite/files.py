"""SQLite files of ours: how they are opened, brought to this release's schema, and what their errors mean.

Used by `events` and `registry`. Blocking. Knows no table.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from polyglotd.model import Unavailable
from polyglotd.store.interface import SchemaTooNew, StoreCorrupt, StoreFault

BUSY_TIMEOUT_S = 5.0  # how long a statement waits for another process's transaction
MIGRATION_DEADLINE_S = 60.0  # how long an opening waits for another process that migrates
JOURNAL_BYTES_MAX = 64 << 20  # what a write-ahead log keeps on disk when it was once larger
TRUNCATE_TIMEOUT_MS = 200  # who writes meanwhile waits as long
RETRY_AFTER_MS = 1_000

_AWAY = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class Schema:
    """A kind of database. Its migrations are `migrations/NAME/NNNN_*.sql`, numbered from 1 without a gap."""

    name: str
    application_id: int  # in the file's head, so that one is not taken for the other


EVENTS = Schema("events", 0x506C6745)  # "PlgE"
REGISTRY = Schema("registry", 0x506C6752)  # "PlgR"
WEBHOOKS = Schema("webhooks", 0x506C6757)  # "PlgW"
ROLLUPS = Schema("rollups", 0x506C6741)  # "PlgA"


def connect(path: Path) -> sqlite3.Connection:
    """A connection for one thread at a time: WAL, durable at each commit, transactions only where we begin them."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # What takes back a single statement, of many rows, needs no file: nothing of it outlives the statement.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted or erased is overwritten
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    except BaseException:
        connection.close()
        raise
    return connection


def truncate_wal(path: Path) -> bool:
    """Empty the write-ahead log, which holds pages as they were; false where somebody reads an older state just now.
    Raises `Unavailable`, `StoreCorrupt`."""
    with sqlite_errors(path), closing(connect(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {TRUNCATE_TIMEOUT_MS}")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def file_bytes(path: Path) -> int:
    """0 where it is not there."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def translate(path: Path, error: sqlite3.Error) -> Exception:
    """What a caller of the store can answer; the error itself where it is a fault of ours."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return error
    primary = code & 0xFF
    if primary in _AWAY:
        return Unavailable(f"{path.name} can't be used now: {error}", retry_after_ms=RETRY_AFTER_MS)
    if primary in _DAMAGED:
        return StoreCorrupt(
            f"{path} is damaged or no database of ours: {error}. Put a backup in its place, or move it (with its "
            "-wal and -shm) away to begin anew"
        )
    return error


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raises `Unavailable` or `StoreCorrupt` in place of SQLite's errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(path, error) from error


# --- migrations ---


def migrations(schema: Schema) -> list[str]:
    """The SQL of each migration, in order."""
    directory = resources.files("polyglotd.store.sqlite") / "migrations" / schema.name
    files = sorted((entry for entry in directory.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    for number, entry in enumerate(files, 1):
        if int(entry.name.partition("_")[0]) != number:
            raise AssertionError(f"migrations of {schema.name} have a gap before {entry.name}")
    return [entry.read_text(encoding="utf-8") for entry in files]


def migrate(path: Path, schema: Schema) -> tuple[int, int]:
    """Bring the file (made where it is not there) to this release's schema; its version before and after.

    One process at a time; each migration is one transaction. Raises `SchemaTooNew`, `StoreCorrupt`, or another
    `StoreFault` where the file can't be opened or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path), sqlite_errors(path), closing(connect(path)) as connection:
            return _migrate(connection, path, schema)
    except Unavailable as error:
        raise StoreFault(f"{path} can't be opened: {error}. Is its directory there, and writable?") from error
    except OSError as error:
        raise StoreFault(f"{path} can't be opened: {error}") from error


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> tuple[int, int]:
    known = migrations(schema)
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (before,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != schema.application_id and (application_id or tables):
        raise StoreCorrupt(
            f"{path} is no {schema.name} database of Polyglot: name another file, or move this one away"
        )
    if before > len(known):
        raise SchemaTooNew(
            f"{path} has schema {before}, this release knows up to {len(known)}: a newer release wrote it. "
            "Install that release, or put a backup from before in its place"
        )
    for number in range(before + 1, len(known) + 1):
        connection.execute("BEGIN EXCLUSIVE")
        try:
            for statement in _statements(known[number - 1]):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return before, len(known)


def _statements(sql: str) -> Iterator[str]:
    """One by one: `executescript` would commit before it begins."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise AssertionError(f"a migration ends within a statement: {statement!r}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the database's directory for ourselves: switching to WAL is outside of SQLite's own transactions."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + MIGRATION_DEADLINE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreFault(
                        f"another process has been migrating databases in {path.parent} for long"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
