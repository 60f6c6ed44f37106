"""What PostgreSQL's errors mean for who asked: away for now, to be mended by the operator, or a fault of ours.

Used by everything that talks to the server. Knows no table.
"""

import psycopg
from psycopg import errors

from polyglotd.model import Unavailable
from polyglotd.store.interface import StoreFault

RETRY_AFTER_MS = 1_000

# By SQLSTATE or its class. Whoever waits may find it gone: somebody restarts, frees disk, lets go of a lock.
_AWAY = {
    "08",  # connection exceptions
    "40",  # rolled back: deadlock, serialization
    "53",  # out of disk, memory, connections
    "57",  # shut down, starting up, cancelled by its timeout
    "58",  # input and output of the system
    "25006",  # read only: a standby that may be promoted
    "55P03",  # lock not available in time
    "55006",  # object in use
}
# Waiting does not help, a person does.
_FOR_THE_OPERATOR = {
    "28": "Check user and password in [store] url, and the server's pg_hba.conf",
    "3D": "Create the database, or name another one in [store] url",
    "42501": "Grant the user of [store] url its rights on schema polyglot, or let it make the schema",
    "42P01": "Run `polyglotd migrate`, or restore the schema polyglot from a backup",
    "3F": "Run `polyglotd migrate`, or restore the schema polyglot from a backup",
    "0A": "This server can't do what the store needs; it needs PostgreSQL 15 or later",
    "XX": "The database may be damaged: see the server's log, and restore a backup",
}


def translate(where: str, error: psycopg.Error) -> Exception:
    """What a caller of the store can answer; the error itself where it is a fault of ours. `where`: host and name."""
    state = error.sqlstate
    text = _first_line(error)
    if state is None:
        # The connection broke, or never came to be: libpq's own words.
        if isinstance(error, psycopg.OperationalError | errors.InterfaceError):
            return _refused_by_server(where, text) or away(where, text)
        return error
    if state in _AWAY or state[:2] in _AWAY:
        return away(where, text)
    remedy = _FOR_THE_OPERATOR.get(state) or _FOR_THE_OPERATOR.get(state[:2])
    return error if remedy is None else StoreFault(f"{where}: {text}. {remedy}")


def away(where: str, why: str) -> Unavailable:
    return Unavailable(f"the store {where} can't be used now: {why}", retry_after_ms=RETRY_AFTER_MS)


def _refused_by_server(where: str, text: str) -> StoreFault | None:
    """A connection that was refused has no SQLSTATE in psycopg, only the server's words, which may be translated: so
    these are looked for in English alone, and the rest counts as away."""
    for words, remedy in (
        ("password authentication failed", _FOR_THE_OPERATOR["28"]),
        ("no password supplied", _FOR_THE_OPERATOR["28"]),
        ("no pg_hba.conf entry", _FOR_THE_OPERATOR["28"]),
        ('role "', _FOR_THE_OPERATOR["28"]),
        ('database "', _FOR_THE_OPERATOR["3D"]),
    ):
        if words in text and ("does not exist" in text or not words.endswith('"')):
            return StoreFault(f"{where}: {text}. {remedy}")
    return None


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0].replace("\0", "") or type(error).__name__
