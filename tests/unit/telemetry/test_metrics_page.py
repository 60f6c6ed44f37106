"""What /metrics shows, read back with Prometheus' own parser."""

import re

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from polyglotd.gateway.requests import AppCounts
from polyglotd.log.interface import LogStats
from polyglotd.plane.interface import PlaneCounters
from polyglotd.processor.pipeline import ProcessorHealth, StageHealth
from polyglotd.processor.report import ProcessorReport
from polyglotd.processor.webhooks.delivery_counts import DeliveriesHealth
from polyglotd.processor.webhooks.lanes import LaneHealth
from polyglotd.store.interface import StoreStats
from polyglotd.store.webhooks import QueueStats
from polyglotd.telemetry.metrics import APPS_MAX, MetricsPage, Snapshot

STAGE = StageHealth(
    position=1, events_total=9, failures_total=2, set_aside_total=1, lag_events=7, lag_bytes=800, lag_s=1.5,
    waiting_for=None,
)  # fmt: skip
DELIVERIES = DeliveriesHealth(
    sent_total=5, items_sent_total=60, failed_total=3, dead_total=1, endpoints=4, circuits_open=2,
    lanes={"well": LaneHealth(sending=7, waiting=8), "failing": LaneHealth(sending=9, waiting=10)},
)  # fmt: skip


