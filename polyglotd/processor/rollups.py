"""From the log's records to what they add to the rollups, and the sink that brings it in.

`deltas_of` is pure. An event counts in the bucket of its own time, however late it comes; a meter in that of the
second that it is about. Events of logged kinds are counted one by one; those of memory kinds come as counts in
meters, as do deliveries, connections and latencies of all kinds. What is older than a level's rows are kept is left
out of it.

`RollupSink` is what a `LogStage` fills, once a second or so (`Gathered`): the deltas and the stage's cursor move in
one transaction, so that no record counts twice.
"""

from collections.abc import Callable, Mapping, Sequence

import trio

from polyglotd.log.interface import AppForgotten, Meter, ReadRecord
from polyglotd.model import Event, now_us
from polyglotd.model.latency import merged
from polyglotd.store.analytics import LEVELS, Cell, Deltas, Rollups, RollupSettings
from polyglotd.store.interface import RecordRefused, SetAside

COUNT_MAX = (1 << 53) - 1  # of one meter: more is damage, and sums have to stay within the stores' 63 bits
TIME_MAX_US = 253_402_300_800 * 1_000_000  # the year 10000


def deltas_of(records: Sequence[ReadRecord], kept_from: Mapping[int, int]) -> Deltas:
    """`kept_from`: of each level, the second from which on buckets are kept. Raises `RecordRefused`."""
    deltas = Deltas()
    apps: dict[tuple[str, int], Cell] = {}  # by second
    channels: dict[tuple[str, str, int], Cell] = {}
    for index, record in enumerate(records):
        if isinstance(record, Event):
            _check_event(index, record)
            _count_event(channels, record)
        elif isinstance(record, Meter):
            _check_meter(index, record)
            _count_meter(apps, record)
        elif isinstance(record, AppForgotten):
            app_id = record.app_id
            deltas.forgotten.add(app_id)
            for app_key in [key for key in apps if key[0] == app_id]:
                del apps[app_key]
            for channel_key in [key for key in channels if key[0] == app_id]:
                del channels[channel_key]
            continue
        else:
            continue
        deltas.newest_us = max(deltas.newest_us, record.ts_us)
    for (app_id, _, second), cell in channels.items():
        _add(apps.setdefault((app_id, second), Cell()), cell)
    for level in LEVELS:
        for (app_id, second), cell in apps.items():
            if (ts := second - second % level) >= kept_from[level]:
                _add(deltas.apps.setdefault((app_id, level, ts), Cell()), cell)
        for (app_id, channel, second), cell in channels.items():
            if (ts := second - second % level) >= kept_from[level]:
                _add(deltas.channels.setdefault((app_id, channel, level, ts), Cell()), cell)
    return deltas


def _count_event(channels: dict[tuple[str, str, int], Cell], event: Event) -> None:
    key = (event.app_id, event.channel, event.ts_us // 1_000_000)
    cell = channels.get(key)
    if cell is None:
        cell = channels[key] = Cell()
    cell.events += 1
    cell.bytes += len(event.data)
    if event.user_id is None:
        cell.unnamed = True
    else:
        cell.users.add(event.user_id)


def _count_meter(apps: dict[tuple[str, int], Cell], meter: Meter) -> None:
    cell = apps.setdefault((meter.app_id, meter.ts_us // 1_000_000), Cell())
    cell.events += meter.events
    cell.bytes += meter.bytes
    cell.deliveries += meter.deliveries
    cell.connections_peak = max(cell.connections_peak, meter.connections_peak)
    cell.latency = merged((cell.latency, meter.latency))


def _add(to: Cell, cell: Cell) -> None:
    to.events += cell.events
    to.bytes += cell.bytes
    to.deliveries += cell.deliveries
    to.connections_peak = max(to.connections_peak, cell.connections_peak)
    if cell.latency.buckets:
        to.latency = merged((to.latency, cell.latency))
    to.users |= cell.users
    to.unnamed = to.unnamed or cell.unnamed


def _check_event(index: int, event: Event) -> None:
    if not 0 <= event.ts_us < TIME_MAX_US:
        raise RecordRefused(index, "the time is out of range")
    if not (event.channel.isascii() and event.app_id.isascii() and (event.user_id or "").isascii()):
        for text in (event.app_id, event.channel, event.user_id or ""):
            _check_text(index, text)


def _check_meter(index: int, meter: Meter) -> None:
    latency = meter.latency
    counts = (meter.events, meter.bytes, meter.deliveries, meter.connections_peak, latency.sum_us, latency.events)
    if not all(0 <= count <= COUNT_MAX for count in counts) or not 0 <= meter.ts_us < TIME_MAX_US:
        raise RecordRefused(index, "a count or the time is out of range")
    _check_text(index, meter.app_id)


def _check_text(index: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RecordRefused(index, "a text is no UTF-8") from error


class RollupSink:
    """Satisfies `Sink` over a `Rollups`."""

    def __init__(self, rollups: Rollups, *, clock: Callable[[], int] = now_us) -> None:
        self._rollups = rollups
        self._clock = clock

    async def append(
        self, log_id: str, records: Sequence[ReadRecord], end: int, set_aside: Sequence[SetAside] = ()
    ) -> None:
        # Some 20,000 records take some 20 ms, for which nobody else is to wait.
        deltas = await trio.to_thread.run_sync(deltas_of, records, kept_from(self._rollups.settings, self._clock()))
        await self._rollups.add(log_id, deltas, end, set_aside)

    async def cursor(self, log_id: str) -> int:
        return (await self._rollups.progress(log_id)).position


def kept_from(settings: RollupSettings, at_us: int) -> Mapping[int, int]:
    """Of each level, when the first bucket begins that is kept."""
    first = {level: at_us // 1_000_000 - settings.keep_s(level) for level in LEVELS}
    return {level: second - second % level for level, second in first.items()}
