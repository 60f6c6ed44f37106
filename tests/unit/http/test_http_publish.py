"""POST …/publish: one event and batches."""

import json

import pytest
from http_rig import JSON, MESSAGE, ROOM, HttpRig

from polyglotd.gateway.http.publish import BATCH_BYTES_MAX, batch_items
from polyglotd.gateway.requests import PublishRequest
from polyglotd.model import Refusal


async def test_an_event_is_published_and_read_back_byte_for_byte(rig: HttpRig) -> None:
    data = b'{"b": 1.10, "a" : 12345678901234567890123, "e": 1e999, "u": "\\u0041", "a":2}'
    response = await rig.publish(body=b'{"type":"message","data":' + data + b"}")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json.keys() == {"id", "seq", "timestamp"}
    assert response.json["seq"] == 1

    history = await rig.call("GET", ROOM + "/history", key=rig.key)
    assert b'"data":' + data + b',"seq":1' in history.body


async def test_data_that_is_absent_is_null(rig: HttpRig) -> None:
    assert (await rig.publish(body=b'{"type":"ping"}')).status == 200
    history = await rig.call("GET", ROOM + "/history", key=rig.key)
    assert history.json["events"][0]["data"] is None


async def test_an_own_id_that_comes_again_gets_the_first_answer(rig: HttpRig) -> None:
    first = await rig.publish(body=b'{"type":"m","id":"order-1"}')
    again = await rig.publish(body=b'{"type":"m","id":"order-1"}')
    header = await rig.call("POST", ROOM + "/publish", MESSAGE, {**JSON, "idempotency-key": "order-1"}, key=rig.key)
    assert again.json == header.json == first.json | {"duplicate": True}


async def test_an_idempotency_key_may_be_quoted_and_must_agree_with_the_id(rig: HttpRig) -> None:
    headers = {**JSON, "idempotency-key": '"order-1"'}
    agreeing = await rig.call("POST", ROOM + "/publish", b'{"type":"m","id":"order-1"}', headers, key=rig.key)
    assert agreeing.json["id"] == "order-1"
    other = await rig.call("POST", ROOM + "/publish", b'{"type":"m","id":"order-2"}', headers, key=rig.key)
    assert (other.status, other.json["field"]) == (422, "id")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        pytest.param(b"", 400, "body", id="nothing"),
        pytest.param(b"{", 400, "body", id="half"),
        pytest.param(b'{"type":"m"} {}', 400, "body", id="more behind it"),
        pytest.param(b'{"type":"m","data":"\xff"}', 400, "body", id="not UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"type":"m"}', 400, "body", id="byte order mark"),
        pytest.param(b'{"type":"m","data":NaN}', 400, "body", id="NaN"),
        pytest.param(b'{"type":"m","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, "body", id="deep nesting"),
        pytest.param(b"[]", 422, "body", id="an array"),
        pytest.param(b"{}", 422, "type", id="no type"),
        pytest.param(b'{"type":7}', 422, "type", id="type a number"),
        pytest.param(b'{"type":"a b"}', 422, "type", id="type with a space"),
        pytest.param(b'{"type":"m","data":"\\ud800"}', 400, "body", id="lone surrogate"),
        pytest.param(b'{"type":"m","type":"m"}', 422, "body", id="repeated key"),
        pytest.param(b'{"type":"m","typ\\u0065":"n"}', 422, "body", id="repeated key, escaped"),
        pytest.param(b'{"type":"m","dta":1}', 422, "dta", id="unknown member"),
        pytest.param(b'{"type":"m","id":null}', 422, "id", id="id null"),
        pytest.param(b'{"type":"m","id":"evt_1"}', 422, "id", id="id of the server's kind"),
        pytest.param(b'{"type":"m","id":"..."}', 422, "id", id="id without letter or digit"),
    ],
)
async def test_a_body_that_is_no_event_is_refused(rig: HttpRig, body: bytes, status: int, field: str) -> None:
    response = await rig.publish(body=body)
    assert (response.status, response.json["code"], response.json["field"]) == (status, "invalid", field)
    assert response.headers["content-type"] == "application/problem+json"


