"""Who asks: keys, tokens, operators, development mode, and nobody."""

from collections.abc import AsyncIterator

import pytest
from http_rig import JSON, MESSAGE, ROOM, HttpRig, open_http_rig

CALLS = [
    ("POST", "/apps/{app}/channels/room:lobby/publish"),
    ("POST", "/apps/{app}/publish"),
    ("GET", "/apps/{app}/channels/room:lobby/history"),
    ("GET", "/apps/{app}/channels/room:lobby/presence"),
    ("GET", "/apps/{app}/channels/room:lobby"),
    ("GET", "/apps/{app}/channels/room:lobby/events"),
    ("GET", "/apps/{app}/channels"),
    ("GET", "/apps/{app}/usage"),
    ("POST", "/apps/{app}/channels/room:lobby/kick"),
    ("POST", "/apps/{app}/users/ann/signal"),
    ("POST", "/apps/{app}/users/ann/disconnect"),
    ("POST", "/apps/{app}/users/ann/revoke"),
]
BODIES = {
    "publish": MESSAGE,
    "kick": b'{"user":"ann"}',
    "signal": b'{"channel":"room:lobby","type":"nudge"}',
    "disconnect": b"{}",
    "revoke": b"{}",
}
ADMIN_CALLS = [
    ("GET", "/admin/apps"),
    ("POST", "/admin/apps"),
    ("GET", "/admin/apps/demo"),
    ("PATCH", "/admin/apps/demo"),
    ("DELETE", "/admin/apps/demo"),
    ("POST", "/admin/apps/demo/suspend"),
    ("POST", "/admin/apps/demo/resume"),
    ("GET", "/admin/apps/demo/keys"),
    ("POST", "/admin/apps/demo/keys"),
    ("POST", "/admin/apps/demo/keys/k/rotate"),
    ("DELETE", "/admin/apps/demo/keys/k"),
    ("GET", "/admin/apps/demo/secrets"),
    ("POST", "/admin/apps/demo/secrets"),
    ("POST", "/admin/apps/demo/secrets/import"),
    ("DELETE", "/admin/apps/demo/secrets/s"),
    ("POST", "/admin/apps/demo/tokens"),
    ("POST", "/admin/apps/demo/tokens/inspect"),
    ("POST", "/admin/apps/demo/tokens/revoke"),
    ("GET", "/admin/apps/demo/quota"),
    ("PATCH", "/admin/apps/demo/quota"),
    ("GET", "/admin/apps/demo/kinds"),
    ("GET", "/admin/apps/demo/kinds/room"),
    ("PATCH", "/admin/apps/demo/kinds/room"),
    ("DELETE", "/admin/apps/demo/kinds/room"),
    ("GET", "/metrics"),
]


def body_of(target: str) -> bytes:
    return BODIES.get(target.rsplit("/", 1)[1], b"{}")


