"""How a cell is added to a row, and rows to each other: the arithmetic that all makes and queries share. Pure."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter

from polyglotd.model.latency import merged
from polyglotd.store.analytics import LEVELS, AppKey, Cell, ChannelKey, RollupRow, RollupSettings, Sketch
from polyglotd.store.user_sketch import both, count_all


def added(row: RollupRow | None, ts: int, cell: Cell) -> RollupRow:
    """The bucket's row with the cell in it."""
    before = RollupRow(ts) if row is None else row
    users, unique_users = before.users, before.unique_users
    if cell.users:
        users, unique_users = both(users, cell.users) if users else (cell.users, cell.unique_users)
    unnamed = cell.unnamed or before.publishers > before.unique_users
    return RollupRow(
        ts=ts,
        events=before.events + cell.events,
        bytes=before.bytes + cell.bytes,
        deliveries=before.deliveries + cell.deliveries,
        connections_peak=max(before.connections_peak, cell.connections_peak),
        latency=merged((before.latency, cell.latency)) if cell.latency.buckets else before.latency,
        publishers=unique_users + unnamed,
        unique_users=unique_users,
        users=users,
    )


Counts = tuple[int, int, int, int, Sketch]
"""What rows of apps and of channels have in common: events, bytes, publishers, unique users, and their sketch."""

_bucket_of = itemgetter(0, 2, 3)  # of a ChannelKey: its app's in the same bucket


def counts_of(row: RollupRow) -> Counts:
    return row.events, row.bytes, row.publishers, row.unique_users, row.users


def sought(cells: Mapping[ChannelKey, Cell], begun: Collection[AppKey]) -> Sequence[ChannelKey]:
    """Those which may have a row. `begun`: buckets that their app had a row in before. In no other has any channel
    one, and in most batches most buckets are new: nothing is to be looked for there."""
    old = set(map(_bucket_of, cells)).intersection(begun)
    return [key for key in cells if _bucket_of(key) in old] if old else []


def channel_rows(
    cells: Mapping[ChannelKey, Cell],
    known: Mapping[ChannelKey, RollupRow],
    channels: Mapping[AppKey, int],
    settings: RollupSettings,
) -> tuple[list[tuple[ChannelKey, Counts]], dict[AppKey, int]]:
    """The rows with the cells in them, of channels that have one or whose bucket has room for one more; and how many
    have one, where that are more now. `known` and `channels`: both as they were."""
    bounds = {level: settings.channels_at(level) for level in LEVELS}
    rows: list[tuple[ChannelKey, Counts]] = []
    grown: dict[AppKey, int] = {}
    for key, cell in cells.items():
        row = known.get(key)
        if row is not None:
            rows.append((key, counts_of(added(row, row.ts, cell))))
            continue
        bucket = _bucket_of(key)
        count = grown.get(bucket)
        if count is None:
            count = channels.get(bucket, 0)
        if count < bounds[key[2]]:
            grown[bucket] = count + 1
            users = cell.unique_users
            rows.append((key, (cell.events, cell.bytes, users + cell.unnamed, users, cell.users)))
    return rows, grown


def summed(ts: int, rows: Sequence[RollupRow]) -> RollupRow:
    """All of them as one bucket, without its sketch."""
    if not rows:
        return RollupRow(ts)
    if len(rows) == 1:
        return RollupRow(
            ts, *(getattr(rows[0], name) for name in RollupRow.__struct_fields__ if name not in ("ts", "users"))
        )
    unique_users = count_all(row.users for row in rows)
    return RollupRow(
        ts=ts,
        events=sum(row.events for row in rows),
        bytes=sum(row.bytes for row in rows),
        deliveries=sum(row.deliveries for row in rows),
        connections_peak=max((row.connections_peak for row in rows), default=0),
        latency=merged(row.latency for row in rows),
        publishers=unique_users + any(row.publishers > row.unique_users for row in rows),
        unique_users=unique_users,
    )