async def test_repeated_keys_within_data_are_the_publishers_own(rig: HttpRig) -> None:
    assert (await rig.publish(body=b'{"type":"m","data":{"type":1,"type":2}}')).status == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "json"],
)
async def test_a_body_that_does_not_say_json_is_refused(rig: HttpRig, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await rig.call("POST", ROOM + "/publish", MESSAGE, headers, key=rig.key)
    assert (response.status, response.json["code"]) == (415, "unsupported_media_type")


async def test_json_with_its_charset_named_is_taken(rig: HttpRig) -> None:
    headers = {"content-type": 'Application/JSON; charset="UTF-8"'}
    assert (await rig.call("POST", ROOM + "/publish", MESSAGE, headers, key=rig.key)).status == 200


async def test_data_above_the_limit_is_too_large_wherever_that_is_noticed(rig: HttpRig) -> None:
    await rig.call("PATCH", "/admin/apps/demo/quota", b'{"payload_bytes":100}', JSON, operator=True)
    assert (await rig.publish(body=b'{"type":"m","data":"%s"}' % (b"x" * 98))).status == 200
    for size in (99, 10_000):  # told by the plane, and while the body is read
        response = await rig.publish(body=b'{"type":"m","data":"%s"}' % (b"x" * size))
        assert (response.status, response.json["code"], response.json["limit"]) == (413, "payload_too_large", 100)


async def test_a_body_cut_short_is_not_taken_for_a_whole_one(rig: HttpRig) -> None:
    await rig.publish(cut=True)
    assert (await rig.call("GET", ROOM + "/history", key=rig.key)).json["count"] == 0


async def test_a_body_in_chunks_is_taken(rig: HttpRig) -> None:
    pieces = [MESSAGE[i : i + 1] for i in range(len(MESSAGE))]
    response = await rig.call("POST", ROOM + "/publish", pieces, JSON, key=rig.key)
    assert response.status == 200


async def test_two_lengths_of_one_body_are_refused(rig: HttpRig) -> None:
    response = await rig.call(
        "POST", ROOM + "/publish", MESSAGE, {**JSON, "transfer-encoding": "chunked"}, key=rig.key
    )
    assert (response.status, response.json["field"]) == (400, "Content-Length")
    assert response.headers["connection"] == "close"


async def test_a_key_may_name_a_user_and_a_user_may_name_itself_alone(rig: HttpRig) -> None:
    for credential in ({"key": rig.key}, {"bearer": rig.token("zoë")}):
        headers = {**JSON, "x-user-id": "zoë".encode().decode("latin-1")}
        assert (await rig.call("POST", ROOM + "/publish", MESSAGE, headers, **credential)).status == 200
    history = await rig.call("GET", ROOM + "/history", key=rig.key)
    assert [event["meta"]["user_id"] for event in history.json["events"]] == ["zoë", "zoë"]
    headers = {**JSON, "x-user-id": "bob"}
    response = await rig.call("POST", ROOM + "/publish", MESSAGE, headers, bearer=rig.token("zoë"))
    assert (response.status, response.json["code"]) == (403, "forbidden")


async def test_a_kind_that_nobody_defined_is_not_found(rig: HttpRig) -> None:
    response = await rig.publish("nokind:x")
    assert (response.status, response.json["code"]) == (404, "unknown_channel_kind")


async def test_over_the_rate_of_the_api_the_answer_says_when_to_come_again(rig: HttpRig) -> None:
    await rig.call("PATCH", "/admin/apps/demo/quota", b'{"api_publishes":2}', JSON, operator=True)
    responses = [await rig.publish() for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 429]
    limited = responses[-1]
    assert limited.json["code"] == "rate_limited"
    assert limited.json["retry_after_ms"] > 0
    assert limited.headers["retry-after"] == "1"
    assert limited.headers["ratelimit"] == '"api-publishes";r=0;t=1'
    assert limited.headers["ratelimit-policy"] == '"api-publishes";q=2;w=1'


# --- batches ----------------------------------------


def batch(*events: object) -> bytes:
    return json.dumps({"events": events}).encode()


async def test_a_batch_answers_in_order_and_a_refused_event_stops_no_other(rig: HttpRig) -> None:
    body = (
        b'{"events":[{"channel":"room:a","type":"m","data":1.50,"id":"x"},{"channel":"nokind:a","type":"m"},'
        b'{"channel":"room:b","type":"a b"},7,{"channel":"room:a","type":"m","id":"x"},{"type":"m"},'
        b'{"channel":"room:b","type":"m"}]}'
    )
    response = await rig.call("POST", "/apps/demo/publish", body, JSON, key=rig.key)
    assert response.status == 200
    results = response.json["results"]
    assert [result.get("seq") for result in results] == [1, None, None, None, 1, None, 1]
    assert [result.get("code") for result in results] == [
        None, "unknown_channel_kind", "invalid", "invalid", None, "invalid", None,
    ]  # fmt: skip
    assert results[4]["duplicate"] is True
    assert results[2]["field"] == "type"
    assert results[5] == {"code": "invalid", "message": "channel is missing", "field": "channel"}
    assert b'"data":1.50,' in (await rig.call("GET", "/apps/demo/channels/room:a/history", key=rig.key)).body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b'{"events":[', 400, id="not JSON"),
        pytest.param(b'{"events":{}}', 422, id="no array"),
        pytest.param(b'{"events":[]}', 422, id="empty"),
        pytest.param(b"{}", 422, id="no events"),
        pytest.param(batch(*[{"channel": "room:a", "type": "m"}] * 1001), 422, id="1,001 events"),
        pytest.param(b'{"events":[],"events":[{"channel":"room:a","type":"m"}]}', 422, id="events twice"),
        pytest.param(b'{"events":[{"channel":"room:a","type":"m"}],"x":1}', 422, id="unknown member"),
    ],
)
async def test_a_batch_that_is_itself_wrong_is_refused_whole(rig: HttpRig, body: bytes, status: int) -> None:
    response = await rig.call("POST", "/apps/demo/publish", body, JSON, key=rig.key)
    assert (response.status, response.json["code"]) == (status, "invalid")


