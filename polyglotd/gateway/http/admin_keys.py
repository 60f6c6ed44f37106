"""Admin API: the API keys of an app. A key is shown once, when it is made."""

from typing import Any

import msgspec

from polyglotd.access.api_keys import check_key_name, check_scopes, new_api_key, rotated
from polyglotd.gateway.http.admin_shapes import (
    KeyList,
    KeyWithSecret,
    NewKeyBody,
    RotateBody,
    RotatedKey,
    key_view,
    key_with_secret,
    rotated_key,
)
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Endpoint, Route
from polyglotd.model import ApiKey, NotFound

_new_key = msgspec.json.Decoder(NewKeyBody)
_rotate = msgspec.json.Decoder(RotateBody)


async def keys(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    return json_answer(KeyList(keys=[key_view(key) for key in await edge.registry.keys(call.app_id())]))


async def create(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    body = await call.struct(_new_key)
    scopes, name = check_scopes(body.scopes), check_key_name(body.name)
    shown, key = new_api_key(app_id, now_us=edge.now_us(), name=name, scopes=scopes)
    await edge.registry.add_key(key)
    await edge.gateway.registry_changed()
    return json_answer(key_with_secret(key, shown), 201)


async def rotate(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    grace_s = (await call.struct(_rotate)).grace_s
    old = await _key(edge, app_id, call.param("key_id"))
    shown, new, old_expires_us = rotated(old, now_us=edge.now_us(), grace_s=grace_s)
    await edge.registry.rotate_key(app_id, old.key_id, new, old_expires_us)
    await edge.gateway.registry_changed()
    return json_answer(rotated_key(new, shown, old.key_id, old_expires_us), 201)


async def revoke(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await edge.registry.revoke_key(call.app_id(), call.param("key_id"), edge.now_us())
    await edge.gateway.registry_changed()
    return NO_CONTENT


async def _key(edge: Edge, app_id: str, key_id: str) -> ApiKey:
    for key in await edge.registry.keys(app_id):
        if key.key_id == key_id:
            return key
    raise NotFound("the app has no such key")


def _row(method: str, path: str, endpoint: Endpoint, summary: str, **doc: Any) -> Route:
    return Route(
        method, "/admin/apps/{app}/keys" + path, endpoint,
        Doc(tag="admin: credentials", summary=summary, needs="operator", **doc),
    )  # fmt: skip


ROUTES = [
    _row("GET", "", keys, "List keys, newest first", answer=KeyList, errors=(404, 422)),
    _row(
        "POST", "", create, "Create a key",
        request=NewKeyBody, answer=KeyWithSecret, status=201, errors=(404, 415, 422),
    ),
    _row(
        "POST", "/{key_id}/rotate", rotate, "Replace a key; the old one stays good for a grace time",
        request=RotateBody, answer=RotatedKey, status=201, errors=(404, 409, 415, 422),
    ),
    _row("DELETE", "/{key_id}", revoke, "Revoke a key", status=204, errors=(404, 422)),
]  # fmt: skip
