"""The SQL of erasing: tombstones take the place of events, a bounded number in each transaction.

Called by `event_writes` and `events` in worker threads. Blocking; errors are psycopg's own. The server keeps old
versions of a row until it vacuums the table, and what its write-ahead log was copied to as long as the operator says.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from polyglotd.log.interface import Erasure
from polyglotd.model import Event, event_id_ms
from polyglotd.store.postgres.pool import Connection, Micros
from polyglotd.store.postgres.rows import INTEGER_MAX, TS_MAX_US
from polyglotd.store.set_aside import erased_text

AT_ONCE_MAX = 500  # events of one erasure that go in the transaction that reads of it
ID_LATE_US = 60_000_000  # an event's id may be this much younger than its time, where clocks stepped

_COLUMNS = (
    "erasure_no, app_id, what, channel, epoch, first_seq, last_seq, user_id, until, batch_max, done_epoch, done_seq"
)
_OF_CHANNEL = """
    SELECT app_id, channel, epoch, seq, ts FROM polyglot.events
    WHERE app_id = %(app_id)s AND channel = %(channel)s AND (epoch, seq) > (%(done_epoch)s, %(done_seq)s)
    AND batch <= %(batch_max)s
    AND ((epoch = %(epoch)s AND seq BETWEEN %(first_seq)s AND %(last_seq)s)
         OR (epoch <> %(epoch)s AND %(what)s = 'history'))
    ORDER BY epoch, seq LIMIT %(limit)s
"""
_OF_EPOCH = """
    SELECT app_id, channel, epoch, seq, ts FROM polyglot.events
    WHERE app_id = %(app_id)s AND channel = %(channel)s AND epoch = %(epoch)s
    AND seq BETWEEN %(first_seq)s AND %(last_seq)s AND seq > %(done_seq)s AND batch <= %(batch_max)s
    ORDER BY epoch, seq LIMIT %(limit)s
"""
_OF_USER = """
    SELECT app_id, channel, epoch, seq, ts FROM polyglot.events
    WHERE app_id = %(app_id)s AND user_id = %(user_id)s AND ts <= %(until)s AND batch <= %(batch_max)s
    ORDER BY ts LIMIT %(limit)s