async def test_a_thousand_events_go_in_one_batch_and_eight_mebibytes_are_its_end(rig: HttpRig) -> None:
    body = batch(*[{"channel": "room:a", "type": "m", "data": n} for n in range(1000)])
    response = await rig.call("POST", "/apps/demo/publish", body, JSON, key=rig.key)
    assert [result["seq"] for result in response.json["results"]] == list(range(1, 1001))
    too_large = await rig.call("POST", "/apps/demo/publish", b" " * (BATCH_BYTES_MAX + 1), JSON, key=rig.key)
    assert (too_large.status, too_large.json["limit"]) == (413, BATCH_BYTES_MAX)
    assert too_large.headers["connection"] == "close"


ITEMS = [
    pytest.param(b'{"channel":"room:a","type":"m"}', id="without data"),
    pytest.param(b' { "data" : { "a" : [1, 2] } , "channel" : "room:a" , "type" : "m" } ', id="with spaces"),
    pytest.param(b'{"channel":"room:\\u00e4","type":"\\u006d","data":"\\ud83d\\ude00"}', id="with escapes"),
    pytest.param(b'{"channel":"room:a","type":"m","data":null,"id":"a-1"}', id="with all"),
    pytest.param(b'{"channel":"room:a","type":"m","data":{"type":1,"type":2}}', id="keys repeated within data"),
    pytest.param(b'{"channel":"room:a","type":"m","type":"m"}', id="a repeated key"),
    pytest.param(b'{"channel":"room:a","type":"m","data":1,"d\\u0061ta":1}', id="a repeated key, escaped"),
    pytest.param(b'{"channel":"room:a","type":"m","id":null}', id="an id that is null"),
    pytest.param(b'{"channel":"room:a","type":"m","id":"evt_1"}', id="an id of the server's"),
    pytest.param(b'{"channel":"room","type":"a b","id":"evt_1"}', id="wrong in every member"),
    pytest.param(b'{"channel":"room:a","type":"a b","id":"evt_1"}', id="wrong in two members"),
    pytest.param(b'{"channel":"room:a"}', id="no type"),
    pytest.param(b'{"channel":"room:a","type":"m","kind":"x"}', id="an unknown member"),
    pytest.param(b"[]", id="no object"),
]


@pytest.mark.parametrize("item", ITEMS)
def test_an_event_is_read_alike_whatever_stands_beside_it(item: bytes) -> None:
    alone = batch_items(b"[%b]" % item)
    beside_others = batch_items(b'[%b,{"channel":"room:b","type":"m"},7]' % item)
    assert [_seen(each) for each in alone] == [_seen(beside_others[0])]
    assert beside_others[1] == PublishRequest("room:b", "m", b"null", None)
    assert isinstance(beside_others[2], Refusal)


def _seen(item: PublishRequest | Refusal) -> object:
    return item if isinstance(item, PublishRequest) else (type(item), item.message, item.details())


async def test_a_batch_takes_no_idempotency_key(rig: HttpRig) -> None:
    headers = {**JSON, "idempotency-key": "x"}
    response = await rig.call(
        "POST", "/apps/demo/publish", batch({"channel": "room:a", "type": "m"}), headers, key=rig.key
    )
    assert (response.status, response.json["field"]) == (422, "Idempotency-Key")
