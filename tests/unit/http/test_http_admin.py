"""The admin API."""

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from http_rig import JSON, MESSAGE, ROOM, HttpRig, Response, open_http_rig

from polyglotd.model import Limits, PolicyOverride

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def admin(rig: HttpRig, method: str, path: str, body: bytes | None = None) -> Response:
    return await rig.call(method, "/admin/apps" + path, body, JSON, operator=True)


# --- apps ----------------------------------------


async def test_a_new_app_comes_with_all_that_it_needs(rig: HttpRig) -> None:
    response = await admin(rig, "POST", "", b'{"app_id":"shop","name":"The shop"}')
    assert response.status == 201
    made = response.json
    app = made["app"]
    assert app.keys() == {"app_id", "name", "suspended", "created", "limits", "kinds"}
    assert (app["app_id"], app["name"], app["suspended"], app["kinds"]) == ("shop", "The shop", False, {})
    assert TIME.fullmatch(app["created"])
    assert app["limits"]["connections"] == Limits().connections
    key, secret = made["api_key"], made["signing_secret"]
    assert key.keys() == {"key_id", "name", "scopes", "created", "expires", "revoked", "key"}
    assert key["scopes"] == ["publish", "read", "presence", "admin:app"]
    assert secret.keys() == {"secret_id", "algorithm", "created", "revoked", "secret"}
    published = await rig.call("POST", "/apps/shop/channels/room:a/publish", MESSAGE, JSON, key=key["key"])
    assert published.status == 200


async def test_an_app_id_is_taken_once(rig: HttpRig) -> None:
    response = await admin(rig, "POST", "", b'{"app_id":"demo"}')
    assert (response.status, response.json["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"app_id":"Shop"}', 422, "app_id"),
        (b'{"app_id":""}', 422, "app_id"),
        (b'{"app_id":7}', 422, "app_id"),
        (b"{}", 422, "app_id"),
        (b'{"app_id":"shop","nam":"x"}', 422, "nam"),
        (b'{"app_id":"shop","name":"a\\u0000b"}', 422, "name"),
        (b'{"app_id":"shop","app_id":"shop"}', 422, "body"),
        (b"[]", 422, "body"),
        (b"{", 400, "body"),
    ],
)
async def test_an_app_that_can_not_be_is_refused(rig: HttpRig, body: bytes, status: int, field: str) -> None:
    response = await admin(rig, "POST", "", body)
    assert (response.status, response.json["code"], response.json["field"]) == (status, "invalid", field)


async def test_apps_are_listed_in_pages(rig: HttpRig) -> None:
    for app_id in ("a", "b", "c"):
        await rig.tenant(app_id)
    first = (await rig.call("GET", "/admin/apps?limit=2", operator=True)).json
    rest = (await rig.call("GET", f"/admin/apps?limit=2&cursor={first['cursor']}", operator=True)).json
    assert [app["app_id"] for app in first["apps"] + rest["apps"]] == ["a", "b", "c", "demo"]
    assert rest["cursor"] is None


async def test_an_app_is_renamed_suspended_resumed_and_deleted(rig: HttpRig) -> None:
    assert (await admin(rig, "PATCH", "/demo", b'{"name":"New"}')).json["name"] == "New"
    assert (await admin(rig, "POST", "/demo/suspend")).json["suspended"] is True
    assert (await admin(rig, "POST", "/demo/resume", b"{}")).json["suspended"] is False
    assert (await admin(rig, "GET", "/demo")).json["name"] == "New"
    deleted = await admin(rig, "DELETE", "/demo")
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await admin(rig, "GET", "/demo")).status == 404
    assert (await rig.publish()).status == 401


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None), ("PATCH", "", b'{"name":"x"}'), ("DELETE", "", None), ("POST", "/suspend", None),
        ("POST", "/resume", None), ("GET", "/quota", None), ("PATCH", "/quota", b"{}"), ("GET", "/kinds", None),
        ("GET", "/kinds/room", None), ("PATCH", "/kinds/room", b"{}"), ("DELETE", "/kinds/room", None),
        ("POST", "/tokens/revoke", b'{"jti":"x"}'),
    ],
)  # fmt: skip
async def test_an_app_that_is_not_there_is_not_found(
    rig: HttpRig, method: str, path: str, body: bytes | None
) -> None:
    response = await admin(rig, method, "/nowhere" + path, body)
    assert (response.status, response.json["code"]) == (404, "not_found")


# --- keys ----------------------------------------


