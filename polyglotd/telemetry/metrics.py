"""Prometheus' text from snapshots: nothing is counted here, hot paths keep plain integers of their own.

The composition root builds a `MetricsPage` with a function that takes a `Snapshot`; `GET /metrics` renders it in a
worker thread. Every label is bounded: reasons are the contract's, readers the log's, apps come with the operator's
consent alone (`[metrics] per_app`) and up to `APPS_MAX`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from polyglotd.gateway.requests import AppCounts, GatewayCounters
from polyglotd.log.interface import LogStats
from polyglotd.plane.interface import PlaneCounters
from polyglotd.plane.native.counters import DriverCounters
from polyglotd.processor.pipeline import StageHealth
from polyglotd.processor.report import ProcessorReport
from polyglotd.processor.webhooks.delivery_counts import DeliveriesHealth
from polyglotd.store.interface import StoreStats
from polyglotd.store.webhooks import QueueStats
from polyglotd.telemetry.driver_metrics import busiest, driver_app_metrics, driver_metrics

APPS_MAX = 1_000  # beyond, the smaller ones are summed under `_other`, which is no app's id
OTHER_APPS = "_other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the parts of the daemon say at one moment. None: that part does not run here."""

    plane: PlaneCounters | None = None
    gateway: GatewayCounters | None = None
    refusals: Mapping[str, int] = field(default_factory=dict)  # by reason, the gateway's own
    processor: ProcessorReport | None = None
    log: LogStats | None = None
    store: StoreStats | None = None
    webhooks: QueueStats | None = None
    stored_position: int | None = None  # of the log, in the store
    ready: bool = False
    log_lines_dropped: int = 0
    apps: Mapping[str, AppCounts] | None = None  # None: the operator does not want them


class MetricsPage:
    """`snapshot` is called on the thread that renders."""

    def __init__(self, snapshot: Callable[[], Snapshot], *, release: str, parts: Mapping[str, str]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SnapshotCollector(snapshot, {"version": release} | dict(parts)))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot], build: dict[str, str]) -> None:
        self._snapshot = snapshot
        self._build = build

    def describe(self) -> list[Metric]:
        """Nothing: registering must not take a snapshot."""
        return []

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot()
        yield InfoMetricFamily("polyglot_build", "Which release runs, on which parts.", self._build)
        yield _gauge("ready", "1 while new clients are welcome.", int(snapshot.ready))
        yield _counter("log_lines_dropped", "Log lines that nobody read in time.", snapshot.log_lines_dropped)
        if snapshot.plane is not None:
            yield from _plane(snapshot.plane, snapshot.refusals)
        if isinstance(snapshot.plane, DriverCounters):
            yield from driver_metrics(snapshot.plane)
        if snapshot.gateway is not None:
            yield from _gateway(snapshot.gateway)
        if snapshot.processor is not None:
            yield from _processor(snapshot.processor)
        if snapshot.log is not None:
            yield from _log(snapshot.log, snapshot.stored_position)
        if snapshot.store is not None:
            yield from _store(snapshot.store)
        if snapshot.webhooks is not None:
            yield from _webhooks(snapshot.webhooks)
        if snapshot.apps is not None:
            yield from _apps(snapshot.apps)
            if isinstance(snapshot.plane, DriverCounters):
                yield from driver_app_metrics(busiest(snapshot.plane.apps, APPS_MAX, OTHER_APPS))


_PLANE_GAUGES = {
    "connections": "Connections now: sockets, long-poll sessions, event streams.",
    "subscriptions": "Joined channels now, over all connections.",
    "topics": "Channels with state now.",
    "queued_bytes": "Bytes that wait for slow clients now.",
}
_PLANE_COUNTERS = {
    "connects_total": "Connections that were accepted.",
    "handshakes_refused_total": "Connections that were refused.",
    "frames_in_total": "Messages from clients.",
    "frames_out_total": "Messages to clients.",
    "bytes_in_total": "Bytes from clients.",
    "bytes_out_total": "Bytes to clients.",
    "events_total": "Events that were admitted.",
    "signals_total": "Signals that were passed on.",
    "deliveries_total": "Events times the members that they went to.",
    "duplicates_total": "Publishes that repeated a known id.",
    "conflated_total": "Waiting events that a newer one of their type replaced.",
    "dropped_total": "Waiting events that a slow client lost to newer ones.",
    "slow_consumers_total": "Connections closed because they did not keep up.",
}


