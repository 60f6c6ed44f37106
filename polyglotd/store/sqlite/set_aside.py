"""Records that a database of ours could not take, in a table of its own for people to look at. Blocking."""

import sqlite3

from polyglotd.store.interface import SetAside
from polyglotd.store.set_aside import record_text

SET_ASIDE_MAX = 10_000  # the newest are kept


def keep_set_aside(connection: sqlite3.Connection, log_id: str, end: int, refused: SetAside, now_us: int) -> None:
    (number,) = connection.execute(
        "INSERT INTO set_aside (log_id, batch_end, at_us, why, record) VALUES (?, ?, ?, ?, ?) RETURNING set_aside_no",
        (log_id, end, now_us, refused.why, record_text(refused.record)),
    ).fetchone()
    connection.execute("DELETE FROM set_aside WHERE set_aside_no <= ?", (number - SET_ASIDE_MAX,))


def read_set_aside(connection: sqlite3.Connection) -> int:
    """How many there are."""
    return int(connection.execute("SELECT count(*) FROM set_aside").fetchone()[0])
