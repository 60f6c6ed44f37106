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
from polyglotd.store.analytics import LEVELS, AppKey, Cell, Deltas, Rollups, RollupSettings
from polyglotd.store.interface import RecordRefused, SetAside

COUNT_MAX = (1 << 53) - 1  # of one meter: more is damage, and sums have to stay within the stores' 63 bits
TIME_MAX_US = 253_402_300_800 * 1_000_000  # the year 10000


def deltas_of(records: Sequence[ReadRecord], kept_from: Mapping[int, int]) -> Deltas:
    """`kept_from`: of each level, the second from which on buckets are kept. Raises `RecordRefused`."""
    counted = [(index, record) for index, record in enumerate(records) if isinstance(record, Event | Meter)]
    events = [record for _, record in counted if isinstance(record, Event)]
    all_good = _all_good(events)
    for index, record in counted:
        if isinstance(record, Meter):
            _check_meter(index, record)
        elif not all_good:
            _check_event(index, record)
    deltas = Deltas(newest_us=max((record.ts_us for _, record in counted), default=0))
    forgotten = {record.app_id: index for index, record in enumerate(records) if isinstance(record, AppForgotten)}
    if forgotten:
        deltas.forgotten.update(forgotten)
        counted = [(index, record) for index, record in counted if index > forgotten.get(record.app_id, -1)]
        events = [record for _, record in counted if isinstance(record, Event)]
    if events:
        from polyglotd.processor.event_columns import count_events  # and NumPy

        deltas.apps, deltas.channels = count_events(events, kept_from)
    for _, record in counted:
        if isinstance(record, Meter):
            _count_meter(deltas.apps, record, kept_from)
    return deltas


def _count_meter(apps: dict[AppKey, Cell], meter: Meter, kept_from: Mapping[int, int]) -> None:
    second = meter.ts_us // 1_000_000
    for level in LEVELS:
        ts = second - second % level
        if ts < kept_from[level]:
            continue
        cell = apps.setdefault((meter.app_id, level, ts), Cell())
        cell.events += meter.events
        cell.bytes += meter.bytes
        cell.deliveries += meter.deliveries
        cell.connections_peak = max(cell.connections_peak, meter.connections_peak)
        cell.latency = merged((cell.latency, meter.latency)) if cell.latency.buckets else meter.latency


def _all_good(events: Sequence[Event]) -> bool:
    """Whether `_check_event` has nothing to say of any, told from all of them at once."""
    times = [event.ts_us for event in events]
    if min(times, default=0) < 0 or max(times, default=0) >= TIME_MAX_US:
        return False
    texts = {event.channel for event in events} | {event.app_id for event in events}
    texts |= {event.user_id for event in events if event.user_id is not None}
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_event(index: int, event: Event) -> None:
    if not 0 <= event.ts_us < TIME_MAX_US:
        raise RecordRefused(index, "the time is out of range")
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
