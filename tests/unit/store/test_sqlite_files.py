"""SQLite files of ours: migrations, foreign and damaged files, full disks, two processes."""

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trio
from contracts.log_events import event, events

from polyglotd.model import NotFound, Unavailable
from polyglotd.store.interface import HistoryQuery, SchemaTooNew, StoreCorrupt, StoreFault
from polyglotd.store.sqlite import files, group_commit, read_pool, registry
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.files import EVENTS, REGISTRY, connect, migrate, migrations
from polyglotd.store.sqlite.registry import open_sqlite_registry

HISTORY = HistoryQuery(app_id="app", channel="room:lobby", epoch="epoch00001")


@pytest.mark.parametrize("schema", [EVENTS, REGISTRY], ids=lambda schema: schema.name)
def test_a_new_file_gets_every_migration_and_a_current_one_none(tmp_path: Path, schema: files.Schema) -> None:
    path = tmp_path / "deep" / "file.db"
    count = len(migrations(schema))
    assert migrate(path, schema) == (0, count)
    assert migrate(path, schema) == (count, count)
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_later_migrations_are_applied_to_what_earlier_ones_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(tmp_path / "file.db", EVENTS)
    with closing(connect(tmp_path / "file.db")) as connection:
        connection.execute("INSERT INTO cursors VALUES ('log_1', 7)")
    real = migrations(EVENTS)
    later = [*real, "ALTER TABLE cursors ADD COLUMN note TEXT;\nUPDATE cursors SET note = 'a;b';"]
    monkeypatch.setattr(files, "migrations", lambda _: later)
    assert migrate(tmp_path / "file.db", EVENTS) == (len(real), len(real) + 1)
    with closing(connect(tmp_path / "file.db")) as connection:
        assert connection.execute("SELECT * FROM cursors").fetchall() == [("log_1", 7, "a;b")]


def test_a_migration_that_fails_leaves_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(tmp_path / "file.db", EVENTS)
    real = migrations(EVENTS)
    broken = [*real, "CREATE TABLE extra (x);\nINSERT INTO nowhere VALUES (1);"]
    monkeypatch.setattr(files, "migrations", lambda _: broken)
    with pytest.raises(sqlite3.OperationalError):
        migrate(tmp_path / "file.db", EVENTS)
    monkeypatch.undo()
    assert migrate(tmp_path / "file.db", EVENTS) == (len(real), len(real))
    with closing(connect(tmp_path / "file.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)


def test_a_newer_releases_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    migrate(path, REGISTRY)
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew, match=r"has schema 99.*newer release"):
        migrate(path, REGISTRY)


def test_processes_that_migrate_at_once_do_not_collide(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from polyglotd.store.sqlite.files import *; "
        "print(migrate(Path(sys.argv[1]), EVENTS))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / "file.db"], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = sorted(process.communicate(timeout=30)[0].decode().strip() for process in processes)
    count = len(migrations(EVENTS))
    assert answers == [f"(0, {count})"] + [f"({count}, {count})"] * 3


@pytest.mark.parametrize(
    "content",
    [
        b"this is no database at all, but a text that is longer than a hundred bytes " * 3,
        b"SQLite format 3\x00" + b"\xff" * 4080,
    ],
    ids=["a text", "a head and rubbish"],
)
async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"events\.db.*backup"):
        async with open_sqlite_events(path):
            pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("foreign", ["another program's", "the registry"])
async def test_a_database_that_is_not_this_one_is_refused(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "events.db"
    if foreign == "the registry":
        migrate(path, REGISTRY)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreCorrupt, match="no events database"):
        async with open_sqlite_events(path):
            pass


async def test_a_database_that_is_damaged_inside_says_so_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with open_sqlite_events(path) as store:
        await store.append("log_1", events(1, 2_000), 100)
    with path.open("r+b") as file:  # all pages but the first ones
        file.seek(20 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 20 * 4096))
    async with open_sqlite_events(path) as store:
        with pytest.raises(StoreCorrupt, match="damaged"):
            await store.history(HISTORY)


