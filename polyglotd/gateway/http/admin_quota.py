"""Admin API: the limits of an app."""

import msgspec

from polyglotd.gateway.http.admin_shapes import Quota
from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.model import Limits, LimitsPatch

_limits_patch = msgspec.json.Decoder(LimitsPatch)


async def quota(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app = await edge.registry.app(call.app_id())
    return json_answer(Quota(limits=app.limits, defaults=Limits()))


async def patch_quota(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    app = await edge.registry.patch_limits(app_id, await call.struct(_limits_patch))
    await edge.gateway.registry_changed()
    return json_answer(Quota(limits=app.limits, defaults=Limits()))


_PATH = "/admin/apps/{app}/quota"
ROUTES = [
    Route(
        "GET",
        _PATH,
        quota,
        Doc(tag="admin: limits and kinds", summary="Show limits", needs="operator", answer=Quota, errors=(404, 422)),
    ),
    Route(
        "PATCH",
        _PATH,
        patch_quota,
        Doc(
            tag="admin: limits and kinds",
            summary="Change limits",
            needs="operator",
            about="Those not named stay as they are; null puts the default back.",
            request=LimitsPatch,
            answer=Quota,
            errors=(404, 415, 422),
        ),
    ),
]
