"""Admin API: apps (tenants)."""

from typing import Any

import msgspec

from polyglotd.access.api_keys import check_key_name, new_api_key
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.gateway.http.admin_shapes import (
    AppList,
    AppPatch,
    AppView,
    CreatedApp,
    DeletedAppList,
    DeletedAppView,
    NewAppBody,
    ReachedOfApp,
    app_view,
    key_with_secret,
    secret_with_material,
)
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Endpoint, Route
from polyglotd.gateway.http.shapes import EmptyBody
from polyglotd.model import App, check_app_id

PAGE_DEFAULT = 100
PAGE_MAX = 1000

_new_app = msgspec.json.Decoder(NewAppBody)
_app_patch = msgspec.json.Decoder(AppPatch)
_empty = msgspec.json.Decoder(EmptyBody)


async def create(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    body = await call.struct(_new_app)
    now_us = edge.now_us()
    app = App(check_app_id(body.app_id), check_key_name(body.name), created_us=now_us)
    shown_key, key = new_api_key(app.app_id, now_us=now_us)
    shown_secret, secret = new_signing_secret(app.app_id, now_us=now_us)
    await edge.registry.create_app(app, key, secret)
    await edge.gateway.registry_changed()
    created = CreatedApp(
        app=app_view(app),
        api_key=key_with_secret(key, shown_key),
        signing_secret=secret_with_material(secret, shown_secret),
    )
    return json_answer(created, 201)


async def list_deleted(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    call.query()
    found = await edge.gateway.deleted_apps()
    views = [DeletedAppView(app_id=one.app_id, reached=ReachedOfApp(log=one.log, stores=one.stores)) for one in found]
    return json_answer(DeletedAppList(apps=views))


async def list_apps(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    query = call.query(("cursor", "limit"))
    cursor = query.text("cursor")
    limit = query.integer("limit", least=1, most=PAGE_MAX) or PAGE_DEFAULT
    apps = await edge.registry.apps("" if cursor is None else check_app_id(cursor), limit + 1)
    page = apps[:limit]
    return json_answer(
        AppList(apps=[app_view(app) for app in page], cursor=page[-1].app_id if len(apps) > limit else None)
    )


async def show(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    return json_answer(app_view(await edge.registry.app(call.app_id())))


async def rename(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    name = check_key_name((await call.struct(_app_patch)).name)
    return await _changed(edge, await edge.registry.rename_app(app_id, name))


async def suspend(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await call.struct(_empty)
    return await _changed(edge, await edge.registry.suspend_app(call.app_id(), edge.now_us()))


async def resume(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await call.struct(_empty)
    return await _changed(edge, await edge.registry.resume_app(call.app_id()))


async def delete(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await edge.registry.delete_app(call.app_id(), edge.now_us())
    await edge.gateway.registry_changed()
    return NO_CONTENT


async def _changed(edge: Edge, app: App) -> Answer:
    await edge.gateway.registry_changed()
    return json_answer(app_view(app))


def _row(method: str, path: str, endpoint: Endpoint, summary: str, **doc: Any) -> Route:
    return Route(method, path, endpoint, Doc(tag="admin: apps", summary=summary, needs="operator", **doc))


_PAGE = (
    Param("cursor", "Of the page before.", {"type": "string"}),
    Param(
        "limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}
    ),
)
ROUTES = [
    _row(
        "POST",
        "/admin/apps",
        create,
        "Create an app",
        request=NewAppBody,
        answer=CreatedApp,
        status=201,
        errors=(409, 415, 422),
    ),
    _row("GET", "/admin/apps", list_apps, "List apps", params=_PAGE, answer=AppList, errors=(422,)),
    _row("GET", "/admin/erasures", list_deleted, "Deleted apps of which something is left", answer=DeletedAppList),
    _row("GET", "/admin/apps/{app}", show, "Show an app", answer=AppView, errors=(404, 422)),
    _row(
        "PATCH",
        "/admin/apps/{app}",
        rename,
        "Rename an app",
        request=AppPatch,
        answer=AppView,
        errors=(404, 415, 422),
    ),
    _row("DELETE", "/admin/apps/{app}", delete, "Delete an app with all that it has", status=204, errors=(404, 422)),
    _row(
        "POST",
        "/admin/apps/{app}/suspend",
        suspend,
        "Refuse an app everything, until it is resumed",
        answer=AppView,
        errors=(404, 422),
    ),
    _row("POST", "/admin/apps/{app}/resume", resume, "Let a suspended app go on", answer=AppView, errors=(404, 422)),
]
