"""Two apps attack each other over every call: whatever the one does, the other sees nothing and loses nothing.

`two_apps` has the stage, and what may not turn up on which side.
"""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from followers import LONG_POLL, Tail, twice_token
from phoenix_wire import Frame, connect, refusal, target
from tenants import Operator, Tenant
from trio_websocket import ConnectionRejected
from two_apps import ALL_RIGHTS, ANN, CHANNELS, MARK, SECRET, Scene, numbers, scene


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    """Not in development mode: nothing is let in but what an operator made."""
    with daemon_process(dev=False, env={"POLYGLOTD_LISTEN__PER_ADDRESS": "10000"}) as daemon:
        yield daemon


# --- every route of the HTTP API

# What makes each call valid, by method and path: body and query. The test below fails for a route that is not here.
TENANT_CALLS: dict[str, dict[str, Any]] = {
    "POST /apps/{app}/channels/{channel}/publish": {"json": {"type": "m", "data": MARK, "id": "first"}},
    "POST /apps/{app}/publish": {"json": {"events": [{"channel": c, "type": "m", "data": MARK} for c in CHANNELS]}},
    "GET /apps/{app}/channels/{channel}/history": {},
    "GET /apps/{app}/channels/{channel}/presence": {},
    "GET /apps/{app}/channels/{channel}": {},
    "GET /apps/{app}/channels": {"params": {"prefix": "room:"}},
    "GET /apps/{app}/channels/{channel}/events": {},
    "GET /apps/{app}/usage": {},
    "GET /apps/{app}/analytics": {"params": {"channel": "room:lobby"}},
    "POST /apps/{app}/channels/{channel}/kick": {"json": {"user": ANN}},
    "POST /apps/{app}/users/{user}/signal": {"json": {"channel": "room:lobby", "type": "m", "data": MARK}},
    "POST /apps/{app}/users/{user}/disconnect": {"json": {}},
    "POST /apps/{app}/users/{user}/revoke": {"json": {}},
    "DELETE /apps/{app}/channels/{channel}/events/{id}": {"params": {"seq": 1}},
    "DELETE /apps/{app}/channels/{channel}/history": {},
    "DELETE /apps/{app}/users/{user}/events": {},
    "GET /apps/{app}/erasures": {},
    "GET /apps/{app}/erasures/{erasure}": {},
}
PUBLIC = {"GET /alive", "GET /ready", "GET /health"}


async def routes(http: httpx.AsyncClient) -> list[str]:
    document = (await http.get("/openapi.json")).json()
    return [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]


