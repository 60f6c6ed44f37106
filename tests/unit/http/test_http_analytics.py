"""Analytics over HTTP: the answer's shape, what the query may be, who may ask."""

import pytest
from http_rig import HttpRig

from polyglotd.model import format_ts, now_us
from polyglotd.model.latency import Latency
from polyglotd.store.analytics import HOUR, RollupRow

URL = "/apps/demo/analytics"


async def test_the_answer_has_the_contracts_shape(rig: HttpRig) -> None:
    hour_s = now_us() // 1_000_000 // HOUR * HOUR
    counted = RollupRow(hour_s, 3, 30, 12, 4, Latency(50_000, {35: 3}), publishers=2, unique_users=1)
    rig.rollups.rows["demo", None, HOUR] = [counted]
    answer = (await rig.call("GET", f"{URL}?step=hour", key=rig.key)).json
    assert list(answer) == ["app_id", "from", "to", "step", "counted_until", "total", "series"]
    assert (answer["app_id"], answer["step"], len(answer["series"])) == ("demo", "1h", 60)
    assert answer["to"] == format_ts((hour_s + HOUR) * 1_000_000)
    assert answer["from"] == answer["series"][0]["ts"] == format_ts((hour_s - 59 * HOUR) * 1_000_000)
    point = answer["series"][-1]
    assert next(iter(point)) == "ts"
    assert point.pop("ts") == format_ts(hour_s * 1_000_000)
    assert point == answer["total"]
    latency = point.pop("latency")
    assert point == {
        "events": 3, "bytes": 30, "deliveries": 12, "connections_peak": 4, "publishers": 2, "unique_users": 1,
    }  # fmt: skip
    assert latency["events"] == 3
    assert latency["mean_ms"] == pytest.approx(50 / 3, abs=0.001)
    assert 0.896 <= latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"] <= 1.024  # bucket 35
    empty = answer["series"][0]
    assert (empty["events"], empty["connections_peak"], empty["latency"]) == (0, 0, None)


async def test_of_a_channel_there_is_what_the_log_holds(rig: HttpRig) -> None:
    hour_s = now_us() // 1_000_000 // HOUR * HOUR
    rig.rollups.rows["demo", "room:café/1", HOUR] = [RollupRow(hour_s, 3, 30, publishers=2, unique_users=1)]
    answer = (await rig.call("GET", f"{URL}?step=1h&channel=room:caf%C3%A9%2F1", key=rig.key)).json
    assert answer["channel"] == "room:café/1"
    assert answer["total"] == {"events": 3, "bytes": 30, "publishers": 2, "unique_users": 1}
    assert answer["series"][-1].keys() == {"ts", "events", "bytes", "publishers", "unique_users"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("step=7m", "step"), ("step=", "step"), ("step=1m&step=1m", "step"), ("from=yesterday", "from"),
        ("to=2026-02-30T00:00:00Z", "to"), ("from=9&to=8", "to"), ("from=9&to=20", None), ("channel=room", "channel"),
        ("channel=ticker:a", "channel"), ("steps=1m", "steps"), ("from=0&step=second", "from"),
    ],
)  # fmt: skip
async def test_a_query_that_is_not_understood_is_refused(rig: HttpRig, query: str, field: str | None) -> None:
    response = await rig.call("GET", f"{URL}?{query}", key=rig.key)
    assert response.status == 422
    assert field is None or response.json["field"] == field


async def test_it_takes_a_key_with_the_scope_read_of_the_app(rig: HttpRig) -> None:
    assert (await rig.call("GET", URL)).status == 401
    narrow = await rig.tenant("narrow", scopes=frozenset({"publish", "presence"}))
    assert (await rig.call("GET", "/apps/narrow/analytics", key=narrow)).status == 403
    assert (await rig.call("GET", URL, key=narrow)).status == 401
    assert (await rig.call("GET", "/apps/narrow/analytics", operator=True)).status == 200


async def test_lost_rollups_answer_503(rig: HttpRig) -> None:
    rig.rollups.lost = True
    response = await rig.call("GET", URL, key=rig.key)
    assert (response.status, response.json["code"]) == (503, "unavailable")