async def test_a_key_is_shown_once_and_works_within_its_scopes(rig: HttpRig) -> None:
    made = (await admin(rig, "POST", "/demo/keys", b'{"name":"feed","scopes":["read"]}')).json
    assert re.fullmatch(r"plk_[0-9a-z]{32}", made["key"])
    assert (await rig.call("GET", ROOM + "/history", key=made["key"])).status == 200
    assert (await rig.call("POST", ROOM + "/publish", MESSAGE, JSON, key=made["key"])).status == 403
    listed = (await admin(rig, "GET", "/demo/keys")).json["keys"]
    assert listed[0] == {name: value for name, value in made.items() if name != "key"}


async def test_a_rotated_key_works_beside_its_successor_for_the_grace(rig: HttpRig) -> None:
    made = (await admin(rig, "POST", "/demo/keys", b"{}")).json
    new = await admin(rig, "POST", f"/demo/keys/{made['key_id']}/rotate", b'{"grace_s":3600}')
    assert new.status == 201
    assert new.json["replaces"] == made["key_id"]
    assert TIME.fullmatch(new.json["old_expires"])
    for key in (made["key"], new.json["key"]):
        assert (await rig.call("GET", ROOM, key=key)).status == 200
    now = await admin(rig, "POST", f"/demo/keys/{new.json['key_id']}/rotate", b'{"grace_s":0}')
    assert (await rig.call("GET", ROOM, key=new.json["key"])).status == 401
    assert (await rig.call("GET", ROOM, key=now.json["key"])).status == 200


async def test_a_revoked_key_is_void_at_once(rig: HttpRig) -> None:
    made = (await admin(rig, "POST", "/demo/keys", b"{}")).json
    assert (await admin(rig, "DELETE", f"/demo/keys/{made['key_id']}")).status == 204
    assert (await rig.call("GET", ROOM, key=made["key"])).status == 401
    rotated = await admin(rig, "POST", f"/demo/keys/{made['key_id']}/rotate")
    assert (rotated.status, rotated.json["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/demo/keys", b'{"scopes":["all"]}', 422, "scopes"),
        ("/demo/keys", b'{"scopes":[]}', 422, "scopes"),
        ("/demo/keys/nokey/rotate", b"{}", 404, None),
        ("/demo/keys/nokey/rotate", b'{"grace_s":"1h"}', 422, "grace_s"),
    ],
)
async def test_a_key_that_can_not_be_is_refused(
    rig: HttpRig, path: str, body: bytes, status: int, field: str | None
) -> None:
    response = await admin(rig, "POST", path, body)
    assert (response.status, response.json.get("field")) == (status, field)


# --- secrets and tokens ----------------------------------------


async def test_a_token_is_issued_works_and_is_inspected(rig: HttpRig) -> None:
    body = b'{"user":"ann","ttl_s":60,"channels":{"room:*":["join"]},"info":{"n":1.50}}'
    issued = await admin(rig, "POST", "/demo/tokens", body)
    assert issued.status == 201
    assert issued.json.keys() == {"token", "jti", "expires"}
    assert (await rig.call("GET", ROOM + "/history", bearer=issued.json["token"])).status == 200
    seen = (await admin(rig, "POST", "/demo/tokens/inspect", b'{"token":"%s"}' % issued.json["token"].encode())).json
    assert (seen["valid"], seen["problem"]) == (True, None)
    assert seen["header"]["alg"] == "HS256"
    assert (seen["claims"]["sub"], seen["claims"]["aud"]) == ("ann", "demo")


@pytest.mark.parametrize("by", ["token", "jti"])
async def test_a_revoked_token_is_void_and_says_so(rig: HttpRig, by: str) -> None:
    issued = (await admin(rig, "POST", "/demo/tokens", b'{"user":"ann"}')).json
    other = (await admin(rig, "POST", "/demo/tokens", b'{"user":"ann"}')).json
    assert (await admin(rig, "POST", "/demo/tokens/revoke", f'{{"{by}":"{issued[by]}"}}'.encode())).status == 204
    assert (await rig.call("GET", ROOM + "/history", bearer=issued["token"])).status == 401
    assert (await rig.call("GET", ROOM + "/history", bearer=other["token"])).status == 200
    seen = (await admin(rig, "POST", "/demo/tokens/inspect", b'{"token":"%s"}' % issued["token"].encode())).json
    assert seen["valid"] is False
    assert "revoked" in seen["problem"]


