"""History, presence, channels and usage over HTTP."""

from datetime import UTC, datetime

import pytest
from http_rig import JSON, ROOM, HttpRig

from polyglotd.gateway.http.query import parse_time_us
from polyglotd.model import Invalid


async def seqs(rig: HttpRig, query: str) -> tuple[list[int], bool]:
    response = await rig.call("GET", f"{ROOM}/history?{query}", key=rig.key)
    assert response.status == 200, response.body
    assert response.json["count"] == len(response.json["events"])
    return [event["seq"] for event in response.json["events"]], response.json["more"]


async def test_history_is_paged_in_both_directions(rig: HttpRig) -> None:
    for n in range(1, 6):
        await rig.publish(body=b'{"type":"%s"}' % (b"odd" if n % 2 else b"even"))
    assert await seqs(rig, "") == ([1, 2, 3, 4, 5], False)
    assert await seqs(rig, "limit=2") == ([4, 5], True)
    assert await seqs(rig, "limit=2&before=4") == ([2, 3], True)
    assert await seqs(rig, "limit=2&after=0") == ([1, 2], True)
    assert await seqs(rig, "after=3") == ([4, 5], False)
    assert await seqs(rig, "type=even") == ([2, 4], False)
    assert await seqs(rig, "from=2000-01-01T00:00:00Z&to=2000-01-02T00:00:00Z") == ([], False)


async def test_history_has_the_contracts_shape(rig: HttpRig) -> None:
    await rig.publish()
    answer = (await rig.call("GET", ROOM + "/history", key=rig.key)).json
    assert list(answer) == ["app_id", "channel", "epoch", "seq", "count", "events", "more"]
    (event,) = answer["events"]
    assert list(event) == ["id", "app_id", "channel", "type", "data", "seq", "meta"]
    assert event["meta"].keys() == {"user_id", "ts"}
    assert (answer["app_id"], answer["channel"], answer["seq"], answer["count"]) == ("demo", "room:lobby", 1, 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=ten", "limit"), ("limit=", "limit"),
        ("limit=1.5", "limit"), ("limit=%2B5", "limit"), ("limit=99999999999999999999", "limit"),
        ("before=-1", "before"), ("after=9223372036854775808", "after"), ("type=a+b", "type"),
        ("from=yesterday", "from"), ("to=2026-02-30T00:00:00Z", "to"), ("from=2026-01-01", "from"),
        ("from=9&to=8", "from"), ("limit=1&limit=1", "limit"), ("afer=1", "afer"), ("type=%ff", "type"),
    ],
)  # fmt: skip
async def test_a_query_that_is_not_understood_is_refused(rig: HttpRig, query: str, field: str) -> None:
    response = await rig.call("GET", f"{ROOM}/history?{query}", key=rig.key)
    assert (response.status, response.json["code"], response.json["field"]) == (422, "invalid", field)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:15:30Z", "2026-11-23t08:15:30z", "2026-11-23 09:15:30+01:00", "2026-11-23T09:15:30 01:00",
        "2026-11-23T03:45:30-04:30", "2026-11-23T08:15:30.000000999Z", str(1795421730),
    ],
)  # fmt: skip
def test_one_moment_may_be_written_in_many_ways(text: str) -> None:
    moment = int(datetime(2026, 11, 23, 8, 15, 30, tzinfo=UTC).timestamp())
    assert parse_time_us(text, "from") == moment * 1_000_000


def test_a_moment_keeps_its_microseconds() -> None:
    assert parse_time_us("1970-01-01T00:00:01.5Z", "from") == 1_500_000
    with pytest.raises(Invalid):
        parse_time_us("0001-01-01T00:00:00+23:59", "from")


# --- names in paths ----------------------------------------