def samples(snapshot: Snapshot) -> dict[str, float]:
    page = MetricsPage(lambda: snapshot, release="1.2.3", parts={"plane": "asgi"}).render().decode()
    return {
        sample.name + "".join(f"{{{value}}}" for key, value in sample.labels.items() if key != "plane"): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_every_counter_of_the_plane_is_shown_under_its_name() -> None:
    counters = PlaneCounters()
    numbers = [name for name in PlaneCounters.__struct_fields__ if name != "refused_total"]
    for place, name in enumerate(numbers, 1):
        setattr(counters, name, place)
    shown = samples(Snapshot(plane=counters))
    assert {name: shown[f"polyglot_{name}"] for name in numbers} == {
        name: place for place, name in enumerate(numbers, 1)
    }


def test_refusals_of_plane_and_gateway_are_one_number_by_reason() -> None:
    counters = PlaneCounters(refused_total={"rate_limited": 2})
    shown = samples(Snapshot(plane=counters, refusals={"rate_limited": 3, "forbidden": 1}))
    assert shown["polyglot_refusals_total{rate_limited}"] == 5
    assert shown["polyglot_refusals_total{forbidden}"] == 1


def test_the_log_shows_how_far_its_readers_are_behind() -> None:
    stats = LogStats(
        end=1000, unread_bytes=400, bytes_max=4000, segments=2, channels=7, readers={"store": 600}, failed=None
    )
    shown = samples(Snapshot(log=stats, stored_position=500))
    assert shown["polyglot_log_bytes_total"] == 1000
    assert shown["polyglot_log_reader_behind_bytes{store}"] == 400
    assert shown["polyglot_store_behind_bytes"] == 500
    assert shown["polyglot_log_failed"] == 0
    assert samples(Snapshot(log=msgspec.structs.replace(stats, failed="disk full")))["polyglot_log_failed"] == 1


def test_parts_that_do_not_run_have_no_metrics() -> None:
    shown = samples(Snapshot(store=StoreStats(file_bytes=1, wal_bytes=2, set_aside=3)))
    assert shown["polyglot_store_wal_bytes"] == 2
    assert not any(name.startswith(("polyglot_log_unread", "polyglot_connections")) for name in shown)


def test_many_apps_share_one_series() -> None:
    apps = {f"app-{number}": AppCounts(connections=number, topics=1) for number in range(APPS_MAX + 5)}
    shown = samples(Snapshot(apps=apps))
    connections = {name: value for name, value in shown.items() if name.startswith("polyglot_app_connections")}
    assert len(connections) == APPS_MAX + 1
    assert connections["polyglot_app_connections{_other}"] == 0 + 1 + 2 + 3 + 4
    assert sum(connections.values()) == sum(range(APPS_MAX + 5))


def test_names_and_units_are_prometheus_own() -> None:
    everything = Snapshot(
        plane=PlaneCounters(),
        log=LogStats(end=0, unread_bytes=0, bytes_max=0, segments=0, channels=0, readers={}, failed=None),
        store=StoreStats(file_bytes=0, wal_bytes=0, set_aside=0),
        processor=ProcessorReport(
            where="shared",
            health=ProcessorHealth(stages={"store": STAGE}, pruned_total=1, deliveries=DELIVERIES),
        ),
        apps={"a": AppCounts(1, 1)},
    )
    page = MetricsPage(lambda: everything, release="1", parts={}).render().decode()
    for family in text_string_to_metric_families(page):
        assert re.fullmatch(r"(polyglot|process|python)_[a-z_]+", family.name)
        assert family.documentation
        assert all(sample.name.endswith("_total") for sample in family.samples) or family.type != "counter"


def test_each_stage_of_the_processor_shows_what_it_did_and_how_far_it_is_behind() -> None:
    stuck = msgspec.structs.replace(STAGE, waiting_for="the disk is full")
    health = ProcessorHealth(stages={"store": STAGE, "rollups": stuck}, pruned_total=4)
    shown = samples(Snapshot(processor=ProcessorReport(where="own", health=health, restarts_total=3)))
    assert (shown["polyglot_processor_up"], shown["polyglot_processor_restarts_total"]) == (1, 3)
    assert shown["polyglot_pruned_events_total"] == 4
    expected = {
        "events_total": 9, "failures_total": 2, "set_aside_total": 1, "lag_events": 7, "lag_bytes": 800,
        "lag_seconds": 1.5,
    }  # fmt: skip
    for stage in ("store", "rollups"):
        assert {name: shown[f"polyglot_stage_{name}{{{stage}}}"] for name in expected} == expected
    assert (shown["polyglot_stage_waiting{store}"], shown["polyglot_stage_waiting{rollups}"]) == (0, 1)


def test_a_processor_of_which_nothing_is_known_is_down() -> None:
    shown = samples(Snapshot(processor=ProcessorReport(where="own", health=None, problem="ended by signal 9")))
    assert shown["polyglot_processor_up"] == 0
    assert not any(name.startswith("polyglot_stage") for name in shown)


def test_the_process_itself_is_shown() -> None:
    assert samples(Snapshot())["process_open_fds"] > 0


def test_what_waits_for_webhooks_is_shown() -> None:
    shown = samples(Snapshot(webhooks=QueueStats(behind=1, item_bytes=2, waiting=3, dead=4, lost=5)))
    names = ("behind_items", "queue_bytes", "waiting_messages", "dead_letters", "lost_items")
    assert [shown[f"polyglot_webhook_{name}"] for name in names] == [1, 2, 3, 4, 5]


def test_what_came_of_webhooks_is_shown() -> None:
    health = ProcessorHealth(stages={}, pruned_total=0, deliveries=DELIVERIES)
    shown = samples(Snapshot(processor=ProcessorReport(where="own", health=health)))
    assert {name: value for name, value in shown.items() if name.startswith("polyglot_webhook")} == {
        "polyglot_webhook_attempts_total{succeeded}": 5,
        "polyglot_webhook_attempts_total{failed}": 3,
        "polyglot_webhook_messages_total{delivered}": 5,
        "polyglot_webhook_messages_total{dead}": 1,
        "polyglot_webhook_items_delivered_total": 60,
        "polyglot_webhook_endpoints": 4,
        "polyglot_webhook_circuits_open": 2,
        "polyglot_webhook_sending_messages{well}": 7,
        "polyglot_webhook_sending_messages{failing}": 9,
        "polyglot_webhook_due_messages{well}": 8,
        "polyglot_webhook_due_messages{failing}": 10,
    }


def test_a_processor_of_an_older_release_says_nothing_of_webhooks() -> None:
    health = ProcessorHealth(stages={"store": STAGE}, pruned_total=0)
    shown = samples(Snapshot(processor=ProcessorReport(where="separate", health=health)))
    assert not any(name.startswith("polyglot_webhook") for name in shown)
