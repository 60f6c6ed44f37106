"""Events of one batch by channel, app and time: counted in columns, for whoever makes deltas of them.

Called by `rollups` in a worker thread. Each level is folded from the one below, and the apps' seconds from those of
their channels, by sorting and adding whole columns, so that an event costs little of the interpreter's time. NumPy
comes with `user_sketch`'s library, and as there it is loaded by the first batch. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyglotd.model import Event
from polyglotd.store.analytics import LEVELS, NO_LATENCY, SECOND, AppKey, Cell, ChannelKey
from polyglotd.store.user_sketch import EXACT_MAX, mark_of, of_marks, with_users

Column = NDArray[Any]

_OWNERS = 1 << 38  # seconds until the year 10000 fit below it
_MARK_BITS = 32


class _Cells(NamedTuple):
    """A level's buckets, one at each place of the columns, in the order of owner and time."""

    owner: Column  # an index of names
    ts: Column
    first: Column  # the place in the batch of the first of its events
    events: Column
    bytes: Column
    unnamed: Column
    user_cell: Column  # of each user of each cell: whose it is, in order,
    user_mark: Column  # and which, each once in a cell


def count_events(
    events: Sequence[Event], kept_from: Mapping[int, int]
) -> tuple[dict[AppKey, Cell], dict[ChannelKey, Cell]]:
    """What they add to buckets of all levels, as far as these are kept."""
    names: dict[tuple[str, str], int] = {}  # of channels
    owner = [names.setdefault((event.app_id, event.channel), len(names)) for event in events]
    app_ids = list(dict.fromkeys(app_id for app_id, _ in names))
    app_numbers = {app_id: number for number, app_id in enumerate(app_ids)}
    users = {event.user_id for event in events} - {None}
    marks: dict[str | None, int] = {user: mark_of(user) for user in users if user is not None}
    by_mark = {mark: user for user, mark in marks.items() if user is not None}
    marks[None] = 0  # which is nobody's
    mark = np.array([marks[event.user_id] for event in events], dtype=np.int64)
    named = np.flatnonzero(mark)
    one_each = _Cells(
        owner=np.array(owner, dtype=np.int64),
        ts=np.array([event.ts_us for event in events], dtype=np.int64) // 1_000_000,
        first=np.arange(len(events)),
        events=np.ones(len(events), dtype=np.int64),
        bytes=np.array([len(event.data) for event in events], dtype=np.int64),
        unnamed=mark == 0,
        user_cell=named,
        user_mark=mark[named],
    )
    channels = _folded(one_each, SECOND)
    app_of = np.array([app_numbers[app_id] for app_id, _ in names], dtype=np.int64)
    apps = _folded(channels._replace(owner=app_of[channels.owner]), SECOND)
    app_cells: dict[AppKey, Cell] = {}
    channel_cells: dict[ChannelKey, Cell] = {}
    ids, channel_names = [app_id for app_id, _ in names], [channel for _, channel in names]
    for level in LEVELS:
        channels, apps = _folded(channels, level), _folded(apps, level)
        kept = _kept(channels, kept_from[level])
        owners = kept.owner.tolist()
        keys = zip(
            map(ids.__getitem__, owners), map(channel_names.__getitem__, owners), repeat(level), kept.ts.tolist()
        )
        pairs = list(zip(keys, _cells(kept, by_mark), strict=False))
        # Those that come first are the ones that a bucket with many has room for.
        channel_cells.update(map(pairs.__getitem__, np.argsort(kept.first).tolist()))
        kept = _kept(apps, kept_from[level])
        app_keys = zip(map(app_ids.__getitem__, kept.owner.tolist()), repeat(level), kept.ts.tolist())
        app_cells.update(zip(app_keys, _cells(kept, by_mark), strict=False))
    return app_cells, channel_cells


def _folded(cells: _Cells, level: int) -> _Cells:
    """Those of one owner that are in the same bucket of this level as one."""
    ts = cells.ts - cells.ts % level
    key = cells.owner * _OWNERS + ts
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = _begins(key)
    first = np.flatnonzero(begins)
    became = np.empty(len(key), dtype=np.int64)
    became[order] = np.cumsum(begins) - 1
    users = became[cells.user_cell] << _MARK_BITS | cells.user_mark
    users.sort()
    users = users[_begins(users)]
    return _Cells(
        owner=key[first] // _OWNERS,
        ts=key[first] % _OWNERS,
        first=np.minimum.reduceat(cells.first[order], first),
        events=np.add.reduceat(cells.events[order], first),
        bytes=np.add.reduceat(cells.bytes[order], first),
        unnamed=np.logical_or.reduceat(cells.unnamed[order], first),
        user_cell=users >> _MARK_BITS,
        user_mark=users & ((1 << _MARK_BITS) - 1),
    )


def _begins(ordered: Column) -> Column:
    """Where another value is than at the place before."""
    begins = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return begins


def _kept(cells: _Cells, kept_from: int) -> _Cells:
    is_kept = cells.ts >= kept_from
    if is_kept.all():
        return cells
    users = is_kept[cells.user_cell]
    became = np.cumsum(is_kept) - 1
    return _Cells(
        owner=cells.owner[is_kept],
        ts=cells.ts[is_kept],
        first=cells.first[is_kept],
        events=cells.events[is_kept],
        bytes=cells.bytes[is_kept],
        unnamed=cells.unnamed[is_kept],
        user_cell=became[cells.user_cell[users]],
        user_mark=cells.user_mark[users],
    )


def _cells(cells: _Cells, by_mark: Mapping[int, str]) -> Iterator[Cell]:
    sketches, unique_users = _sketches(cells, by_mark)
    return map(
        Cell,
        cells.events.tolist(),
        cells.bytes.tolist(),
        repeat(0),
        repeat(0),
        repeat(NO_LATENCY),
        sketches,
        unique_users,
        cells.unnamed.tolist(),
    )


def _sketches(cells: _Cells, by_mark: Mapping[int, str]) -> tuple[list[bytes], list[int]]:
    many = np.bincount(cells.user_cell, minlength=len(cells.ts))
    ends = np.cumsum(many)
    marks = cells.user_mark.astype("<u4").tobytes()
    counts = many.tolist()
    sketches = [
        of_marks(marks[4 * (end - count) : 4 * end], count) if count <= EXACT_MAX else b""
        for end, count in zip(ends.tolist(), counts, strict=True)
    ]
    for at in np.flatnonzero(many > EXACT_MAX).tolist():
        users = cells.user_mark[ends[at] - counts[at] : ends[at]].tolist()
        # Not in the order of their marks, which would mislead the library's estimate: it takes it for chance.
        sketches[at], counts[at] = with_users(b"", sorted(by_mark[mark] for mark in users))
    return sketches, counts
