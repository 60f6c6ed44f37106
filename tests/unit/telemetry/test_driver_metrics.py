"""What /metrics shows of the driver, read back with Prometheus' own parser."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from polyglotd.model.latency import LATENCY_BUCKETS, Latency, upper_bound_us
from polyglotd.plane.interface import PlaneCounters
from polyglotd.plane.native.counters import AppTally, DriverCounters, LoopTally
from polyglotd.telemetry.driver_metrics import BOUNDS_US
from polyglotd.telemetry.metrics import APPS_MAX, OTHER_APPS, MetricsPage, Snapshot

LATENCY = "polyglot_delivery_latency_seconds"
APP_LATENCY = "polyglot_app_delivery_latency_seconds"


def samples(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    page = MetricsPage(lambda: snapshot, release="1.2.3", parts={}).render().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def bucket_of(us: int) -> int:
    """The place of a time, looked up: the first bucket whose upper bound is above it."""
    return next(at for at in range(LATENCY_BUCKETS) if us < upper_bound_us(at))


def test_every_number_that_only_the_driver_counts_is_shown() -> None:
    plain = {"refused_total", "latency_us", "loops", "apps"}
    own = [
        name for name in DriverCounters.__struct_fields__ if name not in {*PlaneCounters.__struct_fields__, *plain}
    ]
    counters = DriverCounters()
    for place, name in enumerate(own, 1):
        setattr(counters, name, place)
    shown = samples(Snapshot(plane=counters))
    names = {name: f"polyglot_driver_{name}" for name in own}
    assert {name: shown[names[name],] for name in own} == {name: place for place, name in enumerate(own, 1)}


def test_each_loop_says_how_busy_it_is() -> None:
    loops = [LoopTally(connections=3, turns_total=40, cpu_us_total=2_500_000), LoopTally(turns_total=7)]
    shown = samples(Snapshot(plane=DriverCounters(loops=loops)))
    names = ("polyglot_driver_loop_connections", "polyglot_driver_loop_turns_total")
    assert [[shown[name, loop] for name in names] for loop in ("0", "1")] == [[3, 40], [0, 7]]
    assert [shown["polyglot_driver_loop_cpu_seconds_total", loop] for loop in ("0", "1")] == [2.5, 0]


def test_a_histogram_counts_each_time_at_its_bounds_exactly() -> None:
    times = [0, 15, 16, 17, 31, 32, 100, 5_000, 6_143, 6_144, 400_000, 8_388_607, 8_388_608, 10**9]
    buckets = [0] * LATENCY_BUCKETS
    for us in times:
        buckets[bucket_of(us) if us < 10**8 else LATENCY_BUCKETS - 1] += 1
    shown = samples(Snapshot(plane=DriverCounters(latency_us={"room": (sum(times), buckets)})))
    for bound in BOUNDS_US:
        assert shown[f"{LATENCY}_bucket", "room", str(bound / 1e6)] == sum(us < bound for us in times), bound
    assert shown[f"{LATENCY}_bucket", "room", "+Inf"] == shown[f"{LATENCY}_count", "room"] == len(times)
    assert shown[f"{LATENCY}_sum", "room"] == pytest.approx(sum(times) / 1e6)


def test_apps_are_shown_only_where_the_operator_wants_them() -> None:
    tally = AppTally(events_total=2, deliveries_total=3, latency_us=Latency(50, {bucket_of(20): 2}))
    counters = DriverCounters(apps={"shop": tally, "idle": AppTally()})
    assert not any("app" in name for name, *_ in samples(Snapshot(plane=counters)))
    shown = samples(Snapshot(plane=counters, apps={}))
    assert shown["polyglot_app_events_total", "shop"] == 2
    assert shown["polyglot_app_deliveries_total", "shop"] == 3
    assert shown[f"{APP_LATENCY}_bucket", "shop", str(16 / 1e6)] == 0
    assert shown[f"{APP_LATENCY}_bucket", "shop", str(24 / 1e6)] == 2
    assert not any("idle" in labels for _, *labels in shown)


def test_many_apps_share_one_series_and_nothing_is_lost() -> None:
    apps = {
        f"app-{number}": AppTally(
            events_total=1, deliveries_total=number, latency_us=Latency(number, {number % 7: 1})
        )
        for number in range(APPS_MAX + 5)
    }
    shown = samples(Snapshot(plane=DriverCounters(apps=apps), apps={}))
    deliveries = {
        labels[0]: value for (name, *labels), value in shown.items() if name == "polyglot_app_deliveries_total"
    }
    assert len(deliveries) == APPS_MAX + 1
    assert deliveries[OTHER_APPS] == 0 + 1 + 2 + 3 + 4
    assert sum(deliveries.values()) == sum(range(APPS_MAX + 5))
    assert shown[f"{APP_LATENCY}_count", OTHER_APPS] == 5


def test_what_an_older_driver_does_not_send_is_nothing() -> None:
    packed = msgspec.msgpack.encode({"connections": 1})
    assert msgspec.msgpack.decode(packed, type=DriverCounters).apps == {}
