"""Percentiles between two readings of a server's histogram."""

import pytest

from bench.server_histogram import buckets, percentile_us

METRICS = """\
# TYPE polyglot_latency_seconds histogram
polyglot_latency_seconds_bucket{kind="room",le="0.001"} 10.0
polyglot_latency_seconds_bucket{kind="room",le="0.002"} 20.0
polyglot_latency_seconds_bucket{kind="room",le="+Inf"} 20.0
polyglot_latency_seconds_bucket{kind="post",le="0.001"} 7.0
polyglot_latency_seconds_count{kind="room"} 20.0
polyglot_other_seconds_bucket{kind="room",le="0.001"} 1.0
"""


def test_one_histogram_is_told_from_the_others_by_its_labels() -> None:
    assert buckets(METRICS, kind="room") == {0.001: 10, 0.002: 20, float("inf"): 20}
    assert buckets(METRICS, kind="post") == {0.001: 7}
    assert buckets(METRICS, kind="match") == {}


def test_only_what_happened_between_the_readings_counts() -> None:
    after = {0.001: 10.0, 0.002: 120.0, 0.004: 120.0, float("inf"): 120.0}
    assert percentile_us(buckets(METRICS, kind="room"), after, 0.5) == pytest.approx(1500)
    assert percentile_us({}, after, 0.05) == pytest.approx(600)


@pytest.mark.parametrize("after", [{}, {0.001: 10.0, 0.002: 20.0}])
def test_where_nothing_happened_there_is_none(after: "dict[float, float]") -> None:
    assert percentile_us(buckets(METRICS, kind="room"), after, 0.99) is None


def test_what_is_beyond_the_last_bound_is_at_least_that() -> None:
    assert percentile_us({}, {0.001: 1.0, float("inf"): 100.0}, 0.99) == pytest.approx(1000)
