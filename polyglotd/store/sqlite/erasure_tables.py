"""The SQL of erasing: tombstones take the place of events, a bounded number in each transaction.

Called by `events`, writes in its writer's thread only. Blocking; errors are SQLite's own. With `secure_delete`, which
every connection of ours has, what a row held before is overwritten in its page; the write-ahead log has older pages
until it is truncated (`events.py`).
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from polyglotd.log.interface import Erasure
from polyglotd.model import Event, event_id_ms
from polyglotd.store.set_aside import erased_text

INTEGER_MAX = (1 << 63) - 1
AT_ONCE_MAX = 500  # events of one erasure that go in the transaction that reads of it
ROWS_LOOKED_AT = 20_000  # in one transaction, for a user's events: some 10 ms
ID_LATE_US = 60_000_000  # an event's id may be this much younger than its time, where clocks stepped

_TOMBSTONE = "UPDATE events SET type = 'erased', user_id = NULL, data = 'null' WHERE event_no = ?"
_COLUMNS = "erasure_no, erasure_id, app_id, what, channel, epoch, first_seq, last_seq, user_id, ts_us, event_no_max"


class _Row(NamedTuple):
    erasure_no: int
    erasure_id: str
    app_id: str
    what: str
    channel: str
    epoch: str
    first_seq: int
    last_seq: int
    user_id: str | None
    ts_us: int
    event_no_max: int
    done_channel: int
    done_seq: int
    done_event: int


def begin_erasure(connection: sqlite3.Connection, erasure: Erasure) -> None:
    """It was read from the log: everything stored so far that it means is to go. A single event goes at once."""
    (event_no_max,) = connection.execute("SELECT coalesce(max(event_no), 0) FROM events").fetchone()
    connection.execute(
        f"INSERT INTO erasures ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (erasure_id) DO NOTHING",
        (
            erasure.erasure_id,
            erasure.app_id,
            erasure.what,
            erasure.channel,
            erasure.epoch,
            min(erasure.first_seq, INTEGER_MAX),
            min(erasure.last_seq, INTEGER_MAX),
            erasure.user_id,
            min(erasure.ts_us, INTEGER_MAX),
            event_no_max,
        ),
    )
    _erase_set_aside(connection, erasure)
    if erasure.what == "event":
        row = connection.execute(
            f"SELECT {_COLUMNS}, done_channel, done_seq, done_event FROM erasures WHERE erasure_id = ?",
            (erasure.erasure_id,),
        ).fetchone()
        _step(connection, _Row(*row), AT_ONCE_MAX)


def erase_some(connection: sqlite3.Connection, limit: int) -> bool:
    """Go on with the oldest erasure, for at most `limit` events; true when the rows are through with all of them."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, done_channel, done_seq, done_event FROM erasures WHERE finished = 0 "
        "ORDER BY erasure_no LIMIT 1"
    ).fetchone()
    if row is not None:
        _step(connection, _Row(*row), limit)
    return row is None


def end_erasures(connection: sqlite3.Connection, upto: int) -> None:
    """No file has anything any more of those that were finished, up to this number."""
    connection.execute("DELETE FROM erasures WHERE finished = 1 AND erasure_no <= ?", (upto,))


def read_finished(connection: sqlite3.Connection) -> int:
    """The newest erasure that is finished and not ended; 0 where there is none."""
    return int(
        connection.execute("SELECT coalesce(max(erasure_no), 0) FROM erasures WHERE finished = 1").fetchone()[0]
    )


