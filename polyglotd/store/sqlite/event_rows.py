"""Events as rows: what one statement inserts many of, and what is counted of them meanwhile.

Filled by `event_tables` from the events of one batch, in the writer's thread. A channel's last seq tells which are
surely new; what is not above it is asked row by row. Knows nothing of other records.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from polyglotd.log.interface import ReadRecord
from polyglotd.model import Event
from polyglotd.store.interface import RecordRefused

logger = logging.getLogger(__name__)

INTEGER_MAX = (1 << 63) - 1  # SQLite's
DAY_US = 86_400 * 1_000_000

_COLUMNS = 8
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = f"INSERT INTO events (channel_no, seq, kind_no, ts_us, id, type, user_id, data) VALUES {_VALUES}"
# By how many rows they insert, largest first. After each statement the writer's thread waits for the interpreter, for
# up to 5 ms where the daemon is busy: one row a statement would make that 200 rows a second.
_INSERTS = {rows: _INSERT + f", {_VALUES}" * (rows - 1) for rows in (256, 128, 64, 32, 16, 8, 4, 2, 1)}
_INSERT_NEW = _INSERT + " ON CONFLICT (channel_no, seq) DO NOTHING"


class KnownChannel:
    """A channel's epoch, as the writer remembers it between transactions."""

    __slots__ = ("app_id", "channel_no", "kind_no", "last_seq")

    def __init__(self, app_id: str, channel_no: int, kind_no: int, last_seq: int) -> None:
        self.app_id = app_id
        self.channel_no = channel_no
        self.kind_no = kind_no
        self.last_seq = last_seq  # what is above it is surely not stored yet; -1 where nothing is


Find = Callable[[Event], KnownChannel]
Counts = dict[tuple[str, str], tuple[int, int]]
"""By app and month: events, bytes."""


def insert_events(connection: sqlite3.Connection, events: Sequence[Event], find: Find) -> Counts:
    """Insert those that are not there; how many that were. Raises UnicodeError or OverflowError for an event that
    can't be a row: see `refusal`."""
    values: list[object] = []
    add = values.extend
    known: list[tuple[Event, KnownChannel]] = []
    tallies: dict[tuple[str, int], list[int]] = {}  # by app and UTC day: events, bytes
    for event in events:
        seq, ts_us, data = event.seq, event.ts_us, event.data
        if not 0 <= seq <= INTEGER_MAX or not 0 <= ts_us <= INTEGER_MAX:
            raise OverflowError("seq or time")
        channel = find(event)
        if seq <= channel.last_seq:
            known.append((event, channel))
            continue
        channel.last_seq = seq
        add((channel.channel_no, seq, channel.kind_no, ts_us, event.id, event.type, event.user_id, data.decode()))
        day = (channel.app_id, ts_us // DAY_US)
        tally = tallies.get(day)
        if tally is None:
            tally = tallies[day] = [0, 0]
        tally[0] += 1
        tally[1] += len(data)
    _insert_all(connection, values)
    # A seq that is not above the channel's last one is mostly a repeat; which, is asked row by row.
    for event, channel in known:
        if _is_new(connection, event, channel):
            tally = tallies.setdefault((channel.app_id, event.ts_us // DAY_US), [0, 0])
            tally[0] += 1
            tally[1] += len(event.data)
    counts: Counts = {}
    for (app_id, number), (count, size) in tallies.items():
        had = counts.get((app_id, month := month_of_day(number)), (0, 0))
        counts[app_id, month] = (had[0] + count, had[1] + size)
    return counts


def _insert_all(connection: sqlite3.Connection, values: Sequence[object]) -> None:
    done = 0
    for rows, statement in _INSERTS.items():
        size = rows * _COLUMNS
        while done + size <= len(values):
            connection.execute(statement, values[done : done + size])
            done += size


def _is_new(connection: sqlite3.Connection, event: Event, channel: KnownChannel) -> bool:
    """Insert the row, unless its seq is there."""
    where = (channel.channel_no, event.seq)
    row = (*where, channel.kind_no, event.ts_us, event.id, event.type, event.user_id, event.data.decode())
    if connection.execute(_INSERT_NEW, row).rowcount:
        return True
    (event_id,) = connection.execute("SELECT id FROM events WHERE channel_no = ? AND seq = ?", where).fetchone()
    if event_id != event.id:  # what the log must never do
        logger.error(
            "seq %d of a channel was given to %s and to %s; the first is kept", event.seq, event_id, event.id
        )
    return False


@lru_cache(maxsize=64)
def month_of_day(day: int) -> str:
    """The UTC month of a day since 1970."""
    return time.strftime("%Y-%m", time.gmtime(min(day, 2_932_896) * 86_400))  # not beyond the year 9999


def refusal(records: Sequence[ReadRecord]) -> RecordRefused | None:
    """The first event that can't ever be a row, and why. Asked only where something failed."""
    for index, record in enumerate(records):
        if not isinstance(record, Event):
            continue
        if not 0 <= record.seq <= INTEGER_MAX or not 0 <= record.ts_us <= INTEGER_MAX:
            return RecordRefused(index, "seq or time is out of range")
        try:
            record.data.decode()
            for text in (record.app_id, record.channel, record.epoch, record.id, record.type, record.user_id or ""):
                text.encode()
        except UnicodeError as error:
            return RecordRefused(index, f"it is not UTF-8: {error}")
    return None
