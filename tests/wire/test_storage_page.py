"""The SQL of docs/storage.md, run on what a real daemon has stored, in SQLite and in PostgreSQL."""

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
from daemon_process import DaemonProcess, daemon_process
from postgres_database import new_database, program
from test_moving_stores import ENV, KEY, is_stored

PAGE = Path(__file__).parents[2] / "docs/storage.md"
_BLOCK = re.compile(r"^```sql\n-- (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: list[tuple[str, str]] = _BLOCK.findall(PAGE.read_text())
ON_SQLITE = [block for block in BLOCKS if block[0] != "psql"]
ON_POSTGRES = [sql for where, sql in BLOCKS if where == "psql"]


def fill(daemon: DaemonProcess) -> None:
    items = [{"channel": "room:lobby", "type": "message", "data": {"text": f"Hello {n}"}} for n in range(5)]
    answer = httpx.post(
        f"{daemon.url}/apps/chat-app/publish", headers=KEY | {"X-User-Id": "ann"}, json={"events": items}
    )
    assert answer.status_code == 200, answer.text
    is_stored(daemon)


def test_the_page_has_examples_for_both() -> None:
    assert len(ON_SQLITE) >= 4
    assert len(ON_POSTGRES) >= 5
    assert PAGE.read_text().count("```sql") == len(BLOCKS)


def test_each_query_for_sqlite_finds_what_was_published() -> None:
    with daemon_process(env=ENV) as daemon:
        fill(daemon)
        for file, query in ON_SQLITE:
            with closing(sqlite3.connect(f"file:{daemon.data / file}?mode=ro", uri=True, timeout=5)) as database:
                rows = database.execute(query).fetchall()
            assert "chat-app" in str(rows) or "Hello 4" in str(rows[0]), query


def test_each_query_for_postgresql_finds_what_was_published() -> None:
    with new_database("postgres-18") as url, daemon_process(env=ENV | {"POLYGLOTD_STORE__URL": url}) as daemon:
        fill(daemon)
        for query in ON_POSTGRES:
            done = subprocess.run(
                [program("postgres-18", "psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", url],
                input=query, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            first = done.stdout.splitlines()[0]
            assert any(found in first for found in ("chat-app", "Hello 4", "|5|1", "polyglot.")), done.stdout
