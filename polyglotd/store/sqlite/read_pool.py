"""Connections for reading: a bounded number, each used by one thread at a time, each read with a deadline.

Used by `events` and `registry`. Reads see what was committed when they began, and hold no writer up.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from polyglotd.store.sqlite.files import connect, sqlite_errors

T = TypeVar("T")

READ_DEADLINE_S = 5.0  # a longer read keeps the write-ahead log from shrinking, and nobody waits for it
_STEPS = 20_000  # of SQLite's virtual machine between two looks at the clock: about a ms


class ReadPool:
    def __init__(self, path: Path, *, connections_max: int) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(connections_max)
        self._idle: list[sqlite3.Connection] = []

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The query's result. Raises `Unavailable` (also after 5 s) and `StoreCorrupt`. Cancelled: it ends first."""
        return await trio.to_thread.run_sync(self._read, query, limiter=self._limiter)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with sqlite_errors(self._path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                deadline = time.monotonic() + READ_DEADLINE_S
                connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
                result = query(connection)
            except BaseException:
                connection.close()
                raise
        self._idle.append(connection)
        return result

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path)
        connection.execute("PRAGMA query_only = ON")
        return connection
