"""The driver's counters, as its thread has them at this moment."""

from dataclasses import dataclass

import msgspec

from polyglotd.plane.interface import PlaneCounters

LATENCY_BUCKETS = 108


@dataclass(frozen=True, slots=True)
class Latency:
    """Publish → last byte handed to the kernel, of one kind: how many took how long."""

    sum_us: int
    buckets: list[int]

    def percentile_us(self, percent: float) -> float:
        """The upper bound of the bucket that holds it; 0 where nothing was counted."""
        total = sum(self.buckets)
        wanted, seen = total * percent / 100, 0
        for at, count in enumerate(self.buckets):
            seen += count
            if total and seen >= wanted:
                return upper_bound_us(at)
        return 0.0


def upper_bound_us(bucket: int) -> float:
    """Below it are the times of this bucket (native/src/core/counter.h: four for each doubling)."""
    if bucket < 4:
        return bucket + 1.0
    width, quarter = bucket // 4 + 2, bucket % 4
    return float((5 + quarter) << (width - 3))


class AppTally(msgspec.Struct):
    """What one app did."""

    events_total: int = 0
    deliveries_total: int = 0
    queued_bytes: int = 0  # now
    conflated_total: int = 0
    dropped_total: int = 0
    latency_us: tuple[int, dict[int, int]] = (0, {})  # sum, and the buckets that are not empty

    def latency(self) -> Latency:
        sum_us, used = self.latency_us
        return Latency(sum_us, [used.get(at, 0) for at in range(LATENCY_BUCKETS)])


class LoopTally(msgspec.Struct):
    """How busy one of the driver's loops is, on a thread of its own."""

    connections: int = 0  # now
    turns_total: int = 0
    cpu_us_total: int = 0


class DriverCounters(PlaneCounters):
    """What every plane counts, and what only the driver does."""

    turns_total: int = 0
    wakes_total: int = 0  # of Python
    reads_total: int = 0  # system calls
    writes_total: int = 0
    log_writes_total: int = 0
    log_refused_total: int = 0
    accepts_failed_total: int = 0
    records_unread_bytes: int = 0
    records_held_back_total: int = 0  # turns in which no socket was read, for Python was behind
    shares_held_back_total: int = 0  # sockets that were not read, for their app caused too many of the records
    latency_us: dict[str, tuple[int, list[int]]] = msgspec.field(default_factory=dict)  # by kind: sum, and buckets
    loops: list[LoopTally] = msgspec.field(default_factory=list)
    apps: dict[str, AppTally] = msgspec.field(default_factory=dict)  # all that were ever configured

    def latency(self, kind: str) -> Latency:
        sum_us, buckets = self.latency_us.get(kind, (0, []))
        return Latency(sum_us, buckets)


decode_counters = msgspec.msgpack.Decoder(DriverCounters).decode
