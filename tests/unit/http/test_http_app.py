"""What holds for every request: methods, paths, preflights, ids, faults, probes, examples, the OpenAPI document."""

import json
import logging
from pathlib import Path

import msgspec
import pytest
import trio
from http_rig import JSON, MESSAGE, ROOM, HttpRig, open_http_rig
from openapi_spec_validator import OpenAPIV31SpecValidator
from trio.testing import MockClock

from polyglotd.gateway.http.api import ROUTES
from polyglotd.gateway.http.body import BYTES_PER_S_MIN, DEADLINE_S, read_body
from polyglotd.gateway.http.faults import BodyTimeout
from polyglotd.gateway.http.http1 import HEAD_BYTES_MAX
from polyglotd.processor.pipeline import ProcessorHealth, StageHealth
from polyglotd.processor.report import ProcessorReport


@pytest.mark.parametrize(
    "target",
    [
        "/", "//", "/apps", "/apps/", "/apps/demo/", "/apps/demo/channels/", "/apps//channels", "/APPS/demo/usage",
        "/apps/demo/channels/room:lobby/publish/", "/apps/demo/../demo/usage", "/apps/demo%2Fusage", "/docs",
        "/dashboard", "/apps/demo/analytic",
        "/%ff", "/%00", "/examples/chat_example.html", "/.../x", "/apps/demo/channels/room:lobby/events/evt_1/x",
    ],
)  # fmt: skip
async def test_a_path_that_is_not_there_is_not_found(rig: HttpRig, target: str) -> None:
    response = await rig.call("GET", target, operator=True)
    assert (response.status, response.json["code"]) == (404, "not_found")
    assert response.json.keys() >= {"type", "title", "status", "detail", "code"}
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("target", ["*", "localhost:4000", "", "room:lobby", "ftp://localhost/alive"])
async def test_a_target_that_is_no_path_is_malformed(rig: HttpRig, target: str) -> None:
    assert (await rig.call("GET", target)).status == 400