@pytest.mark.parametrize(
    ("segment", "channel"),
    [
        ("room%3Alobby", "room:lobby"),
        ("room:a%2Fb", "room:a/b"),
        ("room:%2e%2e", "room:.."),
        ("room:..", "room:.."),
        ("room:a+b", "room:a+b"),
        ("room:%E4%BD%A0%F0%9F%98%80", "room:你😀"),
        ("room:a;b=c&d,e", "room:a;b=c&d,e"),
        ("room:%25", "room:%"),
        ("room:%22%3C%5C", 'room:"<\\'),
        ("ro%6Fm:x", "room:x"),
    ],
)
async def test_a_channel_in_a_path_is_what_its_segment_decodes_to(rig: HttpRig, segment: str, channel: str) -> None:
    assert (await rig.publish(segment)).status == 200
    answer = (await rig.call("GET", f"/apps/demo/channels/{segment}/history", key=rig.key)).json
    assert (answer["channel"], answer["count"], answer["events"][0]["channel"]) == (channel, 1, channel)


@pytest.mark.parametrize(
    "segment",
    [
        "lobby", "room:", ":x", "Room:x", "room:%00", "room:%0D%0Ax", "room:%20", "room:*", "room:%ff", "room:%C0%AF",
        "room:%ED%A0%80", "room:%", "room:%zz", "room:%E2%80%A8", "room:" + "a" * 196, "room:%7f", "room:%C2%85",
    ],
)  # fmt: skip
async def test_what_names_no_channel_is_refused(rig: HttpRig, segment: str) -> None:
    for call in ("publish", "history", "presence", "events", "kick"):
        method, body = ("POST", b'{"type":"m"}') if call in ("publish", "kick") else ("GET", None)
        response = await rig.call(method, f"/apps/demo/channels/{segment}/{call}", body, JSON, key=rig.key)
        assert (response.status, response.json["code"], response.json["field"]) == (422, "invalid", "channel")


# --- channels ----------------------------------------


async def test_a_channel_tells_where_it_stands(rig: HttpRig) -> None:
    await rig.publish()
    async with rig.stream(ROOM + "/events", key=rig.key):
        answer = await rig.until(lambda answer: answer["subscriptions"] == 1, ROOM)
    assert answer.keys() == {"app_id", "channel", "kind", "epoch", "seq", "subscriptions", "users"}
    assert (answer["kind"], answer["seq"], answer["subscriptions"], answer["users"]) == ("room", 1, 1, 0)


async def test_occupied_channels_are_listed_by_prefix_and_page(rig: HttpRig) -> None:
    targets = [f"/apps/demo/channels/{name}/events" for name in ("room:a", "room:b", "ticker:x")]
    async with (
        rig.stream(targets[0], key=rig.key),
        rig.stream(targets[1], key=rig.key),
        rig.stream(targets[2], key=rig.key),
    ):
        await rig.until(lambda answer: len(answer["channels"]) == 3, "/apps/demo/channels")
        first = (await rig.call("GET", "/apps/demo/channels?limit=2", key=rig.key)).json
        rest = (await rig.call("GET", f"/apps/demo/channels?cursor={first['cursor']}", key=rig.key)).json
        rooms = (await rig.call("GET", "/apps/demo/channels?prefix=room:", key=rig.key)).json
    assert [view["channel"] for view in first["channels"] + rest["channels"]] == ["room:a", "room:b", "ticker:x"]
    assert rest["cursor"] is None
    assert [view["channel"] for view in rooms["channels"]] == ["room:a", "room:b"]


async def test_presence_has_phoenixs_shape(rig: HttpRig) -> None:
    async with rig.stream(ROOM + "/events", bearer=rig.token("ann")):
        answer = await rig.until(lambda answer: answer["presence"], ROOM + "/presence")
    assert (answer["app_id"], answer["channel"]) == ("demo", "room:lobby")
    (meta,) = answer["presence"]["ann"]["metas"]
    assert meta["phx_ref"]


async def test_usage_shows_use_beside_limits(rig: HttpRig) -> None:
    async with rig.stream(ROOM + "/events", key=rig.key):
        answer = (await rig.call("GET", "/apps/demo/usage", key=rig.key)).json
    assert (answer["app_id"], answer["connections"], answer["limits"]["connections"]) == ("demo", 1, 10_000)
    assert answer.keys() == {
        "app_id", "month", "events", "bytes", "stored_bytes", "connections", "channels", "limits",
    }  # fmt: skip
