"""A PostgreSQL for benchmarks: the tests' package, with settings of a server that keeps what it says."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from own_postgres import own_postgres

DURABLE = (
    "listen_addresses=", "fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=512MB",
    "max_wal_size=4GB", "checkpoint_timeout=15min", "autovacuum=on", "log_min_messages=fatal",
)  # fmt: skip


@contextmanager
def durable_postgres() -> Iterator[tuple[str, list[int]]]:
    """Its URL, and its process."""
    with own_postgres(DURABLE) as server:
        yield server.url, [server.pid]
