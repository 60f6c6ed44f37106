"""Admin API: issue, inspect and revoke user tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from polyglotd.access.revocation import keep_until_us
from polyglotd.access.user_tokens import inspect_user_token, issue_user_token
from polyglotd.gateway.callers import Credentials
from polyglotd.gateway.http.admin_shapes import InspectBody, Inspection, IssuedToken, NewTokenBody, RevokeTokenBody
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import SMALL_BODY_BYTES, Call, decode, object_members
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Endpoint, Route
from polyglotd.model import Conflict, Forbidden, Invalid, SigningSecret, Unauthorized, format_ts

_new_token = msgspec.json.Decoder(NewTokenBody)
_inspect = msgspec.json.Decoder(InspectBody)
_revoke = msgspec.json.Decoder(RevokeTokenBody)

JTI_BYTES_MAX = 128


async def issue(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    text = await call.json(SMALL_BODY_BYTES)
    info = object_members(text, "body").get("info")  # as it is written: numbers in it are not rebuilt
    body = decode(_new_token, text)
    issued = issue_user_token(
        _newest_shared(await edge.registry.secrets(app_id)),
        app_id=app_id,
        user_id=body.user,
        ttl_s=body.ttl_s,
        channels=body.channels,
        info=None if body.info is None else info,
        now_us=edge.now_us(),
        ttl_max_s=edge.settings.token_ttl_max_s,
    )
    return json_answer(IssuedToken(token=issued.token, jti=issued.jti, expires=format_ts(issued.exp_us)), 201)


async def inspect(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    token = (await call.struct(_inspect)).token
    found = inspect_user_token(
        token,
        app_id=app_id,
        secrets=await edge.registry.secrets(app_id),
        now_us=edge.now_us(),
        leeway_s=edge.settings.clock_leeway_s,
        ttl_max_s=edge.settings.token_ttl_max_s,
    )
    problem = found.problem
    if problem is None:
        # What the token itself does not show: whether it was revoked, or its app suspended.
        try:
            await edge.gateway.authenticate(app_id, Credentials(bearer=token))
        except (Unauthorized, Forbidden) as refusal:
            problem = refusal.message
    return json_answer(
        Inspection(valid=problem is None, header=_plain(found.header), claims=_plain(found.claims), problem=problem)
    )


async def revoke(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    jti = await _jti(edge, app_id, await call.struct(_revoke))
    await edge.registry.app(app_id)  # NotFound rather than a revocation that concerns nobody
    now_us = edge.now_us()
    keep = keep_until_us(now_us, ttl_max_s=edge.settings.token_ttl_max_s, leeway_s=edge.settings.clock_leeway_s)
    await edge.registry.revoke(app_id, "token", jti, now_us, keep)
    await edge.gateway.registry_changed()
    return NO_CONTENT


async def _jti(edge: Edge, app_id: str, body: RevokeTokenBody) -> str:
    if isinstance(body.jti, str) == isinstance(body.token, str):
        raise Invalid("give the token, or its jti", field="jti")
    if isinstance(body.jti, str):
        if not 1 <= len(body.jti.encode()) <= JTI_BYTES_MAX:
            raise Invalid(f"a jti is 1 to {JTI_BYTES_MAX} bytes", field="jti")
        return body.jti
    assert isinstance(body.token, str)
    # Whether the token is still good does not matter: what it says of itself is enough to name it.
    found = inspect_user_token(
        body.token,
        app_id=app_id,
        secrets=await edge.registry.secrets(app_id),
        now_us=edge.now_us(),
        leeway_s=edge.settings.clock_leeway_s,
        ttl_max_s=edge.settings.token_ttl_max_s,
    )
    if found.claims is None:
        raise Invalid(found.problem or "that is not a user token", field="token")
    jti = found.claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti.encode()) <= JTI_BYTES_MAX:
        raise Invalid("the token has no jti, so it can't be revoked alone: revoke its user", field="token")
    return jti


def _newest_shared(secrets: Sequence[SigningSecret]) -> SigningSecret:
    for secret in secrets:  # newest first
        if secret.algorithm == "HS256" and secret.revoked_us is None:
            return secret
    raise Conflict("the app has no active HS256 secret to sign with; `polyglotctl secret create` makes one")


def _plain(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if part is None else dict(part)


def _row(path: str, endpoint: Endpoint, summary: str, **doc: Any) -> Route:
    return Route(
        "POST", "/admin/apps/{app}/tokens" + path, endpoint,
        Doc(tag="admin: credentials", summary=summary, needs="operator", **doc),
    )  # fmt: skip


ROUTES = [
    _row("", issue, "Sign a user token", request=NewTokenBody, answer=IssuedToken, status=201,
         errors=(404, 409, 415, 422)),
    _row("/inspect", inspect, "Say what a token claims, and whether it is good",
         request=InspectBody, answer=Inspection, errors=(404, 415, 422)),
    _row("/revoke", revoke, "Revoke one token", request=RevokeTokenBody, status=204, errors=(404, 415, 422)),
]  # fmt: skip
