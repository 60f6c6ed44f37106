"""SSE, long-poll and the operators' tail."""

import json
from typing import Any
from urllib.parse import quote

import pytest
import trio
from http_rig import JSON, ROOM, HttpRig, open_http_rig
from trio.testing import MockClock

from polyglotd.protocol.sse import KEEP_ALIVE

EVENTS = ROOM + "/events"


def parse(text: bytes) -> list[dict[str, str]]:
    """The events of a piece of a stream, comments and `retry` as events of their own."""
    events = []
    for block in text.decode().split("\n\n")[:-1]:
        fields = [line.partition(":")[::2] for line in block.split("\n")]
        events.append({name: value.removeprefix(" ") for name, value in fields})
    return events


async def next_event(exchange: Any) -> dict[str, str]:
    while True:
        for event in parse(await exchange.piece()):
            if "data" in event:
                return event


# --- SSE ----------------------------------------


async def test_a_stream_begins_with_its_head_and_a_hint_when_to_come_back(rig: HttpRig) -> None:
    async with rig.stream(EVENTS, key=rig.key) as exchange:
        assert exchange.status == 200
        assert exchange.headers["content-type"] == "text/event-stream"
        assert exchange.headers["cache-control"] == "no-store"
        assert exchange.headers["x-accel-buffering"] == "no"
        assert parse(await exchange.piece()) == [{"retry": "2000"}]


async def test_an_event_comes_with_its_place_as_id_and_no_name(rig: HttpRig) -> None:
    async with rig.stream(EVENTS, key=rig.key) as exchange:
        await rig.until(lambda answer: answer["subscriptions"] == 1, ROOM)
        await rig.publish()
        event = await next_event(exchange)
    epoch = (await rig.call("GET", ROOM, key=rig.key)).json["epoch"]
    assert event.keys() == {"id", "data"}
    assert event["id"] == f"{epoch}:1"
    assert json.loads(event["data"])["data"] == {"text": "Hello"}


async def test_last_event_id_resumes_after_it(rig: HttpRig) -> None:
    for _ in range(3):
        await rig.publish()
    epoch = (await rig.call("GET", ROOM, key=rig.key)).json["epoch"]
    async with rig.stream(EVENTS, {"last-event-id": f"{epoch}:1"}, key=rig.key) as exchange:
        events: list[dict[str, str]] = []
        while len(events) < 2:
            events += [event for event in parse(await exchange.piece()) if "data" in event]
    assert [event["id"] for event in events] == [f"{epoch}:2", f"{epoch}:3"]


@pytest.mark.parametrize("last", ["another:1", "nonsense", "zzz:zz"])
async def test_a_last_event_id_that_is_gone_begins_with_a_reset(rig: HttpRig, last: str) -> None:
    await rig.publish()
    async with rig.stream(EVENTS, {"last-event-id": last}, key=rig.key) as exchange:
        event = await next_event(exchange)
    epoch = (await rig.call("GET", ROOM, key=rig.key)).json["epoch"]
    assert event["event"] == "reset"
    assert json.loads(event["data"]) == {"epoch": epoch, "seq": 1}


async def test_a_silent_stream_says_that_it_is_alive(autojump_clock: MockClock) -> None:
    async with open_http_rig() as rig, rig.stream(EVENTS, key=rig.key) as exchange:
        await exchange.piece()
        begun = trio.current_time()
        with trio.fail_after(60):
            assert await exchange.pieces.receive() == KEEP_ALIVE
        assert trio.current_time() - begun == pytest.approx(15, abs=0.1)


async def test_a_stream_ends_when_its_key_is_revoked(rig: HttpRig) -> None:
    key = await rig.another_key("read")
    key_id = next(view.key_id for view in rig.registry.all_keys if view.scopes == {"read"})
    async with rig.stream(EVENTS, key=key) as exchange:
        await rig.call("DELETE", f"/admin/apps/demo/keys/{key_id}", operator=True)
        with trio.fail_after(5):
            await exchange.ended.wait()


async def test_a_stream_whose_client_leaves_is_forgotten(rig: HttpRig) -> None:
    async with rig.stream(EVENTS, key=rig.key) as exchange:
        await rig.until(lambda answer: answer["subscriptions"] == 1, ROOM)
    with trio.fail_after(5):
        await exchange.ended.wait()
    await rig.until(lambda answer: answer["subscriptions"] == 0, ROOM)


async def test_a_short_lived_token_may_stand_in_the_query_and_no_other(rig: HttpRig) -> None:
    async with rig.stream(f"{EVENTS}?token={rig.token(ttl_s=300)}") as exchange:
        assert exchange.status == 200
    assert (await rig.call("GET", f"{EVENTS}?token={rig.token(ttl_s=301)}")).status == 401
    assert (await rig.call("GET", f"{EVENTS}?token={rig.key}")).status == 401
    assert (await rig.call("GET", f"{ROOM}/history?token={rig.token(ttl_s=60)}")).status in (401, 422)