async def test_a_path_that_cant_be_opened_is_a_fault_for_the_operator(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    with pytest.raises(StoreFault, match=r"events\.db can't be opened"):
        async with open_sqlite_events(tmp_path / "events.db"):
            pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFault, match="can't be opened"):
        async with open_sqlite_events(tmp_path / "file" / "events.db"):
            pass


class SmallDisk:
    """Databases can't grow beyond so many pages: SQLite answers as on a full disk. 0: not small yet."""

    def __init__(self) -> None:
        self._pages = 0
        self._connections: list[sqlite3.Connection] = []

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = files.connect(path)
        self._connections.append(connection)
        self._limit(connection)
        return connection

    def resize(self, pages: int) -> None:
        """Also for connections that are open, as long as nobody uses them."""
        self._pages = pages
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):  # closed
                self._limit(connection)

    def _limit(self, connection: sqlite3.Connection) -> None:
        if self._pages:
            connection.execute(f"PRAGMA max_page_count = {self._pages}")


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    disk = SmallDisk()
    monkeypatch.setattr(group_commit, "connect", disk.connect)
    monkeypatch.setattr(registry, "connect", disk.connect)
    return disk


async def test_a_full_disk_makes_the_store_unavailable_until_there_is_room(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    small_disk.resize(40)
    async with open_sqlite_events(tmp_path / "events.db") as store:
        await store.append("log_1", [event(1)], 100)
        for _ in range(2):
            with pytest.raises(Unavailable) as refusal:
                await store.append("log_1", events(2, 3_000), 200)
        assert refusal.value.retry_after_ms > 0
        assert await store.cursor("log_1") == 100
        assert [e.seq for e in (await store.history(HISTORY)).events] == [1]
        small_disk.resize(10_000)
        await store.append("log_1", events(2, 3_000), 200)
        assert [e.seq for e in (await store.history(HISTORY)).events] == list(range(2_901, 3_001))


async def test_a_full_disk_makes_the_registry_unavailable_until_there_is_room(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    small_disk.resize(14)
    async with open_sqlite_registry(tmp_path / "registry.db") as registry:
        with pytest.raises(Unavailable):
            await registry.add_admin_token(b"x" * 100_000, "t", 1)
        assert await registry.admin_tokens() == {}
        small_disk.resize(10_000)
        await registry.add_admin_token(b"x" * 100_000, "t", 1)
        assert len(await registry.admin_tokens()) == 1


async def test_another_processes_long_transaction_makes_writers_wait_and_then_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "events.db"
    async with open_sqlite_events(path) as store:
        with closing(connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await store.append("log_1", [event(1)], 100)
            assert await store.cursor("log_1") == 0  # readers are not held up
            other.execute("ROLLBACK")
        await store.append("log_1", [event(1)], 100)


async def test_a_read_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_sqlite_events(tmp_path / "events.db") as store:
        await store.append("log_1", events(1, 5_000), 100)
        monkeypatch.setattr(read_pool, "READ_DEADLINE_S", -1)
        with pytest.raises(Unavailable):
            await store.history(HistoryQuery(app_id="app", channel="room:lobby", epoch="epoch00001", type="never"))
        monkeypatch.undo()
        assert len((await store.history(HISTORY)).events) == 100


async def test_a_refused_change_of_the_registry_leaves_it_writable(tmp_path: Path) -> None:
    async with open_sqlite_registry(tmp_path / "registry.db") as registry:
        with pytest.raises(NotFound):
            await registry.delete_app("none", 1)
        await registry.add_admin_token(b"x", "t", 1)


async def test_reads_at_once_are_many_and_bounded(tmp_path: Path) -> None:
    async with open_sqlite_events(tmp_path / "events.db") as store:
        await store.append("log_1", events(1, 50), 100)
        pages = []

        async def read() -> None:
            pages.append(await store.history(HISTORY))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read)
        assert len(pages) == 50
        assert all(len(page.events) == 50 for page in pages)
