"""The answer of `analytics` as Structs."""

from msgspec import UNSET, UnsetType

from polyglotd.gateway.http.shapes import Timestamp, ToClient


class LatencyView(ToClient):
    """From a publish to the last byte of its event handed to the kernel, of events that somebody got. Percentiles
    come from the added up histograms, to about a tenth; what waits for slow clients is not waited for."""

    events: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


class AnalyticsCounts(ToClient, omit_defaults=True, kw_only=True):
    """Of the step that begins at `ts`, or of all of them. `events` and `bytes` (of `data`) are those of all kinds;
    `publishers` and `unique_users` of logged ones: users who published, and for `publishers` one more where an API
    key published that named no user. Exact up to some hundred, to some percent beyond. `deliveries`: events times the
    members that they went to. A channel has neither deliveries nor connections nor latency of its own. `latency`:
    null where nobody got anything."""

    ts: Timestamp | UnsetType = UNSET
    events: int
    bytes: int
    publishers: int
    unique_users: int
    deliveries: int | UnsetType = UNSET
    connections_peak: int | UnsetType = UNSET
    latency: LatencyView | None | UnsetType = UNSET


class Analytics(ToClient, omit_defaults=True, rename={"from_": "from"}):
    """`counted_until`: what was logged before it is in the counts; null: nothing was counted yet."""

    app_id: str
    from_: Timestamp
    to: Timestamp
    step: str
    counted_until: Timestamp | None
    total: AnalyticsCounts
    series: list[AnalyticsCounts]
    channel: str | UnsetType = UNSET