async def test_a_stream_that_may_not_be_opened_is_a_problem_and_no_stream(rig: HttpRig) -> None:
    key = await rig.another_key("publish")
    response = await rig.call("GET", EVENTS, key=key)
    assert (response.status, response.json["code"]) == (403, "forbidden")
    await rig.call("PATCH", "/admin/apps/demo/quota", b'{"connections":0}', JSON, operator=True)
    full = await rig.call("GET", EVENTS, key=rig.key)
    assert (full.status, full.json["code"], full.json["quota"]) == (429, "quota_exceeded", "connections")
    assert int(full.headers["retry-after"]) > 0
    assert full.headers["ratelimit-policy"] == '"connections";q=0'


async def test_head_of_a_stream_is_not_offered(rig: HttpRig) -> None:
    response = await rig.call("HEAD", EVENTS, key=rig.key)
    assert (response.status, response.headers["allow"]) == (405, "GET, OPTIONS")


# --- long-poll ----------------------------------------


POLL = "/socket/longpoll?vsn=2.0.0&app_id=demo&token={user}"


async def opened(rig: HttpRig) -> str:
    """The target of an open session."""
    target = POLL.format(user=rig.token("ann"))
    response = await rig.call("GET", target)
    assert response.status == 200
    assert response.json.keys() == {"status", "token", "messages"}
    assert (response.json["status"], response.json["messages"]) == (410, [])
    return f"{target}&token={quote(response.json['token'])}"