def _plane(counters: PlaneCounters, refusals: Mapping[str, int]) -> Iterator[Metric]:
    for name, text in _PLANE_GAUGES.items():
        yield _gauge(name, text, getattr(counters, name))
    for name, text in _PLANE_COUNTERS.items():
        yield _counter(name.removesuffix("_total"), text, getattr(counters, name))
    refused = CounterMetricFamily("polyglot_refusals", "What was refused, by its reason.", labels=("reason",))
    for reason in sorted(counters.refused_total.keys() | refusals.keys()):
        refused.add_metric((reason,), counters.refused_total.get(reason, 0) + refusals.get(reason, 0))
    yield refused


def _gateway(counters: GatewayCounters) -> Iterator[Metric]:
    yield _gauge("longpoll_sessions", "Long-poll sessions now.", counters.longpoll_sessions)
    yield _gauge("tails", "Tails of patterns and whole apps now.", counters.tails)
    yield _counter("tails_lagged", "How often such a tail was behind, or missed something.", counters.tails_lagged)
    yield _gauge("decisions_running", "Connects, joins and pushes that wait for their answer now.", counters.tasks)
    lost = counters.presence_changes_lost
    yield _counter("presence_changes_lost", "Changes of presence that could not be announced.", lost)
    untold = counters.occupancy_changes_lost
    yield _counter("occupancy_changes_lost", "Changes of who is where that webhooks will not hear of.", untold)


_STAGE_COUNTERS = {
    "events_total": "Events that a stage of the processor has done.",
    "failures_total": "Writes that the store of a stage did not take.",
    "set_aside_total": "Records that the store of a stage refused for good.",
}
_STAGE_GAUGES = {
    "lag_events": "About how many events of the log a stage has yet to do.",
    "lag_bytes": "Bytes of the log that a stage has yet to do.",
    "lag_seconds": "How long the oldest event waits that a stage has read and not done.",
    "waiting": "1 where a stage can't go on; /health says what it waits for.",
}


def _processor(report: ProcessorReport) -> Iterator[Metric]:
    yield _gauge("processor_up", "1 where the processor runs and says how it is.", int(report.problem is None))
    restarts = report.restarts_total
    yield _counter("processor_restarts", "How often its process ended and was started again.", restarts)
    health = report.health
    if health is None:
        return
    for name, text in _STAGE_COUNTERS.items():
        counter = CounterMetricFamily(f"polyglot_stage_{name.removesuffix('_total')}", text, labels=("stage",))
        for stage, its in health.stages.items():
            counter.add_metric((stage,), getattr(its, name))
        yield counter
    for name, text in _STAGE_GAUGES.items():
        gauge = GaugeMetricFamily(f"polyglot_stage_{name}", text, labels=("stage",))
        for stage, its in health.stages.items():
            gauge.add_metric((stage,), _stage_gauge(its, name))
        yield gauge
    yield _counter("pruned_events", "Stored events that were too old.", health.pruned_total)
    if health.deliveries is not None:
        yield from _deliveries(health.deliveries)