def foreign_credentials(own: Tenant) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that an app has, in every place where it can be shown."""
    token = own.token(ANN)
    yield "key", {"headers": own.by_key}
    yield "key as bearer", {"headers": {"Authorization": f"Bearer {own.key}"}}
    yield "token", {"headers": {"Authorization": f"Bearer {token}"}}
    yield "key in the name of a user", {"headers": {**own.by_key, "X-User-Id": ANN}}
    yield "secret", {"headers": {"X-API-Key": own.secret}}
    yield "token in the query", {"params": {"token": token}}


def filled(path: str, app_id: str) -> str:
    path = (
        path.replace("{app}", app_id)
        .replace("{id}", "first")
        .replace("{channel}", "room:lobby")
        .replace("{user}", ANN)
    )
    return path.replace("{kind}", "room")


async def call(http: httpx.AsyncClient, method: str, path: str, *shown: dict[str, Any]) -> httpx.Response:
    """One call; of an endless answer only its head."""
    how: dict[str, Any] = {"params": {}, "headers": {}}
    for part in shown:
        for name, value in part.items():
            how[name] = {**how[name], **value} if name in ("params", "headers") else value
    async with http.stream(method, path, **how) as answer:
        if answer.headers.get("content-type") != "text/event-stream":
            await answer.aread()
        return answer


async def test_no_credential_of_one_app_opens_any_route_of_another(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        before = await s.state_of_alpha()
        found = [route for route in await routes(s.http) if "{app}" in route and " /admin/" not in route]
        assert sorted(found) == sorted(TENANT_CALLS), "a route has come or gone: say in TENANT_CALLS how it is called"
        for route in found:
            method, _, path = route.partition(" ")
            for what, shown in foreign_credentials(s.beta):
                if "params" in shown and not path.endswith("/events"):
                    continue  # nobody else reads it
                answer = await call(s.http, method, filled(path, s.alpha.app_id), TENANT_CALLS[route], shown)
                assert answer.status_code == 401, (route, what, answer.status_code)
                nowhere = await call(s.http, method, filled(path, "nowhere"), TENANT_CALLS[route], shown)
                assert nowhere.json() == answer.json(), f"{route} with {what} tells whether there is such an app"
                assert SECRET not in answer.text
        assert await s.state_of_alpha() == before
        await s.check_alpha_is_alone()


def _its_turn(route: str) -> tuple[bool, bool, bool]:
    """What is erased is published before, what is asked about an erasure comes after it, disconnects come last."""
    return "disconnect" in route, "{erasure}" in route, route.startswith("DELETE")


async def test_the_same_calls_work_with_the_apps_own_key(daemon: DaemonProcess) -> None:
    """Else the test above would show nothing."""
    async with scene(daemon) as s:
        async with connect(daemon.port, s.beta.token(ANN), app_id=s.beta.app_id) as beta:
            _ = (await beta.join("room:lobby")).ok
            erasure = ""
            for route, how in sorted(TENANT_CALLS.items(), key=lambda item: _its_turn(item[0])):
                method, _, path = route.partition(" ")
                path = path.replace("{erasure}", erasure)
                own = {"headers": s.beta.by_key}
                if route.endswith("/kick"):  # signals and disconnects come after it
                    assert (await call(s.http, method, filled(path, s.beta.app_id), how, own)).status_code == 200
                    await beta.event("room:lobby", "phx_close")
                    _ = (await beta.join("room:lobby")).ok
                elif not route.endswith("/revoke"):
                    answer = await call(s.http, method, filled(path, s.beta.app_id), how, own)
                    assert answer.status_code == (202 if method == "DELETE" else 200), route
                    if method == "DELETE":
                        erasure = answer.json()["erasure_id"]
            assert (await beta.end()).code == 4003
        await s.check_alpha_is_alone()


async def test_the_admin_api_is_closed_to_every_apps_credentials(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        before = await s.operator.ask("GET", f"/admin/apps/{s.alpha.app_id}")
        keys = await s.operator.ask("GET", f"/admin/apps/{s.alpha.app_id}/keys")
        others = [route for route in await routes(s.http) if route not in TENANT_CALLS and route not in PUBLIC]
        assert len([route for route in others if " /admin/" in route]) > 15
        for route, app in itertools.product(others, (s.alpha, s.beta)):
            method, _, path = route.partition(" ")
            path = filled(path, s.alpha.app_id).replace("{key_id}", s.alpha.key_id)
            path = path.replace("{secret_id}", s.alpha.secret_id)
            for what, shown in foreign_credentials(app):
                body: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": {}}
                answer = await call(s.http, method, path, body, shown)
                assert answer.status_code in (401, 403), (route, what, answer.status_code)
                assert s.alpha.app_id not in answer.text
        for app in (s.alpha, s.beta):
            for _, shown in foreign_credentials(app):
                url = f"{daemon.websocket_url}/admin/apps/{s.alpha.app_id}/tail?channel=room:lobby"
                with pytest.raises(ConnectionRejected) as rejected:
                    await Tail().run(url, shown.get("headers", {}))
                assert rejected.value.status_code in (401, 403)
        assert await s.operator.ask("GET", f"/admin/apps/{s.alpha.app_id}") == before
        assert await s.operator.ask("GET", f"/admin/apps/{s.alpha.app_id}/keys") == keys
        await s.check_alpha_is_alone()


@pytest.mark.parametrize(
    "path",
    [
        "/apps/{beta}/../{alpha}/channels/room:lobby/history",
        "/apps/{beta}%2F..%2F{alpha}/channels/room:lobby/history",
        "/apps/{beta}/channels/..%2F..%2F{alpha}%2Fchannels%2Froom:lobby/history",
        "/apps/{beta}/channels/{alpha}:room:lobby/history",
        "/apps//{alpha}/channels/room:lobby/history",
        "/apps/{alpha}%00/channels/room:lobby/history",
        "/apps/{beta},{alpha}/channels/room:lobby/history",
        "/apps/{beta}?app={alpha}",
        "/apps/{beta}/channels/room:lobby/history?app={alpha}&app_id={alpha}",
        "/admin/../apps/{alpha}/channels/room:lobby/history",
    ],
)
async def test_no_spelling_of_a_path_leads_from_one_app_to_another(daemon: DaemonProcess, path: str) -> None:
    async with Operator(daemon) as operator, await trio.open_tcp_stream("127.0.0.1", daemon.port) as raw:
        number = next(numbers)
        alpha, beta = await operator.create(f"alpha{number}"), await operator.create(f"beta{number}")
        await operator.publish(alpha, "room:lobby", SECRET)
        where = path.format(alpha=alpha.app_id, beta=beta.app_id)  # as it stands: httpx would tidy it up
        await raw.send_all(
            f"GET {where} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {beta.key}\r\nconnection: close\r\n\r\n".encode()
        )
        answer = b""
        with trio.fail_after(10):
            async for data in raw:
                answer += data
        assert answer.startswith(b"HTTP/1.1 4")
        assert SECRET.encode() not in answer


# --- sockets


async def test_no_socket_of_one_app_opens_with_what_another_app_has(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        alpha, beta = s.alpha, s.beta
        own_for_other = jwt.encode({"sub": ANN, "aud": alpha.app_id, "iat": 1, "exp": 1 << 33}, beta.secret, "HS256")
        both = beta.token(ANN, aud=[alpha.app_id, beta.app_id])
        tokens = {
            "beta's token": beta.token(ANN),
            "alpha's audience signed by beta": own_for_other,
            "the same within its time": beta.token(ANN, aud=alpha.app_id),
            "both audiences signed by beta": both,
            "beta's key": beta.key,
            "alpha's key": alpha.key,  # good for much, but no user's
            "alpha's session of long-poll": s.long_poll.session,
        }
        for what, token in tokens.items():
            refused = await refusal(daemon.port, token, app_id=alpha.app_id)
            assert refused.status == 403, what
            assert refused.problem["code"] == "unauthorized", what
            polled = (await s.http.get(LONG_POLL, params={"app_id": alpha.app_id, "token": token})).json()
            assert polled == {"status": 403}, what
        twice = f"{target(alpha.app_id, beta.token(ANN))}&app_id={beta.app_id}"
        assert (await refusal(daemon.port, path=twice)).status == 403
        await s.check_alpha_is_alone()


async def test_a_long_poll_session_is_of_no_use_to_another_app(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        for credentials in (
            {"app_id": s.beta.app_id, "token": s.beta.token(ANN)},
            {"app_id": s.alpha.app_id, "token": s.beta.token(ANN)},
            {"app_id": s.beta.app_id, "token": s.long_poll.token},
        ):
            params = twice_token(credentials["token"], s.long_poll.session, app_id=credentials["app_id"], vsn="2.0.0")
            push = ["0", "99", "room:lobby", "publish", {"type": "m", "data": MARK}]
            posted = await s.http.post(
                LONG_POLL, params=params, content=json.dumps(push), headers={"content-type": "application/json"}
            )
            assert posted.json() == {"status": 410}
            polled = (await s.http.get(LONG_POLL, params=params)).json()
            assert polled["status"] in (403, 410)
            assert polled.get("token") != s.long_poll.session
            assert not polled.get("messages")
        await s.check_alpha_is_alone()


async def test_equal_names_in_two_apps_are_two_of_everything(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        beta, before = s.beta, await s.state_of_alpha()
        async with connect(daemon.port, beta.token(ANN, **ALL_RIGHTS), app_id=beta.app_id) as socket:
            socket.keep_raw = True
            for channel in CHANNELS:
                since = {"epoch": before[f"/channels/{channel}"]["epoch"], "seq": 0}
                joined = (await socket.join(channel, {"since": since, "history": 100})).ok
                assert (joined["seq"], joined.get("events", [])) == (0, [])
                assert joined.get("snapshot", []) == []
                # The id is alpha's too, and no duplicate here.
                event = {"type": "m", "data": MARK, "id": "first"}
                published = (await socket.ask(channel, "publish", event)).ok
                assert published["seq"] == 1
                assert "duplicate" not in published
                assert (await socket.ask(channel, "signal", {"type": "typing", "data": MARK})).ok == {}
                again = await s.operator.publish(beta, channel, MARK, id="by-key")
                assert again["seq"] == 2
                in_name = await s.http.post(
                    f"{beta.url}/channels/{channel}/publish",
                    json={"type": "m", "data": MARK, "id": "first"},
                    headers={**beta.by_key, "X-User-Id": ANN},
                )
                assert in_name.json()["duplicate"] is True  # of beta's own
                history = await s.operator.history(beta, channel)
                assert [event["data"] for event in history["events"]] == [MARK, MARK]
            for channel in ("room:lobby", "match:7"):
                presence = (await socket.ask(channel, "presence")).ok["presence"]
                assert list(presence) == [ANN]
                assert len(presence[ANN]["metas"]) == 1, "alpha's devices are there too"
            for data in (b'"kick-me"', json.dumps(MARK).encode()):
                await socket.ask("room:lobby", "presence_update", b'{"info":{"away":%b}}' % data)
            listed = (await s.http.get(f"{beta.url}/channels", headers=beta.by_key)).json()
            assert {c["channel"]: c["subscriptions"] for c in listed["channels"]} == dict.fromkeys(CHANNELS, 1)
            assert SECRET.encode() not in socket.raw

            # A resume from alpha's place, far beyond beta's own events.
            place = before["/channels/room:lobby"]
            _ = (await socket.leave("room:lobby")).ok
            joined = (await socket.join("room:lobby", {"since": {"epoch": place["epoch"], "seq": 1000}})).ok
            assert joined["recovered"] is False
            assert SECRET not in json.dumps(joined)
        assert await s.state_of_alpha() == before
        await s.check_alpha_is_alone()


async def test_what_an_app_does_to_its_users_leaves_another_apps_users_alone(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        beta = s.beta
        async with connect(daemon.port, beta.token(ANN), app_id=beta.app_id) as socket:
            _ = (await socket.join("room:lobby")).ok
            users = f"{beta.url}/users/{ANN}"
            signal = {"channel": "room:lobby", "type": "m", "data": MARK}
            assert await done(s, f"{users}/signal", signal) == {"devices": 1}
            await socket.event("room:lobby", "signal")
            assert await done(s, f"{beta.url}/channels/room:lobby/kick", {"user": ANN}) == {"subscriptions": 1}
            await socket.event("room:lobby", "phx_close")
            assert await done(s, f"{users}/disconnect", {}) == {"connections": 1}
            assert (await socket.end()).code == 4003
        old = beta.token(ANN, iat=int(time.time()) - 2)
        await done(s, f"{users}/revoke", {})
        assert (await refusal(daemon.port, old, app_id=beta.app_id)).status == 403
        await s.check_alpha_is_alone()
        assert not [frame for frame in s.socket.inbox if ends(frame)]


async def done(s: Scene, path: str, body: Any) -> Any:
    answer = await s.http.post(path, json=body, headers=s.beta.by_key)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ends(frame: Frame) -> bool:
    return frame.event in ("phx_close", "phx_error", "signal")


async def test_what_operators_do_to_one_app_leaves_another_alone(daemon: DaemonProcess) -> None:
    async with scene(daemon) as s:
        ask, alpha, beta = s.operator.ask, s.alpha, s.beta
        of_beta = f"/admin/apps/{beta.app_id}"
        # Its names under the other's path are nobody's.
        await ask("DELETE", f"{of_beta}/keys/{alpha.key_id}", status=404)
        await ask("POST", f"{of_beta}/keys/{alpha.key_id}/rotate", {}, status=404)
        await ask("DELETE", f"{of_beta}/secrets/{alpha.secret_id}", status=404)
        issued = await ask("POST", f"/admin/apps/{alpha.app_id}/tokens", {"user": ANN})
        await ask("POST", f"{of_beta}/tokens/revoke", {"jti": issued["jti"]})
        assert (await ask("POST", f"{of_beta}/tokens/inspect", {"token": issued["token"]}))["valid"] is False
        async with connect(daemon.port, issued["token"], app_id=alpha.app_id) as alive:
            await alive.beat()
        # Limits and kinds.
        await ask("PATCH", f"{of_beta}/quota", {"api_publishes": 1, "connections": 0})
        await ask("PATCH", f"{of_beta}/kinds/room", {"publish": "none", "join": "capability", "history_events": 1})
        codes = [
            (
                await s.http.post(f"{beta.url}/channels/post:1/publish", json={"type": "m"}, headers=beta.by_key)
            ).status_code
            for _ in range(3)
        ]
        assert 429 in codes
        assert (await refusal(daemon.port, beta.token(ANN), app_id=beta.app_id)).status == 429
        assert (await s.socket.ask("room:lobby", "publish", {"type": "m", "data": SECRET})).ok["seq"] > 1
        await s.check_alpha_is_alone()
        # The whole app.
        await ask("POST", f"{of_beta}/suspend")
        assert (await s.http.get(f"{beta.url}/usage", headers=beta.by_key)).status_code == 403
        await s.check_alpha_is_alone()
        await ask("DELETE", of_beta)
        await s.check_alpha_is_alone()