async def test_what_is_no_token_is_inspected_and_not_revoked(rig: HttpRig) -> None:
    seen = (await admin(rig, "POST", "/demo/tokens/inspect", b'{"token":"x.y.z"}')).json
    assert (seen["valid"], seen["claims"]) == (False, None)
    for body in (b'{"token":"x.y.z"}', b"{}", b'{"token":"a","jti":"b"}', b'{"jti":""}'):
        assert (await admin(rig, "POST", "/demo/tokens/revoke", body)).status == 422


async def test_a_token_needs_a_shared_secret_to_be_signed_with(rig: HttpRig) -> None:
    (secret,) = (await admin(rig, "GET", "/demo/secrets")).json["secrets"]
    assert "secret" not in secret
    token = rig.token()
    assert (await admin(rig, "DELETE", f"/demo/secrets/{secret['secret_id']}")).status == 204
    assert (await rig.call("GET", ROOM + "/history", bearer=token)).status == 401
    assert (await admin(rig, "POST", "/demo/tokens", b'{"user":"ann"}')).status == 409
    made = (await admin(rig, "POST", "/demo/secrets", b"{}")).json
    assert made["secret"]
    assert (await admin(rig, "POST", "/demo/tokens", b'{"user":"ann"}')).status == 201


async def test_a_public_key_is_imported_and_a_private_one_is_not(rig: HttpRig) -> None:
    private = generate_private_key(SECP256R1())
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    def body(algorithm: str, material: bytes) -> bytes:
        return b'{"algorithm":"%s","material":"%s"}' % (algorithm.encode(), material.replace(b"\n", b"\\n"))

    imported = await admin(rig, "POST", "/demo/secrets/import", body("ES256", pem))
    assert (imported.status, imported.json["algorithm"]) == (201, "ES256")
    assert "material" not in imported.json
    for algorithm, material in (("ES256", secret_pem), ("RS256", pem), ("HS256", pem), ("HS256", b"short")):
        response = await admin(rig, "POST", "/demo/secrets/import", body(algorithm, material))
        assert (response.status, response.json["field"]) == (422, "material")
    assert (await admin(rig, "POST", "/demo/secrets/import", body("none", pem))).json["field"] == "algorithm"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "user"),
        (b'{"user":""}', "user"),
        (b'{"user":"ann","ttl_s":0}', "ttl_s"),
        (b'{"user":"ann","ttl_s":2592001}', "ttl_s"),
        (b'{"user":"ann","channels":{"*":["join"]}}', "channels"),
        (b'{"user":"ann","channels":{"room:*":["fly"]}}', "channels"),
        (b'{"user":"ann","info":[1]}', "info"),
    ],
)
async def test_a_token_that_can_not_be_is_refused(rig: HttpRig, body: bytes, field: str) -> None:
    response = await admin(rig, "POST", "/demo/tokens", body)
    assert response.status == 422
    assert response.json["field"].startswith(field)


# --- limits and kinds ----------------------------------------


async def test_limits_are_changed_by_name_and_null_puts_the_default_back(rig: HttpRig) -> None:
    changed = (await admin(rig, "PATCH", "/demo/quota", b'{"connections":50000,"channels":7}')).json
    assert (changed["limits"]["connections"], changed["limits"]["channels"]) == (50_000, 7)
    assert changed["defaults"]["connections"] == 10_000
    back = (await admin(rig, "PATCH", "/demo/quota", b'{"connections":null}')).json
    assert (back["limits"]["connections"], back["limits"]["channels"]) == (10_000, 7)
    assert (await admin(rig, "GET", "/demo/quota")).json == back


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"connections":-1}', "connections"),
        (b'{"connections":"many"}', "connections"),
        (b'{"conections":1}', "conections"),
        (b'{"joins_per_second":0}', "joins_per_second"),
        (b'{"connections":1.5}', "connections"),
    ],
)
async def test_a_limit_that_can_not_be_is_refused(rig: HttpRig, body: bytes, field: str) -> None:
    response = await admin(rig, "PATCH", "/demo/quota", body)
    assert (response.status, response.json["field"]) == (422, field)


