"""What is PostgreSQL's own: migrations, what an operator is told, what a person sees in psql, and partitions."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from contracts.log_events import event, events
from contracts.stores import PostgresMake
from psycopg import sql
from store_servers import POSTGRES, server

from polyglotd.store.interface import SchemaTooNew, StoreFault
from polyglotd.store.postgres.schema import migrate, migrations

NOVEMBER_US = 1_795_508_130_000_000  # 2026-11-24, a Tuesday
WEEK_US = 7 * 86_400_000_000
NEWEST = POSTGRES[-1]


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database, without a schema."""
    name = f"bare_{os.getpid()}"
    url = server(NEWEST).url
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield url.replace("/postgres?", f"/{name}?")
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def newest() -> PostgresMake:
    return PostgresMake(NEWEST)


def test_daemons_that_start_at_once_migrate_one_after_the_other(database: str) -> None:
    code = "import sys; from polyglotd.store.postgres.schema import migrate; print(migrate(sys.argv[1]).after)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, database], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [str(len(migrations()))] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_migrating_says_from_where_to_where_and_on_what(database: str) -> None:
    schema = migrate(database)
    assert (schema.before, schema.after, schema.variant) == (0, len(migrations()), "plain")
    assert schema.server.startswith(f"PostgreSQL {NEWEST.removeprefix('postgres-')}.")
    assert migrate(database).before == len(migrations())


def test_a_database_of_a_newer_release_is_left_alone(database: str) -> None:
    migrate(database)
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO polyglot.migrations (number, name, variant) VALUES (9999, 'x', 'plain')")
    with pytest.raises(SchemaTooNew, match="9999"):
        migrate(database)


def test_without_leave_to_migrate_the_operator_is_told_how(database: str) -> None:
    with pytest.raises(StoreFault, match="polyglotd migrate"):
        migrate(database, check_only=True)
    migrate(database)
    assert migrate(database, check_only=True).before == len(migrations())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("postgresql://u:secret@127.0.0.1:1/x?connect_timeout=2", "Is the server there", id="no server"),
        pytest.param("SERVER/never_made?HOST", "Create the database", id="no database"),
        pytest.param("postgresql://nobody:secret@/postgres?HOST", "user and password", id="no such user"),
    ],
)
def test_a_store_that_cant_be_opened_is_told_in_words_without_its_password(url: str, words: str) -> None:
    host = server(NEWEST).url.partition("?")[2]
    with pytest.raises(StoreFault, match=words) as fault:
        migrate(url.replace("HOST", host).replace("SERVER", "postgresql://postgres:secret@"))
    assert "secret" not in str(fault.value)


async def test_a_person_reads_the_rows(newest: PostgresMake) -> None:
    data = '{"text": "Gr\u00fc\u00dfe", "n": 12345678901234567890}'
    async with newest.open_events() as store:
        await store.append("log", [event(7, data=data.encode(), ts_us=NOVEMBER_US)], 10)
    with psycopg.connect(newest.url) as person:
        row = person.execute(
            "SELECT app_id, channel, epoch, seq, ts::text, id, type, user_id, data, data::json ->> 'text' "
            "FROM polyglot.events"
        ).fetchone()
    assert row == (
        "app", "room:lobby", "epoch00001", 7, "2026-11-24 08:15:30+00", "evt_app-room:lobby-7", "message", "user1",
        data, "Gr\u00fc\u00dfe",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "channel = 'room:lobby' AND epoch = 'e' AND seq < 900 ORDER BY seq DESC LIMIT 10",
            "app_id_channel_epoch_seq",
        ),
        ("ts > '2026-11-24' ORDER BY ts LIMIT 10", "app_id_ts"),
        ("type = 'message' AND ts > '2026-11-24' ORDER BY ts LIMIT 10", "app_id_type_ts"),
        ("user_id = 'user1' AND ts > '2026-11-24' ORDER BY ts LIMIT 10", "app_id_user_id_ts"),
    ],
)
async def test_an_index_serves_each_question(newest: PostgresMake, query: str, index: str) -> None:
    async with newest.open_events() as store:
        await store.append("log", events(1, 10), 10)
    with psycopg.connect(newest.url) as person:
        person.execute("SET enable_seqscan = off")  # the table is small
        person.execute("SET enable_sort = off")
        plan = "\n".join(
            line
            for (line,) in person.execute(f"EXPLAIN SELECT * FROM polyglot.events WHERE app_id = 'app' AND {query}")
        )
    assert index in plan, plan
    assert "Filter" not in plan, plan


def weeks(make: PostgresMake) -> list[str]:
    with psycopg.connect(make.url) as person:
        return [
            name
            for (name,) in person.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                "WHERE inhparent = 'polyglot.events'::regclass ORDER BY relname"
            )
        ]


async def test_weeks_are_made_as_they_come_and_one_ahead(newest: PostgresMake) -> None:
    async with newest.open_events() as store:
        await store.append("log", [event(1, ts_us=NOVEMBER_US)], 10)
    assert {"events_20261123", "events_20261130"} <= set(weeks(newest))


async def test_a_week_that_is_empty_and_long_past_is_dropped_and_made_again(newest: PostgresMake) -> None:
    first = NOVEMBER_US - 400 * WEEK_US
    async with newest.open_events() as store:
        await store.append("log", [event(1, ts_us=first), event(2, ts_us=first + WEEK_US)], 10)
        before = weeks(newest)
        assert await store.prune("app", "room:", first + 1, 10) == 1
        gone = set(before) - set(weeks(newest))
        assert "events_20190325" in gone
        assert "events_20190401" not in gone
        await store.append("log", [event(3, ts_us=first)], 20)  # the store believes that the week is there
        assert await store.prune("app", "room:", NOVEMBER_US, 10) == 2


async def test_two_stores_on_one_database_share_it(newest: PostgresMake) -> None:
    async with newest.open_events() as one, newest.open_events() as other:
        await one.append("log_1", events(1, 3), 10)
        await other.append("log_2", events(3, 5), 10)
        assert (await one.usage("app", "2026-11")).events == 5
