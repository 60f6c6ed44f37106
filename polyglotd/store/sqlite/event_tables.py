"""The event store's SQL: what is written in a transaction, what is read.

Called by `events`, writes in its writer's thread only. Blocking; errors are SQLite's own, and `RecordRefused`.
"""

import sqlite3
from collections.abc import Collection, Sequence

from polyglotd.log.interface import AppForgotten, Erasure, Meter, QuotaReached, ReadRecord
from polyglotd.model import Event, kind_of
from polyglotd.store.event_page import page_of
from polyglotd.store.interface import ChannelEpochs, EventPage, HistoryQuery, RecordRefused, SetAside, Usage, Usages
from polyglotd.store.sqlite.erasure_tables import begin_erasure
from polyglotd.store.sqlite.event_rows import (
    DAY_US,
    INTEGER_MAX,
    KnownChannel,
    insert_events,
    month_of_day,
    refusal,
)
from polyglotd.store.sqlite.set_aside import keep_set_aside

CHANNELS_CACHED_MAX = 100_000  # channels that the writer knows without asking; some 30 MB


class EventWrites:
    """Statements of the one writer, with what it remembers between transactions."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, str, str], KnownChannel] = {}  # by app, channel and epoch

    def forget_numbers(self) -> None:
        """A transaction was taken back: numbers that it gave out are nobody's."""
        self._channels.clear()

    def append(
        self,
        connection: sqlite3.Connection,
        log_id: str,
        records: Sequence[ReadRecord],
        end: int,
        set_aside: Sequence[SetAside],
        now_us: int,
    ) -> None:
        row = connection.execute("SELECT position FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
        if row is not None and end <= row[0]:
            return  # it was stored, and whoever stored it was not told
        if len(self._channels) >= CHANNELS_CACHED_MAX:
            self.forget_numbers()  # not later: what is to be inserted counts as known
        try:
            self._take(connection, records)
        except (UnicodeError, OverflowError) as error:
            if (refused := refusal(records)) is None:
                raise
            raise refused from error
        for aside in set_aside:
            keep_set_aside(connection, log_id, end, aside, now_us)
        connection.execute(
            "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (log_id) DO UPDATE SET position = excluded.position",
            (log_id, end),
        )

    def _take(self, connection: sqlite3.Connection, records: Sequence[ReadRecord]) -> None:
        events: list[Event] = []
        for index, record in enumerate(records):
            if isinstance(record, Event):
                events.append(record)
            elif isinstance(record, Meter):
                if not 0 <= record.events <= INTEGER_MAX or not 0 <= record.bytes <= INTEGER_MAX:
                    raise RecordRefused(index, "a count is out of range")
                month = month_of_day(record.ts_us // DAY_US)
                _count(connection, record.app_id, month, record.events, record.bytes)
            elif isinstance(record, QuotaReached):
                _note_reached(connection, record)
            elif isinstance(record, AppForgotten):
                self._insert(connection, events)
                events = []
                self.forget_app(connection, record.app_id)
            elif isinstance(record, Erasure):
                self._insert(connection, events)
                events = []
                begin_erasure(connection, record)
        self._insert(connection, events)

    def _insert(self, connection: sqlite3.Connection, events: Sequence[Event]) -> None:
        channels = self._channels

        def find(event: Event) -> KnownChannel:
            key = (event.app_id, event.channel, event.epoch)
            return channels.get(key) or self._learn(connection, key)

        for (app_id, month), (count, size) in insert_events(connection, events, find).items():
            _count(connection, app_id, month, count, size)
            _count_stored(connection, app_id, count, size)

    def _learn(self, connection: sqlite3.Connection, key: tuple[str, str, str]) -> KnownChannel:
        app_id, channel, _ = key
        kind = (app_id, kind_of(channel))
        connection.execute("INSERT INTO kinds (app_id, kind) VALUES (?, ?) ON CONFLICT DO NOTHING", kind)
        (kind_no,) = connection.execute("SELECT kind_no FROM kinds WHERE app_id = ? AND kind = ?", kind).fetchone()
        row = connection.execute(
            "SELECT channel_no FROM channels WHERE app_id = ? AND channel = ? AND epoch = ?", key
        ).fetchone()
        if row is None:
            row = connection.execute(
                "INSERT INTO channels (kind_no, app_id, channel, epoch) VALUES (?, ?, ?, ?) RETURNING channel_no",
                (kind_no, *key),
            ).fetchone()
        (last,) = connection.execute("SELECT max(seq) FROM events WHERE channel_no = ?", (row[0],)).fetchone()
        known = self._channels[key] = KnownChannel(app_id, row[0], kind_no, -1 if last is None else last)
        return known

    def forget_app(self, connection: sqlite3.Connection, app_id: str) -> None:
        """Usage goes at once, events when `erase` is called. Channels that come later are not touched."""
        connection.execute("DELETE FROM usage WHERE app_id = ?", (app_id,))
        connection.execute("DELETE FROM quotas_reached WHERE app_id = ?", (app_id,))
        connection.execute(
            "INSERT INTO forgotten SELECT ?, coalesce(max(channel_no), 0) FROM channels WHERE app_id = ? "
            "ON CONFLICT (app_id) DO UPDATE SET channel_no_max = max(channel_no_max, excluded.channel_no_max)",
            (app_id, app_id),
        )

    def erase(self, connection: sqlite3.Connection, app_id: str, limit: int) -> bool:
        """Delete at most `limit` events and channels of what was forgotten; true when none is left."""
        while limit > 0:
            row = connection.execute(
                "SELECT channel_no, channel, epoch FROM channels WHERE app_id = ?1 AND channel_no <= "
                "(SELECT channel_no_max FROM forgotten WHERE app_id = ?1) ORDER BY channel_no LIMIT 1",
                (app_id,),
            ).fetchone()
            if row is None:
                return True
            channel_no, channel, epoch = row
            deleted = connection.execute(
                "DELETE FROM events WHERE event_no IN "
                "(SELECT event_no FROM events WHERE channel_no = ? ORDER BY seq LIMIT ?)",
                (channel_no, limit),
            ).rowcount
            if deleted < limit:
                self._drop_channel(connection, channel_no, (app_id, channel, epoch))
            limit -= deleted + 1
        return False

    def erased(self, connection: sqlite3.Connection, app_id: str) -> None:
        connection.execute(
            "DELETE FROM forgotten WHERE app_id = ?1 AND NOT EXISTS "
            "(SELECT 1 FROM channels WHERE app_id = ?1 AND channel_no <= channel_no_max)",
            (app_id,),
        )

    def prune(self, connection: sqlite3.Connection, app_id: str, kind: str, before_us: int, limit: int) -> int:
        rows = connection.execute(
            "SELECT event_no, channel_no FROM events WHERE kind_no = "
            "(SELECT kind_no FROM kinds WHERE app_id = ? AND kind = ?) AND ts_us < ? ORDER BY ts_us LIMIT ?",
            (app_id, kind, before_us, limit),
        ).fetchall()
        connection.executemany("DELETE FROM events WHERE event_no = ?", [(event_no,) for event_no, _ in rows])
        for channel_no in {channel_no for _, channel_no in rows}:
            if connection.execute("SELECT 1 FROM events WHERE channel_no = ? LIMIT 1", (channel_no,)).fetchone():
                continue
            key = connection.execute(
                "SELECT app_id, channel, epoch FROM channels WHERE channel_no = ?", (channel_no,)
            ).fetchone()
            self._drop_channel(connection, channel_no, key)
        return len(rows)

    def _drop_channel(self, connection: sqlite3.Connection, channel_no: int, key: tuple[str, str, str]) -> None:
        connection.execute("DELETE FROM channels WHERE channel_no = ?", (channel_no,))
        self._channels.pop(key, None)


def _count(connection: sqlite3.Connection, app_id: str, month: str, events: int, size: int) -> None:
    connection.execute(
        "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (app_id, month) "
        "DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes",
        (app_id, month, events, size),
    )


def _count_stored(connection: sqlite3.Connection, app_id: str, events: int, size: int) -> None:
    connection.execute(
        "INSERT INTO stored VALUES (?, ?, ?) ON CONFLICT (app_id) "
        "DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes",
        (app_id, events, size),
    )


def _note_reached(connection: sqlite3.Connection, record: QuotaReached) -> None:
    connection.execute(
        "INSERT INTO quotas_reached VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (record.app_id, record.month, record.quota, record.percent, record.ts_us),
    )


# --- reading ---


def read_cursor(connection: sqlite3.Connection, log_id: str) -> int:
    row = connection.execute("SELECT position FROM cursors WHERE log_id = ?", (log_id,)).fetchone()
    return 0 if row is None else int(row[0])


def read_channels(
    connection: sqlite3.Connection, app_id: str, prefix: str, first: str, limit: int
) -> list[ChannelEpochs]:
    rows = connection.execute(
        "WITH alive AS (SELECT channel_no, channel, epoch FROM channels WHERE app_id = ?1 AND channel >= max(?2, ?3)"
        " AND channel_no > coalesce((SELECT channel_no_max FROM forgotten WHERE app_id = ?1), 0)"
        " AND substr(channel, 1, length(?2)) = ?2 AND channel < ?4),"
        " names AS (SELECT DISTINCT channel FROM alive ORDER BY channel LIMIT ?5)"
        " SELECT channel, epoch FROM alive WHERE channel IN names ORDER BY channel, channel_no",
        (app_id, prefix, first, prefix + "\U0010ffff", limit),
    )
    found: dict[str, list[str]] = {}
    for channel, epoch in rows:
        found.setdefault(channel, []).append(epoch)
    return [ChannelEpochs(channel, epochs) for channel, epochs in found.items()]


def read_usage(connection: sqlite3.Connection, app_id: str, month: str) -> Usage:
    events, size = connection.execute(
        "SELECT coalesce(max(events), 0), coalesce(max(bytes), 0) FROM usage WHERE app_id = ? AND month = ?",
        (app_id, month),
    ).fetchone()
    (stored,) = connection.execute(
        "SELECT coalesce(max(bytes), 0) FROM stored WHERE app_id = ?", (app_id,)
    ).fetchone()
    reached = connection.execute(
        "SELECT quota, percent FROM quotas_reached WHERE app_id = ? AND month = ?", (app_id, month)
    )
    return Usage(events=events, bytes=size, stored_bytes=stored, reached=frozenset(reached))


def read_usages(connection: sqlite3.Connection, log_id: str, app_ids: Collection[str], month: str) -> Usages:
    connection.execute("BEGIN")
    try:
        by_app = {app_id: read_usage(connection, app_id, month) for app_id in app_ids}
        return Usages(read_cursor(connection, log_id), by_app)
    finally:
        connection.execute("ROLLBACK")


def read_kinds(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT app_id, kind FROM kinds WHERE EXISTS (SELECT 1 FROM events WHERE events.kind_no = kinds.kind_no)"
    ).fetchall()


def read_forgotten(connection: sqlite3.Connection) -> list[str]:
    return [app_id for (app_id,) in connection.execute("SELECT app_id FROM forgotten ORDER BY app_id")]


def read_history(connection: sqlite3.Connection, query: HistoryQuery) -> EventPage:
    row = connection.execute(
        "SELECT channel_no FROM channels WHERE app_id = ? AND channel = ? AND epoch = ?",
        (query.app_id, query.channel, query.epoch),
    ).fetchone()
    if row is None:
        return EventPage([], more=False)
    conditions = ["channel_no = ?"]
    values: list[object] = [row[0]]
    for condition, value in (
        ("seq > ?", query.after),
        ("seq < ?", query.before),
        ("type = ?", query.type),
        ("ts_us >= ?", query.from_us),
        ("ts_us < ?", query.to_us),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(max(-INTEGER_MAX, min(value, INTEGER_MAX)) if isinstance(value, int) else value)
    order = "DESC" if query.after is None else "ASC"
    rows = connection.execute(
        "SELECT seq, id, type, user_id, ts_us, CAST(data AS BLOB) FROM events "
        f"WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT ?",
        (*values, query.limit + 1),
    )
    page = page_of(query, rows)
    rows.close()
    return page
