"""Admin API: the kinds of an app's channels.

A policy has three layers: what is built in, what the configuration says, what the app's own override says. Only the
last is changed here.
"""

import msgspec

from polyglotd.gateway.directory import resolve_kind
from polyglotd.gateway.http.admin_shapes import KindList, KindView, NamedKind
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.model import BUILT_IN_KINDS, App, Invalid, NotFound, Policy, PolicyOverride, check_kind

KINDS_MAX = 100  # of which one app says something

_override = msgspec.json.Decoder(PolicyOverride)


async def kinds(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app = await edge.registry.app(call.app_id())
    names = [*BUILT_IN_KINDS, *sorted({*app.kinds, *_configured(edge, app)} - BUILT_IN_KINDS.keys())]
    views = {name: view for name in names if (view := _view(edge, app, name)) is not None}
    return json_answer(KindList(kinds=views))


async def kind(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    name = check_kind(call.param("kind"))
    return json_answer(_named(edge, await edge.registry.app(call.app_id()), name))


async def patch_kind(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id, name = call.app_id(), check_kind(call.param("kind"))
    patch = await call.struct(_override)
    app = await edge.registry.app(app_id)
    if name not in app.kinds and len(app.kinds) >= KINDS_MAX:
        raise Invalid(f"an app says something of at most {KINDS_MAX} kinds", field="kind")
    merged = _merged(app.kinds.get(name, PolicyOverride()), patch)
    resolve_kind(name, _configured(edge, app).get(name), merged)  # raises where the fields contradict each other
    app = await edge.registry.set_kind(app_id, name, merged)
    await edge.gateway.registry_changed()
    return json_answer(_named(edge, app, name))


async def delete_kind(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id, name = call.app_id(), check_kind(call.param("kind"))
    if name not in (await edge.registry.app(app_id)).kinds:
        raise NotFound(f"the app says nothing of the kind {name}")
    await edge.registry.set_kind(app_id, name, None)
    await edge.gateway.registry_changed()
    return NO_CONTENT


def _configured(edge: Edge, app: App) -> dict[str, PolicyOverride]:
    return dict(edge.settings.kinds.get(app.app_id, {}))


def _named(edge: Edge, app: App, name: str) -> NamedKind:
    view = _view(edge, app, name)
    if view is None:
        raise NotFound(f"nobody defined the kind {name} in this app")
    return NamedKind(kind=name, **msgspec.structs.asdict(view))


def _view(edge: Edge, app: App, name: str) -> KindView | None:
    configured, own = _configured(edge, app).get(name), app.kinds.get(name)
    if name not in BUILT_IN_KINDS and configured is None and own is None:
        return None
    try:
        policy = resolve_kind(name, configured, own)
    except Invalid:  # the configuration has changed under the app's override, which is ignored then
        policy = resolve_kind(name, configured, None)
    if name not in BUILT_IN_KINDS:
        return KindView(**msgspec.structs.asdict(policy or Policy()), source="app")
    changed = configured is not None or own is not None
    return KindView(
        **msgspec.structs.asdict(policy or Policy()), source="built-in, changed" if changed else "built-in"
    )


def _merged(base: PolicyOverride, patch: PolicyOverride) -> PolicyOverride:
    named = {f: v for f in PolicyOverride.__struct_fields__ if (v := getattr(patch, f)) is not msgspec.UNSET}
    return msgspec.structs.replace(base, **named)


_TAG = "admin: limits and kinds"
_KIND = "/admin/apps/{app}/kinds/{kind}"
ROUTES = [
    Route(
        "GET",
        "/admin/apps/{app}/kinds",
        kinds,
        Doc(tag=_TAG, summary="List kinds with their policies", needs="operator", answer=KindList, errors=(404, 422)),
    ),
    Route(
        "GET",
        _KIND,
        kind,
        Doc(tag=_TAG, summary="Show a kind's policy", needs="operator", answer=NamedKind, errors=(404, 422)),
    ),
    Route(
        "PATCH",
        _KIND,
        patch_kind,
        Doc(
            tag=_TAG,
            summary="Change a kind's policy, or add a kind",
            needs="operator",
            about="Fields not named stay as they are.",
            request=PolicyOverride,
            answer=NamedKind,
            errors=(404, 415, 422),
        ),
    ),
    Route(
        "DELETE",
        _KIND,
        delete_kind,
        Doc(tag=_TAG, summary="Drop what the app says of a kind", needs="operator", status=204, errors=(404, 422)),
    ),
]
