"""Every row of the HTTP API's errors over a real socket: its status, its code, and what stands beside it."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from daemon_process import DaemonProcess, daemon_process
from tenants import Operator, Tenant

_numbers = itertools.count(1)
BEYOND: dict[int, tuple[str, ...]] = {413: ("limit",), 422: ("field",), 503: ("retry_after_ms",)}


@pytest.fixture
async def operator(daemon: DaemonProcess) -> AsyncIterator[Operator]:
    async with Operator(daemon) as operator:
        yield operator


@pytest.fixture
async def tenant(operator: Operator) -> Tenant:
    return await operator.create(f"errors-{next(_numbers)}")


def check_problem(answer: httpx.Response, status: int, code: str, **beside: Any) -> Any:
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    assert all(name in problem for name in BEYOND.get(status, ()))
    assert {name: problem[name] for name in beside} == beside
    return problem


async def test_each_error_of_a_publish_has_its_status_and_code(operator: Operator, tenant: Tenant) -> None:
    path = f"{tenant.url}/channels/room:lobby/publish"
    json_type = {"Content-Type": "application/json"}

    async def post(content: bytes, path: str = path, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await operator.http.post(path, content=content, headers=tenant.by_key | json_type | named)

    good = b'{"type":"m"}'
    check_problem(await post(b"{"), 400, "invalid", field="body")
    check_problem(await post(b'{"type":"m","data":"\xff"}'), 400, "invalid")
    check_problem(await post(good, X_API_Key="plk_" + "0" * 32), 401, "unauthorized")
    check_problem(await operator.http.post(path, content=good, headers=json_type), 401, "unauthorized")
    user = tenant.by_token("ann", channels={"room:*": ["join"]})
    check_problem(await operator.http.post(path, content=good, headers=user | json_type), 403, "forbidden")
    check_problem(await post(good, f"{tenant.url}/channels/nokind:a/publish"), 404, "unknown_channel_kind")
    check_problem(await post(good, f"{tenant.url}/channel/room:a/publish"), 404, "not_found")
    wrong = await operator.http.get(path, headers=tenant.by_key)
    check_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "OPTIONS, POST"
    large = b'{"type":"m","data":"%s"}' % (b"x" * 65_536)
    check_problem(await post(large), 413, "payload_too_large", limit=65_536)
    check_problem(
        await post(b'{"type":"m","data":"%s"}' % (b"x" * 1_000_000)), 413, "payload_too_large", limit=65_536
    )
    check_problem(await post(good, Content_Type="text/plain"), 415, "unsupported_media_type")
    check_problem(await post(b'{"type":""}'), 422, "invalid", field="type")
    check_problem(await post(good, f"{tenant.url}/channels/room:%00/publish"), 422, "invalid", field="channel")
    assert (await post(good)).status_code == 200


async def test_limits_are_429_and_say_when_to_come_again(operator: Operator) -> None:
    tenant = await operator.create(f"errors-{next(_numbers)}", quota={"api_publishes": 1, "channels": 1})
    path = f"{tenant.url}/channels/room:a/publish"

    async def post(path: str) -> httpx.Response:
        return await operator.http.post(path, json={"type": "m"}, headers=tenant.by_key)

    answers = [await post(path) for _ in range(5)]
    limited = next(answer for answer in answers if answer.status_code != 200)
    check_problem(limited, 429, "rate_limited")
    assert int(limited.headers["retry-after"]) >= 1
    assert limited.headers["ratelimit"].startswith('"api-publishes";r=0')
    assert limited.headers["ratelimit-policy"] == '"api-publishes";q=1;w=1'
    await operator.ask("PATCH", f"/admin/apps/{tenant.app_id}/quota", {"api_publishes": None})
    full = await post(f"{tenant.url}/channels/room:b/publish")
    check_problem(full, 429, "quota_exceeded", quota="channels")
    assert int(full.headers["retry-after"]) >= 1
    assert full.headers["ratelimit-policy"] == '"channels";q=1'


async def test_a_conflict_is_409(operator: Operator, tenant: Tenant) -> None:
    again = await operator.http.post("/admin/apps", json={"app_id": tenant.app_id}, headers=operator.credentials)
    check_problem(again, 409, "conflict")


async def test_a_log_that_is_full_is_503_and_the_rest_goes_on() -> None:
    # Without a processor nothing of the log is ever let go.
    with daemon_process("--role", "gateway", env={"POLYGLOTD_LOG__BYTES_MAX": str(1 << 20)}) as daemon:
        async with httpx.AsyncClient(base_url=daemon.url) as http:
            key = {"X-API-Key": "valid_key_chat-app"}
            body = {"type": "m", "data": "x" * 60_000}
            path = "/apps/chat-app/channels/{}/publish"
            for _ in range(30):
                answer = await http.post(path.format("room:a"), json=body, headers=key)
                if answer.status_code != 200:
                    break
            check_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert (await http.post(path.format("match:a"), json=body, headers=key)).status_code == 200
            assert (await http.get("/apps/chat-app/channels/room:a/history", headers=key)).status_code == 200


async def test_numbers_beyond_every_type_are_kept_as_they_are(operator: Operator, tenant: Tenant) -> None:
    data = b'[1e999,-1e-999,12345678901234567890123,1.10,0.1e1,-0,"\\u0000\\/"]'
    path = f"{tenant.url}/channels/room:numbers"
    headers = tenant.by_key | {"Content-Type": "application/json"}
    published = await operator.http.post(
        f"{path}/publish", content=b'{"type":"m","data":' + data + b"}", headers=headers
    )
    assert published.status_code == 200
    assert b'"data":' + data + b"," in (await operator.http.get(f"{path}/history", headers=tenant.by_key)).content


async def test_answers_can_not_be_given_headers_by_what_was_asked(operator: Operator, tenant: Tenant) -> None:
    for target in (
        f"{tenant.url}/channels/room:%0d%0aSet-Cookie:%20a=b/history",
        f"{tenant.url}/channels/room:a/history?type=%0d%0aSet-Cookie:%20a=b",
        "/%0d%0aSet-Cookie:%20a=b",
    ):
        answer = await operator.http.get(target, headers=tenant.by_key | {"X-Request-Id": "a;b"})
        assert answer.status_code in (404, 422)
        assert "set-cookie" not in answer.headers
        assert json.loads(answer.content)


@pytest.mark.parametrize("target", ["/examples/chat_example.html", "/apps/chat-app/channels/room:a/history"])
async def test_what_development_opens_is_shut_without_it(target: str) -> None:
    with daemon_process() as daemon:
        async with httpx.AsyncClient() as http:
            assert (await http.get(daemon.url + target)).status_code == 200
    with daemon_process(dev=False) as daemon:
        async with httpx.AsyncClient() as http:
            for headers in ({}, {"X-API-Key": "valid_key_chat-app"}, {"Authorization": "Bearer valid_token_ann"}):
                assert (await http.get(daemon.url + target, headers=headers)).status_code in (401, 404)