async def test_a_kind_is_changed_added_and_reset(rig: HttpRig) -> None:
    changed = (await admin(rig, "PATCH", "/demo/kinds/room", b'{"history_events":5}')).json
    assert (changed["kind"], changed["history_events"], changed["source"]) == ("room", 5, "built-in, changed")
    merged = (await admin(rig, "PATCH", "/demo/kinds/room", b'{"join":"capability"}')).json
    assert (merged["history_events"], merged["join"]) == (5, "capability")
    assert (await admin(rig, "GET", "/demo")).json["kinds"]["room"] == {"history_events": 5, "join": "capability"}
    assert (await admin(rig, "PATCH", "/demo/kinds/poll", b'{"presence":"count"}')).json["source"] == "app"
    kinds = (await admin(rig, "GET", "/demo/kinds")).json["kinds"]
    assert list(kinds) == ["room", "ticker", "match", "post", "poll"]
    assert kinds["ticker"]["source"] == "built-in"
    assert (await rig.publish("poll:1")).status == 200
    assert (await admin(rig, "DELETE", "/demo/kinds/room")).status == 204
    assert (await admin(rig, "GET", "/demo/kinds/room")).json["source"] == "built-in"
    assert (await admin(rig, "DELETE", "/demo/kinds/room")).status == 404


async def test_what_the_configuration_says_of_a_kind_is_shown() -> None:
    configured = {"demo": {"room": PolicyOverride(history_events=7), "vote": PolicyOverride()}}
    async with open_http_rig(kinds=configured) as rig:
        kinds: dict[str, Any] = (await admin(rig, "GET", "/demo/kinds")).json["kinds"]
        assert (kinds["room"]["history_events"], kinds["room"]["source"]) == (7, "built-in, changed")
        assert "vote" in kinds


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("room", b'{"history_events":-1}', "history_events"),
        ("room", b'{"overflow":"burst"}', "overflow"),
        ("room", b'{"route":"local-first"}', "route"),
        ("room", b'{"retention_s":1}', "retention_s"),
        ("room", b'{"color":"red"}', "color"),
        ("Room", b"{}", "kind"),
        ("a%2Fb", b"{}", "kind"),
    ],
)
async def test_a_kind_that_can_not_be_is_refused(rig: HttpRig, kind: str, body: bytes, field: str) -> None:
    response = await admin(rig, "PATCH", f"/demo/kinds/{kind}", body)
    assert (response.status, response.json["field"]) == (422, field)


async def test_a_kind_that_nobody_defined_is_not_found(rig: HttpRig) -> None:
    assert (await admin(rig, "GET", "/demo/kinds/poll")).status == 404


# --- what an app's own server does to users ----------------------------------------


async def test_users_that_are_not_there_are_done_nothing(rig: HttpRig) -> None:
    kicked = await rig.call("POST", ROOM + "/kick", b'{"user":"bob"}', JSON, key=rig.key)
    assert kicked.json == {"subscriptions": 0}
    gone = await rig.call("POST", "/apps/demo/users/bob/disconnect", None, key=rig.key)
    assert gone.json == {"connections": 0}
    signal = b'{"channel":"room:lobby","type":"nudge","data":{"a":1}}'
    unheard = await rig.call("POST", "/apps/demo/users/bob/signal", signal, JSON, key=rig.key)
    assert (unheard.status, unheard.json["code"]) == (404, "not_found")


async def test_a_revoked_users_tokens_are_void_and_new_ones_are_not(rig: HttpRig) -> None:
    token = rig.token("a/b")
    revoked = await rig.call("POST", "/apps/demo/users/a%2Fb/revoke", b"{}", JSON, key=rig.key)
    assert revoked.json == {"user": "a/b", "revoked": True}
    assert (await rig.call("GET", ROOM + "/history", bearer=token)).status == 401
    assert (await rig.call("GET", ROOM + "/history", bearer=rig.token("a/b"))).status == 200


@pytest.mark.parametrize(
    ("target", "body", "field"),
    [
        (ROOM + "/kick", b"{}", "user"),
        (ROOM + "/kick", b'{"user":""}', "user"),
        ("/apps/demo/users/%00/disconnect", b"{}", "user"),
        ("/apps/demo/users/%ff/disconnect", b"{}", "user"),
        ("/apps/demo/users/" + "a" * 129 + "/revoke", b"{}", "user"),
        ("/apps/demo/users/ann/revoke", b'{"x":1}', "x"),
        ("/apps/demo/users/ann/signal", b'{"channel":"room:a"}', "type"),
        ("/apps/demo/users/ann/signal", b'{"channel":"a","type":"m"}', "channel"),
    ],
)
async def test_a_call_on_a_user_that_is_wrong_is_refused(rig: HttpRig, target: str, body: bytes, field: str) -> None:
    response = await rig.call("POST", target, body, JSON, key=rig.key)
    assert (response.status, response.json["field"]) == (422, field)
