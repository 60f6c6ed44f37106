"""How a cell is added to a row, and rows to each other: the arithmetic that all makes and queries share. Pure."""

from collections.abc import Sequence

from polyglotd.model.latency import merged
from polyglotd.store.analytics import Cell, RollupRow
from polyglotd.store.user_sketch import count_all, with_users


def added(row: RollupRow | None, ts: int, cell: Cell) -> RollupRow:
    """The bucket's row with the cell in it."""
    before = RollupRow(ts) if row is None else row
    users, unique_users = before.users, before.unique_users
    if cell.users:
        users, unique_users = with_users(before.users, cell.users)
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
