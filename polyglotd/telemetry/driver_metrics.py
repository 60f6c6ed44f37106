"""What only the driver counts, in Prometheus' shapes. Called by `metrics` where the native plane serves.

The driver's buckets are fine, four to a doubling; here some are merged, at bounds that are theirs as well, so that
each count is exact.
"""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from polyglotd.model.latency import LATENCY_BUCKETS, Latency, merged, upper_bound_us
from polyglotd.plane.native.counters import AppTally, DriverCounters, LoopTally

# Two to a doubling where deliveries should be, fewer where something is wrong.
BOUNDS_US = (
    16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
    16384, 32768, 65536, 131072, 524288, 2097152, 8388608,
)  # fmt: skip
_AFTER = {upper_bound_us(at): at + 1 for at in range(LATENCY_BUCKETS)}  # bound → how many buckets end there or before
_MERGED = tuple((bound / 1e6, _AFTER[bound]) for bound in BOUNDS_US)

_COUNTERS = {
    "turns_total": "Turns of the driver's loops.",
    "wakes_total": "Times that the driver woke Python.",
    "reads_total": "System calls that read sockets.",
    "writes_total": "System calls that wrote to sockets.",
    "log_writes_total": "Writes to the event log.",
    "log_refused_total": "Events that were refused because the log took no more.",
    "accepts_failed_total": "Connections that the kernel could not give us.",
    "records_held_back_total": "Turns in which no socket was read, for Python was behind.",
    "shares_held_back_total": "Sockets that were not read, for Python was behind and their app kept it busiest.",
}
_APP_COUNTERS = {
    "events_total": "Events of an app that were admitted.",
    "deliveries_total": "Events of an app times the members that they went to.",
    "conflated_total": "Waiting events of an app that a newer one of their type replaced.",
    "dropped_total": "Waiting events of an app that a slow client lost to newer ones.",
}
_LATENCY = "From a publish to the last byte of its event handed to the kernel, for the last of its members"


def driver_metrics(counters: DriverCounters) -> Iterator[Metric]:
    for name, text in _COUNTERS.items():
        yield CounterMetricFamily(f"polyglot_driver_{name.removesuffix('_total')}", text, getattr(counters, name))
    unread = "Bytes of records that Python has yet to take."
    yield GaugeMetricFamily("polyglot_driver_records_unread_bytes", unread, counters.records_unread_bytes)
    yield from _loops(counters.loops)
    by_kind = HistogramMetricFamily("polyglot_delivery_latency_seconds", f"{_LATENCY}, by kind.", labels=("kind",))
    for kind in counters.latency_us:
        _add(by_kind, kind, counters.latency(kind))
    yield by_kind


def _loops(loops: Sequence[LoopTally]) -> Iterator[Metric]:
    cpu = CounterMetricFamily(
        "polyglot_driver_loop_cpu_seconds", "CPU time of the thread of one of the driver's loops.", labels=("loop",)
    )
    turns = CounterMetricFamily("polyglot_driver_loop_turns", "Turns of one of the driver's loops.", labels=("loop",))
    connections = GaugeMetricFamily(
        "polyglot_driver_loop_connections", "Connections of the apps of one of the driver's loops.", labels=("loop",)
    )
    for at, loop in enumerate(loops):
        cpu.add_metric((str(at),), loop.cpu_us_total / 1e6)
        turns.add_metric((str(at),), loop.turns_total)
        connections.add_metric((str(at),), loop.connections)
    yield from (cpu, turns, connections)


def driver_app_metrics(apps: Mapping[str, AppTally]) -> Iterator[Metric]:
    """Of each app; the caller bounds how many there are."""
    label = ("app_id",)
    for name, text in _APP_COUNTERS.items():
        family = CounterMetricFamily(f"polyglot_app_{name.removesuffix('_total')}", text, labels=label)
        for app_id, tally in apps.items():
            family.add_metric((app_id,), getattr(tally, name))
        yield family
    queued = GaugeMetricFamily(
        "polyglot_app_queued_bytes", "Bytes that wait for slow clients of an app.", labels=label
    )
    latency = HistogramMetricFamily("polyglot_app_delivery_latency_seconds", f"{_LATENCY}, by app.", labels=label)
    for app_id, tally in apps.items():
        queued.add_metric((app_id,), tally.queued_bytes)
        _add(latency, app_id, tally.latency_us)
    yield queued
    yield latency


def busiest(apps: Mapping[str, AppTally], how_many: int, others: str) -> dict[str, AppTally]:
    """Those with the most deliveries of those with any, and the rest as one by the name `others`."""
    by_size = sorted(apps.items(), key=lambda app: (-app[1].deliveries_total, app[0]))
    shown = {app_id: tally for app_id, tally in by_size[:how_many] if tally.events_total or tally.deliveries_total}
    if rest := [tally for _, tally in by_size[how_many:]]:
        shown[others] = _sum(rest)
    return shown


def _sum(tallies: list[AppTally]) -> AppTally:
    return AppTally(
        **{name: sum(getattr(one, name) for one in tallies) for name in (*_APP_COUNTERS, "queued_bytes")},
        latency_us=merged(one.latency_us for one in tallies),
    )


def _add(family: HistogramMetricFamily, label: str, latency: Latency) -> None:
    """Cumulative, as Prometheus wants it."""
    counts = [latency.buckets.get(bucket, 0) for bucket in range(LATENCY_BUCKETS)]
    buckets = [(str(bound), float(sum(counts[:after]))) for bound, after in _MERGED]
    buckets.append(("+Inf", float(sum(counts))))
    family.add_metric((label,), buckets, latency.sum_us / 1e6)
