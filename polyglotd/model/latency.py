"""How long deliveries took, as counts in buckets: what both planes record, meters carry and rollups add up.

Four buckets for each doubling, the same as the driver's (native/src/core/counter.h), so that a time is known to about
a tenth. Histograms of any apps, nodes and hours can be added; percentiles are computed from the sum, at the very end.
"""

from collections.abc import Iterable, Sequence

import msgspec

LATENCY_BUCKETS = 108


def bucket_of(us: int) -> int:
    """The bucket that counts this time."""
    if us < 4:
        return max(us, 0)
    width = us.bit_length()  # 3 or more
    return min((width - 2) * 4 + ((us >> (width - 3)) & 3), LATENCY_BUCKETS - 1)


def lower_bound_us(bucket: int) -> float:
    """The least time of this bucket."""
    return 0.0 if bucket == 0 else upper_bound_us(bucket - 1)


def upper_bound_us(bucket: int) -> float:
    """Below it are the times of this bucket."""
    if bucket < 4:
        return bucket + 1.0
    width, quarter = bucket // 4 + 2, bucket % 4
    return float((5 + quarter) << (width - 3))


_BOUNDS_US = (0.0, *map(upper_bound_us, range(LATENCY_BUCKETS)))


class Latency(msgspec.Struct, frozen=True, array_like=True):
    """From a publish to the last byte of its event handed to the kernel, of some events."""

    sum_us: int = 0
    buckets: dict[int, int] = {}  # those that are not empty: how many events took so long

    @property
    def events(self) -> int:
        return sum(self.buckets.values())

    def percentile_us(self, percent: float) -> float:
        return self.percentiles_us((percent,))[0]

    def percentiles_us(self, percents: Sequence[float]) -> list[float]:
        """For each, in rising order, the time that so many of a hundred events did not exceed: within its bucket as
        if they were spread evenly. 0 where nothing was counted."""
        total, seen, found = self.events, 0, list[float]()
        ranks = [total * percent / 100 for percent in percents]
        for bucket in sorted(self.buckets):
            count = self.buckets[bucket]
            while len(found) < len(ranks) and count and seen + count >= ranks[len(found)]:
                low, high = _BOUNDS_US[bucket], _BOUNDS_US[bucket + 1]
                found.append(low + (high - low) * (ranks[len(found)] - seen) / count)
            seen += count
        return found + [0.0] * (len(percents) - len(found))


def merged(latencies: Iterable[Latency]) -> Latency:
    """All of them as one."""
    sum_us, buckets = 0, dict[int, int]()
    for latency in latencies:
        sum_us += latency.sum_us
        for bucket, count in latency.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
    return Latency(sum_us, buckets)
