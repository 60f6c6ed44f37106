"""The driver's counters, as its thread has them at this moment."""

import msgspec

from polyglotd.model.latency import Latency
from polyglotd.plane.interface import PlaneCounters


class AppTally(msgspec.Struct):
    """What one app did."""

    events_total: int = 0
    deliveries_total: int = 0
    queued_bytes: int = 0  # now
    conflated_total: int = 0
    dropped_total: int = 0
    latency_us: Latency = Latency()


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
        return Latency(sum_us, {bucket: count for bucket, count in enumerate(buckets) if count})


decode_counters = msgspec.msgpack.Decoder(DriverCounters).decode
decode_latencies = msgspec.msgpack.Decoder(list[tuple[str, Latency]]).decode
