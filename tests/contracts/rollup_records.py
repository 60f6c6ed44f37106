"""Records of the log for tests of the rollups, and the plainest way to count them: look at each of them each time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from polyglotd.log.interface import AppForgotten, EpochBegun, Meter, ReadRecord
from polyglotd.model import Event
from polyglotd.model.latency import LATENCY_BUCKETS, Latency

BEGUN_S = 1_795_508_100  # 2026-11-24T08:15:00Z
APPS = ("app", "twin")
CHANNELS = ("room:a", "room:b", "post:café")


def event(
    ts_us: int, app_id: str = "app", channel: str = "room:a", user_id: str | None = "ann", data: bytes = b"12"
) -> Event:
    return Event("evt_1", app_id, channel, "e1", 1, "m", data, user_id, ts_us)


times = st.integers(0, 200_000).map(lambda s: BEGUN_S * 1_000_000 + s * 1_000_007)
counts = st.integers(0, 1_000)
latencies = st.just(Latency()) | st.builds(
    Latency, counts, st.dictionaries(st.integers(0, LATENCY_BUCKETS - 1), st.integers(1, 9), min_size=1, max_size=3)
)
users = st.none() | st.sampled_from([f"user-{number}" for number in range(12)])
records = st.one_of(
    st.builds(event, times, st.sampled_from(APPS), st.sampled_from(CHANNELS), users, st.binary(max_size=5)),
    st.builds(event, times, st.sampled_from(APPS), st.sampled_from(CHANNELS), users, st.binary(max_size=5)),
    st.builds(Meter, st.sampled_from(APPS), times, counts, counts, counts, counts, latencies),
    st.builds(EpochBegun, st.sampled_from(APPS), st.sampled_from(CHANNELS), st.just("e2")),
    st.builds(AppForgotten, st.sampled_from(APPS), st.just("e3")),
)


@dataclass(frozen=True)
class Sums:
    """What is to be found of an app or a channel in some time."""

    events: int = 0
    bytes: int = 0
    deliveries: int = 0
    connections_peak: int = 0
    latency_sum_us: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    publishers: int = 0
    unique_users: int = 0


def sums_of(log: Sequence[ReadRecord], app_id: str, channel: str | None, from_s: int, to_s: int) -> Sums:
    """`channel` None: of the whole app."""
    forgets = [at for at, record in enumerate(log) if isinstance(record, AppForgotten) and record.app_id == app_id]
    alive = log[forgets[-1] + 1 :] if forgets else log
    events = [
        r
        for r in alive
        if isinstance(r, Event)
        and r.app_id == app_id
        and channel in (None, r.channel)
        and from_s <= r.ts_us // 1_000_000 < to_s
    ]
    meters = [
        r
        for r in alive
        if isinstance(r, Meter) and r.app_id == app_id and channel is None and from_s <= r.ts_us // 1_000_000 < to_s
    ]
    latency: dict[int, int] = {}
    for meter in meters:
        for bucket, count in meter.latency.buckets.items():
            latency[bucket] = latency.get(bucket, 0) + count
    return Sums(
        events=len(events) + sum(m.events for m in meters),
        bytes=sum(len(e.data) for e in events) + sum(m.bytes for m in meters),
        deliveries=sum(m.deliveries for m in meters),
        connections_peak=max((m.connections_peak for m in meters), default=0),
        latency_sum_us=sum(m.latency.sum_us for m in meters),
        latency=latency,
        publishers=len({e.user_id for e in events}),
        unique_users=len({e.user_id for e in events} - {None}),
    )