"""


class _Row(NamedTuple):
    erasure_no: int
    app_id: str
    what: str
    channel: str
    epoch: str
    first_seq: int
    last_seq: int
    user_id: str | None
    until: int
    batch_max: int
    done_epoch: str
    done_seq: int


def begin_erasure(connection: Connection, erasure: Erasure, batch: int) -> None:
    """It was read from the log: everything stored so far, up to this batch, that it means is to go. A single event
    goes at once."""
    connection.execute(
        "INSERT INTO polyglot.erasures (erasure_id, app_id, what, channel, epoch, first_seq, last_seq, user_id, "
        "until, batch_max) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (erasure_id) DO NOTHING",
        (
            erasure.erasure_id,
            erasure.app_id,
            erasure.what,
            erasure.channel,
            erasure.epoch,
            min(erasure.first_seq, INTEGER_MAX),
            min(erasure.last_seq, INTEGER_MAX),
            erasure.user_id,
            Micros(max(0, min(erasure.ts_us, TS_MAX_US))),
            batch,
        ),
    )
    _erase_set_aside(connection, erasure)
    if erasure.what == "event":
        _step(connection, AT_ONCE_MAX, erasure.erasure_id)


def erase_some(connection: Connection, limit: int) -> bool:
    """Go on with the oldest erasure, for at most `limit` events; true when none is left."""
    return not _step(connection, limit)


def read_erasures(connection: Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT erasure_id FROM polyglot.erasures ORDER BY erasure_no")]


def _step(connection: Connection, limit: int, erasure_id: str | None = None) -> bool:
    found = (
        connection.cursor(binary=True)
        .execute(
            f"SELECT {_COLUMNS} FROM polyglot.erasures WHERE erasure_id = %s OR %s::text IS NULL "
            "ORDER BY erasure_no LIMIT 1 FOR UPDATE".encode(),
            (erasure_id, erasure_id),
        )
        .fetchone()
    )
    if found is None:
        return False
    row = _Row(*found)
    which = {"user": _OF_USER, "history": _OF_CHANNEL}.get(row.what, _OF_EPOCH)
    erased = _erase(connection, which, row._asdict() | {"until": Micros(row.until), "limit": limit})
    if len(erased) < limit:
        connection.execute("DELETE FROM polyglot.erasures WHERE erasure_no = %s", (row.erasure_no,))
    elif row.what != "user":  # a user's events lose the name by which they are found
        connection.execute(
            "UPDATE polyglot.erasures SET done_epoch = %s, done_seq = %s WHERE erasure_no = %s",
            (*max(erased), row.erasure_no),
        )
    return True


def _erase(connection: Connection, which: str, values: dict[str, Any]) -> list[tuple[str, int]]:
    """Put tombstones in the place of the events that the query names by their key, and count as stored what is left
    of them; their epochs and seqs."""
    rows = connection.execute(
        f"""
        WITH o AS (
            SELECT k.*, octet_length(e.data) AS size FROM ({which}) k
            JOIN polyglot.events e USING (app_id, channel, epoch, seq, ts)
        ), erased AS (
            UPDATE polyglot.events e SET type = 'erased', user_id = NULL, data = 'null' FROM o
            WHERE e.app_id = o.app_id AND e.channel = o.channel AND e.epoch = o.epoch AND e.seq = o.seq
            AND e.ts = o.ts RETURNING e.app_id, e.epoch, e.seq, o.size
        ), counted AS (
            INSERT INTO polyglot.stored AS s
            SELECT app_id, 0, sum(octet_length('null') - size) FROM erased GROUP BY app_id
            ON CONFLICT (app_id) DO UPDATE SET bytes = s.bytes + excluded.bytes
        )
        SELECT epoch, seq FROM erased
        """.encode(),
        values,
    )
    return [(epoch, seq) for epoch, seq in rows]


def _erase_set_aside(connection: Connection, erasure: Erasure) -> None:
    """Events that could not be stored are kept for people to look at: what they said goes as well."""
    for number, text in connection.execute(
        'SELECT set_aside_no, record FROM polyglot.set_aside WHERE strpos(record, \'"record":"Event"\') > 0'
    ).fetchall():
        if (instead := erased_text(text, erasure)) is not None:
            connection.execute("UPDATE polyglot.set_aside SET record = %s WHERE set_aside_no = %s", (instead, number))


# --- finding what to erase ---


def find_events(connection: Connection, app_id: str, channel: str, event_id: str, limit: int) -> list[Event]:
    """The channel's events with this id, in any of its epochs, newest first."""
    for condition, values in _ways_to(event_id):
        rows = connection.cursor(binary=True).execute(
            "SELECT epoch, seq, id, type, user_id, ts, convert_to(data, 'UTF8') FROM polyglot.events "
            f"WHERE app_id = %s AND channel = %s AND id = %s AND {condition} "
            "ORDER BY ts DESC, seq DESC LIMIT %s".encode(),
            (app_id, channel, event_id, *values, limit),
        )
        found = [
            Event(found_id, app_id, channel, epoch, seq, type_, data, user_id, ts_us)
            for epoch, seq, found_id, type_, user_id, ts_us, data in rows
        ]
        if found:
            return found
    return []


def _ways_to(event_id: str) -> Iterator[tuple[str, tuple[Micros, ...]]]:
    """Conditions that find the id by an index, the likely one first."""
    ms = event_id_ms(event_id)
    if ms is None:
        yield "substr(id, 1, 4) <> 'evt_'", ()
        return
    at_us = min(ms * 1000, TS_MAX_US)
    yield "ts >= %s AND ts < %s", (Micros(at_us), Micros(at_us + 1000))
    yield "ts >= %s AND ts < %s", (Micros(max(0, at_us - ID_LATE_US)), Micros(at_us))
