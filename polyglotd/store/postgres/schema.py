"""Bring a database to this release's schema. Used by the stores' opening and by `polyglotd migrate`. Blocking.

Migrations are `migrations/NNNN_name.sql`, numbered from 1 without a gap, each run in one transaction. One that
differs with TimescaleDB is two files, `NNNN_name.plain.sql` and `NNNN_name.timescaledb.sql`. Which of them ran is
written down: a database stays what it was made as, whatever extension comes later.
"""

import logging
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import psycopg

from polyglotd.model import Unavailable
from polyglotd.store.interface import SchemaTooNew, StoreFault
from polyglotd.store.postgres.faults import translate
from polyglotd.store.postgres.pool import Connection, connect, table_exists, where

logger = logging.getLogger(__name__)

Variant = Literal["plain", "timescaledb"]

VERSION_MIN = 150_000
LOCK_KEY = 0x706F6C79676C6F74  # "polyglot": daemons that start at once migrate one after the other
LOCK_WAIT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: dict[Variant, str]


@dataclass(frozen=True, slots=True)
class Schema:
    """What was found, or made."""

    where: str  # host and database
    before: int  # the number of the last migration that had run
    after: int
    variant: Variant
    server: str  # `PostgreSQL 18.6`, `PostgreSQL 17.5 with TimescaleDB 2.23.1`


def migrations() -> list[Migration]:
    """In order; the first has number 1."""
    directory = resources.files("polyglotd.store.postgres") / "migrations"
    found: list[Migration] = []
    for entry in sorted(directory.iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".sql"):
            continue
        name, _, variant = entry.name.removesuffix(".sql").partition(".")
        sql = entry.read_text(encoding="utf-8")
        if found and found[-1].name == name:
            found[-1].sql[_variant(variant)] = sql
            continue
        found.append(Migration(name, {_variant(variant): sql} if variant else {"plain": sql, "timescaledb": sql}))
        if int(name.partition("_")[0]) != len(found):
            raise AssertionError(f"migrations have a gap, or a number twice, at {entry.name}")
    for migration in found:
        if len(migration.sql) != 2:
            raise AssertionError(f"migration {migration.name} is there for {', '.join(migration.sql)} alone")
    return found


def _variant(name: str) -> Variant:
    if name == "plain":
        return "plain"
    if name == "timescaledb":
        return "timescaledb"
    raise AssertionError(f"a migration is for {name!r}")


def migrate(url: str, *, check_only: bool = False) -> Schema:
    """Run what has not run yet; with `check_only` raise where there is something to run.

    Raises `SchemaTooNew`, or another `StoreFault` where the database can't be reached or used.
    """
    place = where(url)
    try:
        with connect(url) as connection:
            return _migrate(connection, place, check_only=check_only)
    except psycopg.Error as error:
        fault = translate(place, error)
        if isinstance(fault, Unavailable):
            raise StoreFault(f"{fault.message}. Is the server there, and does [store] url name it?") from error
        raise fault from error


def _migrate(connection: Connection, place: str, *, check_only: bool) -> Schema:
    known = migrations()
    number, text = _server(connection)
    if number < VERSION_MIN:
        raise StoreFault(f"{place} is PostgreSQL {text}; the store needs 15 or later")
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(LOCK_WAIT_MS),))
    before = _version(connection)
    version = before
    if version > len(known):
        raise SchemaTooNew(
            f"{place} has schema {version}, this release knows up to {len(known)}: a newer release wrote it. "
            "Install that release, or restore a backup from before"
        )
    if check_only and version < len(known):
        raise StoreFault(
            f"{place} has schema {version}, this release needs {len(known)}, and [store] migrate is false: "
            "run `polyglotd migrate`"
        )
    while version < len(known):
        version = _migrate_one(connection, known)
    variant = connection.execute("SELECT variant FROM polyglot.migrations WHERE number = 1").fetchone()
    assert variant is not None
    return Schema(place, before, version, _variant(variant[0]), _described(connection, text, variant[0]))


def _migrate_one(connection: Connection, known: list[Migration]) -> int:
    """Run the next one, in a transaction of its own; the schema's version, which others may have moved on."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        version = _version(connection)
        if version >= len(known):
            return version
        if version == 0:
            connection.execute("CREATE SCHEMA IF NOT EXISTS polyglot")
            connection.execute(
                "CREATE TABLE polyglot.migrations (number int PRIMARY KEY, name text NOT NULL, "
                "variant text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            )
            variant: Variant = "plain" if _timescaledb(connection) is None else "timescaledb"
        else:
            row = connection.execute("SELECT variant FROM polyglot.migrations WHERE number = 1").fetchone()
            assert row is not None
            variant = _variant(row[0])
        migration = known[version]
        connection.execute(migration.sql[variant].encode())
        connection.execute(
            "INSERT INTO polyglot.migrations (number, name, variant) VALUES (%s, %s, %s)",
            (version + 1, migration.name, variant),
        )
        logger.info("migration %s (%s) has run", migration.name, variant)
        return version + 1


def _version(connection: Connection) -> int:
    if not table_exists(connection, "migrations"):
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) FROM polyglot.migrations").fetchone()
    assert row is not None
    return int(row[0])


def _server(connection: Connection) -> tuple[int, str]:
    row = connection.execute(
        "SELECT current_setting('server_version_num')::int, split_part(current_setting('server_version'), ' ', 1)"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _timescaledb(connection: Connection) -> str | None:
    """The extension's version in this database."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    return None if row is None else str(row[0])


def _described(connection: Connection, version: str, variant: str) -> str:
    text = f"PostgreSQL {version}"
    return text if variant == "plain" else f"{text} with TimescaleDB {_timescaledb(connection) or '(missing!)'}"
