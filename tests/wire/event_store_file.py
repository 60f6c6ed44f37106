"""What the store has on disk, read beside the daemon's back."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_ROWS = """
    SELECT c.channel, c.epoch, e.seq, e.id, e.user_id FROM events e JOIN channels c USING (channel_no)
    WHERE c.app_id = ?
"""


class StoredEvent(NamedTuple):
    channel: str
    epoch: str
    seq: int
    id: str
    user_id: str | None


def stored_events(data: Path, app_id: str = "chat-app") -> list[StoredEvent]:
    """Every event of the app in DATA/events.db, and nothing was set aside."""
    with closing(sqlite3.connect(f"file:{data / 'events.db'}?mode=ro", uri=True, timeout=5)) as store:
        assert store.execute("SELECT why FROM set_aside").fetchall() == []
        return [StoredEvent(*row) for row in store.execute(_ROWS, (app_id,))]


class Counted(NamedTuple):
    """What the store says of an app, and what is in it."""

    usage_events: int  # over all months
    usage_bytes: int
    stored_events: int
    stored_bytes: int
    rows: int
    rows_bytes: int


def counted(data: Path, app_id: str = "chat-app") -> Counted:
    """At one moment."""
    with closing(sqlite3.connect(f"file:{data / 'events.db'}?mode=ro", uri=True, timeout=5)) as store:
        store.execute("BEGIN")
        usage = store.execute("SELECT total(events), total(bytes) FROM usage WHERE app_id = ?", (app_id,)).fetchone()
        stored = store.execute(
            "SELECT total(events), total(bytes) FROM stored WHERE app_id = ?", (app_id,)
        ).fetchone()
        rows = store.execute(
            "SELECT count(*), total(length(CAST(e.data AS BLOB))) FROM events e JOIN kinds k USING (kind_no) "
            "WHERE k.app_id = ?",
            (app_id,),
        ).fetchone()
    return Counted(*map(int, (*usage, *stored, *rows)))