async def test_an_absolute_target_is_its_path(rig: HttpRig) -> None:
    assert (await rig.call("GET", "http://anything:1/alive")).status == 200
    assert (await rig.call("GET", "HTTP://anything")).status == 404


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", ROOM + "/publish", "OPTIONS, POST"),
        ("PUT", ROOM + "/history", "DELETE, GET, HEAD, OPTIONS"),
        ("DELETE", ROOM + "/presence", "GET, HEAD, OPTIONS"),
        ("TRACE", "/alive", "GET, HEAD, OPTIONS"),
        ("CONNECT", "/alive", "GET, HEAD, OPTIONS"),
        ("POST", "/admin/apps/demo", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("get", "/alive", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_told_those_there_are(rig: HttpRig, method: str, target: str, allow: str) -> None:
    response = await rig.call(method, target)
    assert (response.status, response.json["code"], response.headers["allow"]) == (405, "method_not_allowed", allow)


async def test_head_is_get_without_its_body_and_options_says_what_there_is(rig: HttpRig) -> None:
    got, headed = await rig.call("GET", "/alive"), await rig.call("HEAD", "/alive")
    assert headed.status == 200
    assert headed.headers["content-length"] == got.headers["content-length"]
    options = await rig.call("OPTIONS", ROOM + "/publish")
    assert (options.status, options.headers["allow"], options.body) == (204, "OPTIONS, POST", b"")
    assert "content-length" not in options.headers


async def test_a_request_id_is_kept_if_it_is_one(rig: HttpRig) -> None:
    assert (await rig.call("GET", "/alive", headers={"x-request-id": "abc-1.2_3"})).headers[
        "x-request-id"
    ] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "ünï", '"'):
        made = (await rig.call("GET", "/alive", headers={"x-request-id": bad})).headers["x-request-id"]
        assert made != bad
        assert len(made) == 16


async def test_a_fault_is_logged_under_its_request_and_not_shown(
    rig: HttpRig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(rig.gateway, "health", broken)
    response = await rig.call("GET", "/health")
    assert (response.status, response.json["code"]) == (500, "internal")
    assert b"secret of ours" not in response.body
    assert b"Traceback" not in response.body
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.request_id == response.headers["x-request-id"]
    assert record.exc_info is not None


# --- origins ----------------------------------------


async def test_a_page_that_is_listed_may_read_answers_and_another_may_not() -> None:
    async with open_http_rig(origins=["https://app.example"]) as rig:
        listed = {"origin": "https://app.example"}
        response = await rig.call("GET", ROOM + "/history", headers=listed, key=rig.key)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert response.headers["vary"] == "Origin"
        refused = await rig.call("GET", ROOM + "/history", headers=listed)
        assert refused.headers["access-control-allow-origin"] == "https://app.example"  # a page may read why
        foreign = await rig.call("GET", ROOM + "/history", headers={"origin": "https://evil.example"}, key=rig.key)
        assert "access-control-allow-origin" not in foreign.headers
        assert foreign.headers["vary"] == "Origin"


async def test_a_preflight_says_what_a_page_may_send() -> None:
    async with open_http_rig(origins=["https://app.example"]) as rig:
        ask = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
        response = await rig.call("OPTIONS", ROOM + "/publish", headers={"origin": "https://app.example", **ask})
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in response.headers["access-control-allow-methods"]
        assert "X-API-Key" in response.headers["access-control-allow-headers"]
        foreign = await rig.call("OPTIONS", ROOM + "/publish", headers={"origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in foreign.headers
        assert "access-control-allow-methods" not in foreign.headers


async def test_no_answer_ever_allows_credentials_of_a_browser() -> None:
    async with open_http_rig(origins=["*"]) as rig:
        for method in ("GET", "OPTIONS"):
            response = await rig.call(method, "/alive", headers={"origin": "https://any.example"})
            assert response.headers["access-control-allow-origin"] in ("*", "https://any.example")
            assert "access-control-allow-credentials" not in response.headers


# --- bodies that nobody reads ----------------------------------------


async def test_an_answer_that_comes_before_the_body_ends_the_connection(rig: HttpRig) -> None:
    endless = [b"x" * 60_000] * 3
    response = await rig.call("POST", ROOM + "/publish", [*endless, b""], JSON)
    assert (response.status, response.headers["connection"]) == (401, "close")
    small = await rig.call("POST", ROOM + "/publish", MESSAGE, JSON)
    assert small.status == 401
    assert "connection" not in small.headers


async def test_a_body_that_drips_is_cut_off_and_a_slow_one_that_goes_on_is_not(autojump_clock: MockClock) -> None:
    async def dripping(size: int, pause_s: float) -> dict[str, object]:
        await trio.sleep(pause_s)
        return {"type": "http.request", "body": b"x" * size, "more_body": True}

    async def receive_drops() -> dict[str, object]:
        return await dripping(1, 1.0)

    with pytest.raises(BodyTimeout):
        await read_body(receive_drops, [], 1_000_000)
    assert trio.current_time() == pytest.approx(DEADLINE_S, abs=0.1)

    left = 20

    async def receive_slowly() -> dict[str, object]:
        nonlocal left
        left -= 1
        return await dripping(BYTES_PER_S_MIN, 1.0) | {"more_body": left > 0}

    assert len(await read_body(receive_slowly, [], 1 << 30)) == 20 * BYTES_PER_S_MIN


# --- the daemon ----------------------------------------


async def test_probes_say_little_to_strangers_and_all_to_operators(rig: HttpRig) -> None:
    assert (await rig.call("GET", "/alive")).json == {"status": "alive"}
    assert (await rig.call("GET", "/ready")).json == {"status": "ready"}
    assert (await rig.call("GET", "/health")).json == {"status": "ok"}
    assert (await rig.call("GET", "/health", key=rig.key)).json == {"status": "ok"}
    for credential in ({"operator": True}, {"bearer": rig.admin_token}):
        detail = (await rig.call("GET", "/health", **credential)).json
        assert (detail["plane"], detail["plane_why"]) == ("asgi", "it was asked for")
        assert detail["parts"] == {"log": "segments", "store": "sqlite"}
        assert set(detail["checks"].values()) == {"ok"}
        assert detail["connections"] == 0
        assert detail["log_end"] == rig.log.end


async def test_a_log_that_failed_is_seen_in_health_and_ready(rig: HttpRig) -> None:
    rig.log.failed = "fsync failed"
    assert (await rig.call("GET", "/ready")).status == 503
    health = await rig.call("GET", "/health", operator=True)
    assert (health.status, health.json["checks"]["log"]) == (503, "fsync failed")
    assert (await rig.call("GET", "/health")).json == {"status": "degraded"}
    assert (await rig.call("GET", "/alive")).status == 200


async def test_health_says_how_far_each_stage_of_the_processor_is_and_what_it_waits_for() -> None:
    store = StageHealth(
        position=9_000, events_total=90, failures_total=0, set_aside_total=0, lag_events=0, lag_bytes=0, lag_s=0.0,
        waiting_for=None,
    )  # fmt: skip
    stuck = msgspec.structs.replace(store, lag_events=7, lag_bytes=800, lag_s=60.25, waiting_for="the disk is full")
    health = ProcessorHealth(stages={"store": store, "rollups": stuck}, pruned_total=0)
    processor = ProcessorReport(where="own", health=health, pid=7)
    async with open_http_rig(processor=processor) as rig:
        answer = await rig.call("GET", "/health", operator=True)
        assert answer.status == 200  # clients are served, events wait in the log
        assert answer.json["status"] == "degraded"
        assert answer.json["checks"]["processor: store"] == "ok"
        assert answer.json["checks"]["processor: rollups"] == "waits: the disk is full"
        assert answer.json["checks"]["processor"] == "ok"
        assert (answer.json["processor"]["process"], answer.json["processor"]["pid"]) == ("own", 7)
        assert answer.json["processor"]["stages"]["rollups"] == {
            "position": 9_000, "lag_events": 7, "lag_bytes": 800, "lag_s": 60.25, "waiting_for": "the disk is full",
            "set_aside": 0, "failures": 0,
        }  # fmt: skip
        assert (await rig.call("GET", "/health")).json == {"status": "degraded"}
        assert (await rig.call("GET", "/ready")).status == 200


async def test_metrics_are_for_operators_unless_they_are_public(rig: HttpRig) -> None:
    assert (await rig.call("GET", "/metrics")).status == 401
    metrics = await rig.call("GET", "/metrics", bearer=rig.admin_token)
    assert (metrics.status, metrics.body) == (200, b"polyglot_ready 1\n")
    async with open_http_rig(metrics_public=True) as public:
        assert (await public.call("GET", "/metrics")).status == 200


# --- examples ----------------------------------------


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    directory = tmp_path / "examples"
    directory.mkdir()
    (directory / "page.html").write_text("<p>hello")
    (directory / "script.sh").write_text("echo")
    (directory / ".hidden.html").write_text("hidden")
    (tmp_path / "outside.html").write_text("outside")
    (directory / "link.html").symlink_to(tmp_path / "outside.html")
    return directory


async def test_examples_are_served_in_development(pages: Path) -> None:
    async with open_http_rig(examples=pages, development=True) as rig:
        page = await rig.call("GET", "/examples/page.html")
        assert (page.status, page.body, page.headers["content-type"]) == (
            200,
            b"<p>hello",
            "text/html; charset=utf-8",
        )
        assert (await rig.call("GET", "/examples/vendor/phoenix.mjs")).status == 404
        (pages / "phoenix-client.mjs").write_text("export {}")
        vendor = await rig.call("GET", "/examples/vendor/phoenix.mjs")
        assert (vendor.status, vendor.headers["content-type"]) == (200, "text/javascript; charset=utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "missing.html", "../outside.html", "%2e%2e/outside.html", "..%2Foutside.html", "link.html",
        ".hidden.html", "script.sh", "page.html/", "page.html%00", "%ff", "vendor/../page.html", "vendor/other.mjs",
        "%2Fetc%2Fpasswd", "a/..%5Cpage.html", "x" * 5000 + ".html",
    ],
)  # fmt: skip
async def test_nothing_else_is_served_from_the_examples(pages: Path, name: str) -> None:
    async with open_http_rig(examples=pages, development=True) as rig:
        assert (await rig.call("GET", "/examples/" + name)).status == 404


# --- OpenAPI ----------------------------------------


async def test_the_openapi_document_is_valid_and_names_every_documented_call(rig: HttpRig) -> None:
    document = json.loads((await rig.call("GET", "/openapi.json")).body)
    OpenAPIV31SpecValidator(document).validate()
    operations = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert operations == {(route.method, route.path) for route in ROUTES if route.doc is not None}
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


async def test_answers_have_the_members_that_the_document_names(rig: HttpRig) -> None:
    await rig.publish()
    document = json.loads((await rig.call("GET", "/openapi.json")).body)
    for target, shape in (
        (ROOM + "/history", "History"), (ROOM, "ChannelDetail"), (ROOM + "/presence", "Presence"),
        ("/apps/demo/channels", "ChannelList"), ("/apps/demo/usage", "Usage"), ("/admin/apps/demo", "AppView"),
        ("/admin/apps/demo/keys", "KeyList"), ("/admin/apps/demo/quota", "Quota"),
        ("/admin/apps/demo/kinds", "KindList"),
    ):  # fmt: skip
        answer = (await rig.call("GET", target, operator=True)).json
        assert answer.keys() == document["components"]["schemas"][shape]["properties"].keys(), target


def test_heads_have_a_bound_that_fits_a_token_and_more() -> None:
    assert HEAD_BYTES_MAX >= 8192 + 4096