def read_erasures(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT erasure_id FROM erasures ORDER BY erasure_no")]


def find_events(connection: sqlite3.Connection, app_id: str, channel: str, event_id: str, limit: int) -> list[Event]:
    """The channel's events with this id, in any of its epochs, newest first."""
    found: list[Event] = []
    for condition, values in _ways_to(connection, app_id, channel, event_id):
        rows = connection.execute(
            "SELECT epoch, seq, id, type, user_id, ts_us, CAST(data AS BLOB) FROM events "
            "JOIN channels USING (channel_no) WHERE channels.app_id = ? AND channels.channel = ? AND id = ? AND "
            f"{condition} ORDER BY event_no DESC LIMIT ?",
            (app_id, channel, event_id, *values, limit),
        )
        for epoch, seq, found_id, type_, user_id, ts_us, data in rows:
            found.append(Event(found_id, app_id, channel, epoch, seq, type_, data, user_id, ts_us))
        if found:
            break
    return found


def _ways_to(
    connection: sqlite3.Connection, app_id: str, channel: str, event_id: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Conditions that find the id by an index, the likely one first."""
    ms = event_id_ms(event_id)
    if ms is None:
        yield "substr(id, 1, 4) <> 'evt_'", ()
        return
    kind = connection.execute(
        "SELECT kind_no FROM channels WHERE app_id = ? AND channel = ? LIMIT 1", (app_id, channel)
    ).fetchone()
    if kind is not None:
        at_us = ms * 1000
        by_age = "events.kind_no = ? AND ts_us >= ? AND ts_us < ?"
        yield by_age, (kind[0], at_us, at_us + 1000)
        yield by_age, (kind[0], at_us - ID_LATE_US, at_us)


def _step(connection: sqlite3.Connection, row: _Row, limit: int) -> None:
    if row.what == "user":
        _step_of_user(connection, row, limit)
    else:
        _step_of_channel(connection, row, limit)


def _step_of_channel(connection: sqlite3.Connection, row: _Row, limit: int) -> None:
    channels = connection.execute(
        "SELECT channel_no, epoch FROM channels WHERE app_id = ? AND channel = ? AND channel_no >= ? "
        "AND (epoch = ? OR ? = 'history') ORDER BY channel_no",
        (row.app_id, row.channel, row.done_channel, row.epoch, row.what),
    ).fetchall()
    for channel_no, epoch in channels:
        first, last = (row.first_seq, row.last_seq) if epoch == row.epoch else (0, INTEGER_MAX)
        if channel_no == row.done_channel:
            first = max(first, row.done_seq + 1)
        found = connection.execute(
            "SELECT event_no, seq FROM events WHERE channel_no = ? AND seq >= ? AND seq <= ? AND event_no <= ? "
            "ORDER BY seq LIMIT ?",
            (channel_no, first, last, row.event_no_max, limit),
        ).fetchall()
        connection.executemany(_TOMBSTONE, [(event_no,) for event_no, _ in found])
        limit -= len(found)
        if limit <= 0:
            connection.execute(
                "UPDATE erasures SET done_channel = ?, done_seq = ? WHERE erasure_no = ?",
                (channel_no, found[-1][1], row.erasure_no),
            )
            return
    _finish(connection, row)


def _step_of_user(connection: sqlite3.Connection, row: _Row, limit: int) -> None:
    """There is no index by user: it would cost every event that is stored, for what is asked for rarely."""
    until = min(row.done_event + ROWS_LOOKED_AT, row.event_no_max)
    found = connection.execute(
        "SELECT event_no FROM events WHERE event_no > ? AND event_no <= ? AND user_id = ? AND ts_us <= ? "
        "AND kind_no IN (SELECT kind_no FROM kinds WHERE app_id = ?) ORDER BY event_no LIMIT ?",
        (row.done_event, until, row.user_id, row.ts_us, row.app_id, limit),
    ).fetchall()
    connection.executemany(_TOMBSTONE, found)
    done = found[-1][0] if len(found) == limit else until
    connection.execute("UPDATE erasures SET done_event = ? WHERE erasure_no = ?", (done, row.erasure_no))
    if done >= row.event_no_max:
        _finish(connection, row)


def _finish(connection: sqlite3.Connection, row: _Row) -> None:
    connection.execute("UPDATE erasures SET finished = 1, user_id = NULL WHERE erasure_no = ?", (row.erasure_no,))


def _erase_set_aside(connection: sqlite3.Connection, erasure: Erasure) -> None:
    """Events that could not be stored are kept for people to look at: what they said goes as well."""
    rows = connection.execute(
        'SELECT set_aside_no, record FROM set_aside WHERE instr(record, \'"record":"Event"\') > 0'
    ).fetchall()
    for number, text in rows:
        if (instead := erased_text(text, erasure)) is not None:
            connection.execute("UPDATE set_aside SET record = ? WHERE set_aside_no = ?", (instead, number))