@pytest.mark.parametrize(("method", "target"), CALLS)
async def test_every_call_of_an_app_wants_a_credential(rig: HttpRig, method: str, target: str) -> None:
    response = await rig.call(method, target.format(app="demo"), body_of(target), JSON)
    assert (response.status, response.json["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "target"), CALLS)
async def test_no_call_tells_one_app_of_another(rig: HttpRig, method: str, target: str) -> None:
    await rig.tenant("other")
    for credential in ({"key": rig.key}, {"bearer": rig.key}, {"bearer": rig.token()}):
        answers = [
            await rig.call(method, target.format(app=app), body_of(target), JSON, **credential)
            for app in ("other", "nowhere")
        ]
        assert [answer.status for answer in answers] == [401, 401]
        assert answers[0].body == answers[1].body


@pytest.mark.parametrize(("method", "target"), ADMIN_CALLS)
async def test_the_admin_api_is_for_operators(rig: HttpRig, method: str, target: str) -> None:
    assert (await rig.call(method, target, b"{}", JSON)).status == 401
    for credential in ({"key": rig.key}, {"bearer": rig.key}, {"bearer": rig.token()}):
        assert (await rig.call(method, target, b"{}", JSON, **credential)).status == 403
        # On the admin socket a credential that is shown counts as what it is.
        assert (await rig.call(method, target, b"{}", JSON, operator=True, **credential)).status == 403
    assert (await rig.call(method, target, b"{}", JSON, bearer="pla_" + "0" * 32)).status == 401


async def test_an_operator_may_do_what_a_key_may_over_the_socket_and_with_a_token(rig: HttpRig) -> None:
    for credential in ({"operator": True}, {"bearer": rig.admin_token}):
        assert (await rig.call("POST", ROOM + "/publish", MESSAGE, JSON, **credential)).status == 200
        missing = await rig.call("POST", "/apps/nowhere/channels/room:a/publish", MESSAGE, JSON, **credential)
        assert (missing.status, missing.json["code"]) == (404, "not_found")
    history = await rig.call("GET", ROOM + "/history", operator=True)
    assert [event["meta"]["user_id"] for event in history.json["events"]] == [None, None]


@pytest.mark.parametrize(
    ("scope", "works"),
    [
        ("publish", {"publish"}),
        ("read", {"history", "room:lobby", "channels", "usage"}),
        ("presence", {"presence"}),
        ("admin:app", {"kick", "disconnect", "revoke"}),
    ],
)
async def test_a_key_reaches_as_far_as_its_scopes(rig: HttpRig, scope: str, works: set[str]) -> None:
    key = await rig.another_key(scope)
    reached = set()
    for method, target in CALLS:
        name = target.rsplit("/", 1)[1]
        if name in ("events", "signal") or target == "/apps/{app}/publish":
            continue  # a stream; a signal finds nobody; a batch answers item by item
        response = await rig.call(method, target.format(app="demo"), body_of(target), JSON, key=key)
        assert response.status in (200, 403)
        if response.status == 200:
            reached.add(name)
    assert reached == works


async def test_a_users_token_reaches_as_far_as_its_capabilities(rig: HttpRig) -> None:
    token = rig.token(channels={"room:lobby": ["join"], "ticker:*": ["publish"]})
    assert (await rig.call("GET", ROOM + "/history", bearer=token)).status == 200
    for refused in (
        await rig.call("POST", ROOM + "/publish", MESSAGE, JSON, bearer=token),
        await rig.call("GET", ROOM + "/presence", bearer=token),
        await rig.call("GET", "/apps/demo/channels/room:other/history", bearer=token),
        await rig.call("GET", "/apps/demo/usage", bearer=token),
        await rig.call("POST", "/apps/demo/users/ann/revoke", b"{}", JSON, bearer=token),
    ):
        assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert (await rig.call("POST", "/apps/demo/channels/ticker:x/publish", MESSAGE, JSON, bearer=token)).status == 200


async def test_two_credentials_are_refused_unless_they_are_one(rig: HttpRig) -> None:
    assert (await rig.call("GET", ROOM, key=rig.key, bearer=rig.key)).status == 200
    for bearer in (rig.token(), rig.admin_token):
        assert (await rig.call("GET", ROOM, key=rig.key, bearer=bearer)).status == 422
    twice = [("x-api-key", rig.key), ("x-api-key", rig.key)]
    assert (await rig.call("GET", ROOM, headers=twice)).status == 422


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", "token", ""])
async def test_an_authorization_that_is_no_bearer_is_none(rig: HttpRig, value: str) -> None:
    assert (await rig.call("GET", ROOM, headers={"authorization": value})).status == 401


async def test_a_suspended_app_is_forbidden_until_it_is_resumed(rig: HttpRig) -> None:
    await rig.call("POST", "/admin/apps/demo/suspend", operator=True)
    for credential in ({"key": rig.key}, {"bearer": rig.token()}):
        response = await rig.call("GET", ROOM + "/history", **credential)
        assert (response.status, response.json["code"]) == (403, "forbidden")
    await rig.call("POST", "/admin/apps/demo/resume", operator=True)
    assert (await rig.call("GET", ROOM + "/history", key=rig.key)).status == 200


async def test_a_lost_registry_is_unavailable_and_says_when_to_come_again(rig: HttpRig) -> None:
    rig.registry.lost = True
    response = await rig.call("GET", "/apps/another/usage", key=rig.key)
    assert (response.status, response.json["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1


# --- development mode ----------------------------------------


@pytest.fixture
async def dev() -> AsyncIterator[HttpRig]:
    async with open_http_rig(development=True) as rig:
        await rig.tenant("chat-app")
        yield rig


CHAT = "/apps/chat-app/channels/room:lobby"


async def test_in_development_the_two_calls_of_the_readme_work(dev: HttpRig) -> None:
    published = await dev.call("POST", CHAT + "/publish", MESSAGE, JSON, key="valid_key_chat-app")
    assert published.status == 200
    history = await dev.call("GET", CHAT + "/history")
    assert history.json["events"][0]["data"] == {"text": "Hello"}


async def test_in_development_a_user_is_whom_its_token_names(dev: HttpRig) -> None:
    await dev.call("POST", CHAT + "/publish", MESSAGE, JSON, bearer="valid_token_ann")
    assert (await dev.call("GET", CHAT + "/history")).json["events"][0]["meta"]["user_id"] == "ann"


async def test_in_development_only_history_of_its_app_is_open(dev: HttpRig) -> None:
    assert (await dev.call("GET", "/apps/demo/channels/room:lobby/history")).status == 401
    assert (await dev.call("GET", CHAT + "/presence")).status == 401
    assert (await dev.call("GET", CHAT + "/history", key="valid_key_other")).status == 401
    assert (await dev.call("GET", "/apps/demo/usage", key="valid_key_chat-app")).status == 401


async def test_without_development_its_literals_are_nothing(rig: HttpRig) -> None:
    await rig.tenant("chat-app")
    assert (await rig.call("GET", CHAT + "/history")).status == 401
    assert (await rig.call("GET", CHAT + "/history", key="valid_key_chat-app")).status == 401
    assert (await rig.call("GET", CHAT + "/history", bearer="valid_token_ann")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "evil.example")],
        [("host", "localhost.evil.example:4000")],
        [("host", "127.0.0.1.evil.example")],
        [("host", "localhost"), ("origin", "https://evil.example")],
        [("host", "localhost"), ("origin", "null")],
        [("host", "localhost"), ("x-forwarded-for", "10.0.0.1")],
        [("host", "localhost"), ("x-forwarded-proto", "https")],
        [("host", "localhost"), ("forwarded", "for=10.0.0.1")],
        [("host", "localhost"), ("x-real-ip", "10.0.0.1")],
    ],
)
async def test_in_development_strangers_are_kept_out_of_everything(
    dev: HttpRig, headers: list[tuple[str, str]]
) -> None:
    for target in (CHAT + "/history", "/alive", "/openapi.json", "/examples/chat_example.html", "/nowhere"):
        response = await dev.call("GET", target, headers=headers, key="valid_key_chat-app")
        assert (response.status, response.json["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in response.headers
    assert (await dev.call("OPTIONS", CHAT + "/history", headers=headers)).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:4000", "127.8.9.10", "[::1]:4000"])
async def test_in_development_this_machine_is_served_by_all_its_names(dev: HttpRig, host: str) -> None:
    headers = [("host", host), ("origin", f"http://{host}")]
    response = await dev.call("GET", CHAT + "/history", headers=headers)
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, f"http://{host}")


async def test_in_development_an_absolute_target_is_looked_at_too(dev: HttpRig) -> None:
    headers = [("host", "localhost")]
    assert (await dev.call("GET", "http://evil.example" + CHAT + "/history", headers=headers)).status == 403
    assert (await dev.call("GET", "http://localhost" + CHAT + "/history", headers=headers)).status == 200


async def test_in_development_the_admin_socket_may_call_itself_anything(dev: HttpRig) -> None:
    headers = [("host", "polyglot.local")]
    assert (await dev.call("GET", "/admin/apps", headers=headers, operator=True)).status == 200