async def frames(rig: HttpRig, target: str, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        response = await rig.call("GET", target)
        assert response.json["status"] == 200
        found += [json.loads(frame) for frame in response.json["messages"]]
    return found


async def test_a_session_joins_publishes_and_hears_itself(rig: HttpRig) -> None:
    target = await opened(rig)
    joined = await rig.call("POST", target, b'["1","1","room:lobby","phx_join",{}]')
    assert (joined.status, joined.json) == (200, {"status": 200})
    reply = next(frame for frame in await frames(rig, target, 1) if frame[3] == "phx_reply")
    assert reply[4]["status"] == "ok"
    lines = b'["1","2","room:lobby","publish",{"type":"m","data":1}]\n["1","3","room:lobby","publish",{"type":"m"}]'
    await rig.call("POST", target, lines, {"content-type": "application/x-ndjson"})
    found = [frame for frame in await frames(rig, target, 4) if frame[3] in ("event", "phx_reply")]
    while len(found) < 4:
        found += [frame for frame in await frames(rig, target, 1) if frame[3] in ("event", "phx_reply")]
    assert sorted(frame[3] for frame in found) == ["event", "event", "phx_reply", "phx_reply"]


async def test_a_poll_without_news_is_204_after_its_window(autojump_clock: MockClock) -> None:
    async with open_http_rig() as rig:
        target = await opened(rig)
        begun = trio.current_time()
        response = await rig.call("GET", target)
        assert (response.status, response.json["status"], response.json["messages"]) == (200, 204, [])
        assert trio.current_time() - begun == pytest.approx(10, abs=0.1)


async def test_a_session_that_is_not_there_is_gone_for_a_post_and_new_for_a_get(rig: HttpRig) -> None:
    target = POLL.format(user=rig.token("ann")) + "&token=bogus"
    assert (await rig.call("POST", target, b'[null,"1","phoenix","heartbeat",{}]')).json == {"status": 410}
    assert (await rig.call("GET", target)).json["status"] == 410


async def test_a_session_is_not_anothers(rig: HttpRig) -> None:
    target = await opened(rig)
    session = target.rpartition("&token=")[2]
    stolen = POLL.format(user=rig.token("eve")) + f"&token={session}"
    assert (await rig.call("POST", stolen, b"[]")).json == {"status": 410}
    assert (await rig.call("GET", stolen)).json["token"] != session


@pytest.mark.parametrize(
    "query",
    ["", "vsn=2.0.0&app_id=demo", "vsn=2.0.0&app_id=demo&token=bad", "vsn=9.0.0&app_id=demo&token={user}"],
)
async def test_a_refused_connect_is_403_in_the_body(rig: HttpRig, query: str) -> None:
    response = await rig.call("GET", "/socket/longpoll?" + query.format(user=rig.token()))
    assert (response.status, response.json) == (200, {"status": 403})


async def test_a_connect_over_a_limit_is_tried_again(rig: HttpRig) -> None:
    await rig.call("PATCH", "/admin/apps/demo/quota", b'{"connections":0}', JSON, operator=True)
    assert (await rig.call("GET", POLL.format(user=rig.token()))).json == {"status": 500}


async def test_a_page_elsewhere_gets_no_session_and_its_own_page_does(rig: HttpRig) -> None:
    target = POLL.format(user=rig.token())
    foreign = await rig.call("GET", target, headers={"origin": "https://evil.example"})
    assert foreign.json == {"status": 403}
    assert "access-control-allow-origin" not in foreign.headers
    own = await rig.call("GET", target, headers={"origin": "http://localhost:4000"})
    assert own.json["status"] == 410
    assert own.headers["access-control-allow-origin"] == "http://localhost:4000"


async def test_a_long_poll_may_be_preflighted(rig: HttpRig) -> None:
    headers = {
        "origin": "http://localhost:4000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-phoenix-authtoken",
    }
    response = await rig.call("OPTIONS", "/socket/longpoll?vsn=2.0.0", headers=headers)
    assert response.status == 204
    assert "X-Phoenix-AuthToken" in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers


async def test_the_token_may_come_in_phoenixs_own_header(rig: HttpRig) -> None:
    headers = {"x-phoenix-authtoken": rig.token("ann")}
    target = "/socket/longpoll?vsn=2.0.0&app_id=demo"
    session = (await rig.call("GET", target, headers=headers)).json
    assert session["status"] == 410
    posted = await rig.call(
        "POST", f"{target}&token={quote(session['token'])}", b'[null,"1","phoenix","heartbeat",{}]', headers
    )
    assert posted.json == {"status": 200}


# --- tail ----------------------------------------


async def test_a_tail_gives_events_with_their_cursor_and_resumes_from_one(rig: HttpRig) -> None:
    await rig.publish()
    epoch = (await rig.call("GET", ROOM, key=rig.key)).json["epoch"]
    target = f"/admin/apps/demo/tail?channel=room:lobby&since={epoch}:0"
    async with rig.stream(target, operator=True, websocket=True) as exchange:
        assert exchange.status == 101
        message = json.loads((await exchange.piece())["text"])
        assert message.keys() == {"event", "cursor"}
        assert message["cursor"] == f"{epoch}:1"
        await rig.publish()
        assert json.loads((await exchange.piece())["text"])["cursor"] == f"{epoch}:2"


async def test_a_tail_is_told_what_it_can_not_have(rig: HttpRig) -> None:
    async with rig.stream(
        "/admin/apps/demo/tail?channel=room:lobby&since=gone:7", bearer=rig.admin_token, websocket=True
    ) as exchange:
        message = json.loads((await exchange.piece())["text"])
    assert message["notice"]["code"] == "reset"


async def test_a_tail_of_a_suspended_app_is_closed(rig: HttpRig) -> None:
    target = "/admin/apps/demo/tail?channel=room:lobby"
    async with rig.stream(target, operator=True, websocket=True) as exchange:
        await rig.call("DELETE", "/admin/apps/demo", operator=True)
        message = await exchange.piece()
        while message["type"] != "websocket.close":
            message = await exchange.piece()
        assert message["code"] in (4003, 1012)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/admin/apps/demo/tail", 422, "invalid"),
        ("/admin/apps/demo/tail?channel=room*", 422, "invalid"),
        ("/admin/apps/demo/tail?channel=*:*", 422, "invalid"),
        ("/admin/apps/demo/tail?channel=room:a&since=7", 422, "invalid"),
        ("/admin/apps/demo/tail?channel=nokind:a", 404, "unknown_channel_kind"),
        ("/admin/apps/nowhere/tail?channel=room:a", 404, "not_found"),
        ("/nowhere", 404, "not_found"),
    ],
)
async def test_an_upgrade_that_can_not_be_is_refused_before_it(
    rig: HttpRig, target: str, status: int, code: str
) -> None:
    async with rig.stream(target, operator=True, websocket=True) as exchange:
        problem = json.loads(await exchange.piece())
    assert (exchange.status, problem["code"]) == (status, code)
    assert exchange.headers["content-type"] == "application/problem+json"


async def test_a_tail_is_for_operators(rig: HttpRig) -> None:
    target = "/admin/apps/demo/tail?channel=room:a"
    for credential, status in (({}, 401), ({"key": rig.key}, 403), ({"bearer": rig.token()}, 403)):
        async with rig.stream(target, websocket=True, **credential) as exchange:  # type: ignore[arg-type]
            assert exchange.status == status


@pytest.mark.parametrize("target", ["/admin/apps/demo/tail", "/socket/websocket"])
async def test_a_websocket_asked_for_as_a_page_says_what_it_is(rig: HttpRig, target: str) -> None:
    response = await rig.call("GET", target, operator=True)
    assert (response.status, response.json["code"]) == (426, "invalid")
