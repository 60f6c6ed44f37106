"""Buckets of latencies: the same borders as the driver's, sums, percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model.latency import LATENCY_BUCKETS, Latency, bucket_of, lower_bound_us, merged, upper_bound_us

times = st.integers(0, 50_000_000) | st.integers(0, 64)


def latency_of(times_us: list[int]) -> Latency:
    buckets: dict[int, int] = {}
    for us in times_us:
        buckets[bucket_of(us)] = buckets.get(bucket_of(us), 0) + 1
    return Latency(sum(times_us), buckets)


@pytest.mark.parametrize(
    ("us", "bucket"),
    [(-5, 0), (0, 0), (1, 1), (3, 3), (4, 4), (5, 5), (7, 7), (8, 8), (9, 8), (10, 9), (16, 12), (1_000, 35)],
)
def test_a_time_has_the_bucket_that_the_format_says(us: int, bucket: int) -> None:
    """docs/log-format.md; the driver's are checked by the contract of the planes."""
    assert bucket_of(us) == bucket


@pytest.mark.parametrize("bucket", range(LATENCY_BUCKETS))
def test_a_bucket_holds_the_times_between_its_bounds(bucket: int) -> None:
    assert bucket_of(int(lower_bound_us(bucket))) == bucket
    assert bucket_of(int(upper_bound_us(bucket)) - 1) == bucket


def test_what_takes_for_ever_is_in_the_last_bucket() -> None:
    assert bucket_of(10**15) == LATENCY_BUCKETS - 1


@given(st.lists(times, min_size=1, max_size=60), st.sampled_from([1, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_in_the_bucket_of_the_time_that_it_is(times_us: list[int], percent: float) -> None:
    rank = max(1, -(-len(times_us) * percent // 100))
    exact = sorted(times_us)[int(rank) - 1]
    found = latency_of(times_us).percentile_us(percent)
    assert lower_bound_us(bucket_of(exact)) <= found <= upper_bound_us(bucket_of(exact))


@given(st.lists(st.lists(times, max_size=20), max_size=5))
def test_merged_histograms_are_the_histogram_of_all(groups: list[list[int]]) -> None:
    assert merged(map(latency_of, groups)) == latency_of([us for group in groups for us in group])


def test_nothing_counted_takes_no_time() -> None:
    assert Latency().percentile_us(99) == 0
