"""Admin API: what an app's user tokens are signed with, or verified with."""

from typing import Any

import msgspec

from polyglotd.access.signing_secrets import check_room, import_signing_secret, new_signing_secret
from polyglotd.gateway.http.admin_shapes import (
    ImportSecretBody,
    SecretList,
    SecretView,
    SecretWithMaterial,
    secret_view,
    secret_with_material,
)
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Endpoint, Route
from polyglotd.gateway.http.shapes import EmptyBody

_empty = msgspec.json.Decoder(EmptyBody)
_import = msgspec.json.Decoder(ImportSecretBody)


async def secrets(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    found = await edge.registry.secrets(call.app_id())
    return json_answer(SecretList(secrets=[secret_view(secret) for secret in found]))


async def create(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    await call.struct(_empty)
    check_room(await edge.registry.secrets(app_id))
    shown, secret = new_signing_secret(app_id, now_us=edge.now_us())
    await edge.registry.add_secret(secret)
    await edge.gateway.registry_changed()
    return json_answer(secret_with_material(secret, shown), 201)


async def import_(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    body = await call.struct(_import)
    secret = import_signing_secret(app_id, body.algorithm, body.material, now_us=edge.now_us())
    check_room(await edge.registry.secrets(app_id))
    await edge.registry.add_secret(secret)
    await edge.gateway.registry_changed()
    return json_answer(secret_view(secret), 201)


async def revoke(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await edge.registry.revoke_secret(call.app_id(), call.param("secret_id"), edge.now_us())
    await edge.gateway.registry_changed()
    return NO_CONTENT


def _row(method: str, path: str, endpoint: Endpoint, summary: str, **doc: Any) -> Route:
    return Route(
        method, "/admin/apps/{app}/secrets" + path, endpoint,
        Doc(tag="admin: credentials", summary=summary, needs="operator", **doc),
    )  # fmt: skip


ROUTES = [
    _row("GET", "", secrets, "List signing secrets and public keys", answer=SecretList, errors=(404, 422)),
    _row(
        "POST", "", create, "Create a shared secret (HS256)",
        request=EmptyBody, answer=SecretWithMaterial, status=201, errors=(404, 409, 415, 422),
    ),
    _row(
        "POST", "/import", import_, "Import a public key, or a shared secret",
        request=ImportSecretBody, answer=SecretView, status=201, errors=(404, 409, 415, 422),
    ),
    _row("DELETE", "/{secret_id}", revoke, "Revoke a secret, and all that it signed", status=204, errors=(404, 422)),
]  # fmt: skip
