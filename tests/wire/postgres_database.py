"""A database of a test's own on a real PostgreSQL, and the programs that come with it."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from store_servers import install_of, server

_numbers = itertools.count()


@contextmanager
def new_database(name: str) -> Iterator[str]:
    """The URL of an empty database on the server of this name (`postgres-18`); gone afterwards."""
    found = server(name).url
    database = sql.Identifier(f"wire_{os.getpid()}_{next(_numbers)}")
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
    try:
        yield found.replace("/postgres?", f"/{database.as_string()}?".replace('"', ""))
    finally:
        with psycopg.connect(found, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def program(name: str, program: str) -> str:
    """The path of `pg_dump` and the like, of the server's own version."""
    return str(install_of(name) / "bin" / program)