def _deliveries(health: DeliveriesHealth) -> Iterator[Metric]:
    yield _by(
        CounterMetricFamily("polyglot_webhook_attempts", "POSTs to webhooks' endpoints.", labels=("outcome",)),
        {"succeeded": health.sent_total, "failed": health.failed_total},
    )
    yield _by(
        CounterMetricFamily("polyglot_webhook_messages", "Messages that came to an end.", labels=("outcome",)),
        {"delivered": health.sent_total, "dead": health.dead_total},
    )
    yield _counter("webhook_items_delivered", "Items of messages that were delivered.", health.items_sent_total)
    yield _gauge("webhook_endpoints", "Endpoints that get messages now.", health.endpoints)
    yield _gauge("webhook_circuits_open", "Those that fail, and are only probed.", health.circuits_open)
    yield _by(
        GaugeMetricFamily("polyglot_webhook_sending_messages", "Messages being sent now.", labels=("lane",)),
        {name: lane.sending for name, lane in health.lanes.items()},
    )
    yield _by(
        GaugeMetricFamily("polyglot_webhook_due_messages", "Those that wait for others to end.", labels=("lane",)),
        {name: lane.waiting for name, lane in health.lanes.items()},
    )


def _stage_gauge(stage: StageHealth, name: str) -> float:
    match name:
        case "lag_seconds":
            return stage.lag_s
        case "waiting":
            return int(stage.waiting_for is not None)
        case _:
            return float(getattr(stage, name))


def _log(stats: LogStats, stored_position: int | None) -> Iterator[Metric]:
    yield _counter("log_bytes", "Bytes that the event log ever took.", stats.end)
    yield _gauge("log_unread_bytes", "Bytes of the log that its slowest reader has yet to read.", stats.unread_bytes)
    yield _gauge("log_unread_bytes_max", "At this many, publishes to logged kinds are refused.", stats.bytes_max)
    yield _gauge("log_segments", "Files of the log.", stats.segments)
    yield _gauge("log_channels", "Channels whose place the log knows.", stats.channels)
    yield _gauge("log_failed", "1 where the log takes nothing any more.", int(stats.failed is not None))
    behind = GaugeMetricFamily("polyglot_log_reader_behind_bytes", "What it has yet to read.", labels=("reader",))
    for reader, position in stats.readers.items():
        behind.add_metric((reader,), max(0, stats.end - position))
    yield behind
    if stored_position is not None:
        lag = max(0, stats.end - stored_position)
        yield _gauge("store_behind_bytes", "Bytes of the log that are not in the store yet.", lag)


def _webhooks(stats: QueueStats) -> Iterator[Metric]:
    yield _gauge("webhook_waiting_messages", "Messages that were made and are not through.", stats.waiting)
    yield _gauge("webhook_behind_items", "Items that endpoints have yet to look at.", stats.behind)
    yield _gauge("webhook_queue_bytes", "Bytes of all that waits or is kept for webhooks.", stats.item_bytes)
    yield _gauge("webhook_dead_letters", "Messages that were given up and are kept.", stats.dead)
    yield _gauge("webhook_lost_items", "Items that gave way to the bound, of endpoints that are there.", stats.lost)


def _store(stats: StoreStats) -> Iterator[Metric]:
    yield _gauge("store_file_bytes", "Size of the event store.", stats.file_bytes)
    yield _gauge("store_wal_bytes", "Size of the event store's write-ahead log.", stats.wal_bytes)
    yield _gauge("store_set_aside_records", "Records that the store refused and keeps apart.", stats.set_aside)


def _apps(apps: Mapping[str, AppCounts]) -> Iterator[Metric]:
    connections = GaugeMetricFamily("polyglot_app_connections", "Connections of an app now.", labels=("app_id",))
    topics = GaugeMetricFamily("polyglot_app_topics", "Channels of an app with state now.", labels=("app_id",))
    by_size = sorted(apps.items(), key=lambda app: (-app[1].connections, app[0]))
    shown = dict(by_size[:APPS_MAX])
    if rest := by_size[APPS_MAX:]:
        shown[OTHER_APPS] = AppCounts(sum(one.connections for _, one in rest), sum(one.topics for _, one in rest))
    for app_id, counts in shown.items():
        connections.add_metric((app_id,), counts.connections)
        topics.add_metric((app_id,), counts.topics)
    yield connections
    yield topics


def _by(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric((label,), value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"polyglot_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"polyglot_{name}", text, value=value)
