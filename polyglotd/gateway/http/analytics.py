"""What an app or a channel did, over HTTP. OpenAPI says what each number is."""

import trio

from polyglotd.gateway.analytics import AT_ONCE_MAX, POINTS_MAX, AnalyticsPage, AnalyticsRequest
from polyglotd.gateway.http.analytics_shapes import Analytics, AnalyticsCounts, LatencyView
from polyglotd.gateway.http.answer import Answer, encode_json, json_text_answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.time_steps import parse_step
from polyglotd.model import check_channel, format_ts
from polyglotd.model.latency import Latency
from polyglotd.store.analytics import RollupRow

SECOND_US = 1_000_000


async def analytics(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    query = call.query(("from", "to", "step", "channel"))
    step, channel = query.text("step"), query.text("channel")
    request = AnalyticsRequest(
        channel=None if channel is None else check_channel(channel),
        from_us=query.time_us("from"),
        to_us=query.time_us("to"),
        step=None if step is None else parse_step(step),
    )
    page = await edge.gateway.analytics(caller, request)
    if len(page.series) <= AT_ONCE_MAX:
        return json_text_answer(encode_page(caller.app.app_id, channel, page))
    return json_text_answer(await trio.to_thread.run_sync(encode_page, caller.app.app_id, channel, page))


def encode_page(app_id: str, channel: str | None, page: AnalyticsPage) -> bytes:
    """The answer's JSON. Some ten µs a step."""
    return encode_json(_view(app_id, channel, page))


def _view(app_id: str, channel: str | None, page: AnalyticsPage) -> Analytics:
    until_us = page.counted_until_us
    view = Analytics(
        app_id=app_id,
        from_=format_ts(page.from_s * SECOND_US),
        to=format_ts(page.to_s * SECOND_US),
        step=page.step.name,
        counted_until=None if until_us is None else format_ts(until_us),
        total=_counts(page.total),
        series=[_point(row) for row in page.series],
    )
    if channel is not None:
        view.channel = channel
        return view
    for counts, row in ((view.total, page.total), *zip(view.series, page.series, strict=True)):
        counts.deliveries = row.deliveries
        counts.connections_peak = row.connections_peak
        counts.latency = _latency(row.latency)
    return view


def _counts(row: RollupRow) -> AnalyticsCounts:
    return AnalyticsCounts(
        events=row.events, bytes=row.bytes, publishers=row.publishers, unique_users=row.unique_users
    )


def _point(row: RollupRow) -> AnalyticsCounts:
    counts = _counts(row)
    counts.ts = format_ts(row.ts * SECOND_US)
    return counts


def _latency(latency: Latency) -> LatencyView | None:
    if not latency.buckets:
        return None
    p50, p90, p99 = (round(us / 1_000, 4) for us in latency.percentiles_us((50, 90, 99)))
    mean = round(latency.sum_us / latency.events / 1_000, 4)
    return LatencyView(events=latency.events, mean_ms=mean, p50_ms=p50, p90_ms=p90, p99_ms=p99)


_TIME = {"type": "string", "description": "RFC 3339, or seconds since 1970"}
ROUTES = [
    Route(
        "GET",
        "/apps/{app}/analytics",
        analytics,
        Doc(
            tag="analytics",
            summary="What the app or a channel did, step by step",
            needs="read",
            about="The range is widened to whole steps (days, weeks and months in UTC), and every step in it is"
            " there, with zeros where nothing happened. Events count at their own time, however late they were"
            " counted; `counted_until` says how far the counting has come. Without `from` it is the last hour by"
            " minute, or 60 steps where they are longer; without `step` the finest of a minute, an hour and a day"
            f" that is kept for so long. At most {POINTS_MAX} steps.",
            params=(
                Param("from", "From this time on.", _TIME),
                Param("to", "Up to this time; now, where it is absent.", _TIME),
                Param(
                    "step",
                    "`second`, `minute`, `hour`, `day`, `week`, `month`, or a number with `s`, `m`, `h`, `d`, `w`, as"
                    " `15m`, that fits into a day without rest.",
                    {"type": "string"},
                ),
                Param("channel", "Of this channel alone, which is of a logged kind.", {"type": "string"}),
            ),
            answer=Analytics,
            errors=(404, 422, 503),
        ),
    ),
]
