"""Erase an event, a channel's history, or all events of a user; and how far that is."""

from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import ErasureList, ErasureView, erasure_view
from polyglotd.gateway.requests import ErasureProgress
from polyglotd.model import Invalid

ID_BYTES_MAX = 64
LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
_DURABLE = (
    "Nobody is shown the events any more when this is answered, and whatever crashes, log, store and webhooks get"
    " there; `GET /apps/{app}/erasures/{erasure}` says how far it is."
)


async def erase_event(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    channel = call.channel()
    event_id = call.param("id")
    if not 1 <= len(event_id.encode()) <= ID_BYTES_MAX:
        raise Invalid(f"an id has 1 to {ID_BYTES_MAX} bytes", field="id")
    seq = call.query(("seq",)).integer("seq", least=1)
    return _accepted(await edge.gateway.erase_event(caller, channel, event_id, seq))


async def erase_history(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    channel = call.channel()
    call.query()
    return _accepted(await edge.gateway.erase_history(caller, channel))


async def erase_user(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    user = call.user()
    call.query()
    return _accepted(await edge.gateway.erase_user(caller, user))


async def erasure(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    call.query()
    return json_answer(erasure_view(await edge.gateway.erasure(caller, call.param("erasure"))))


async def erasures(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    limit = call.query(("limit",)).integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
    found = await edge.gateway.erasures(caller, limit)
    return json_answer(ErasureList(app_id=caller.app.app_id, erasures=[erasure_view(one) for one in found]))


def _accepted(progress: ErasureProgress) -> Answer:
    return json_answer(erasure_view(progress), 202)


ROUTES = [
    Route(
        "DELETE",
        "/apps/{app}/channels/{channel}/events/{id}",
        erase_event,
        Doc(
            tag="erasures",
            summary="Erase an event",
            needs="admin:app",
            about="A tombstone takes its place: same id, seq and time, type `erased`, data null, no user. Members get"
            " `erased` with `{id, epoch, seq}`. 409 with their `seqs` where several events have this id. " + _DURABLE,
            params=(Param("seq", "Which, where several have this id.", {"type": "integer", "minimum": 1}),),
            status=202,
            answer=ErasureView,
            errors=(404, 409, 422, 503),
        ),
    ),
    Route(
        "DELETE",
        "/apps/{app}/channels/{channel}/history",
        erase_history,
        Doc(
            tag="erasures",
            summary="Erase a channel's history",
            needs="admin:app",
            about="All events that it has now. Members get `erased` with `{epoch, before}`. " + _DURABLE,
            status=202,
            answer=ErasureView,
            errors=(404, 422, 503),
        ),
    ),
    Route(
        "DELETE",
        "/apps/{app}/users/{user}/events",
        erase_user,
        Doc(
            tag="erasures",
            summary="Erase all events of a user",
            needs="admin:app",
            about="Up to now, in every channel. Members of channels that may have any get `erased` with"
            " `{user_id, ts}`: all of the user's up to that time. " + _DURABLE,
            status=202,
            answer=ErasureView,
            errors=(422, 503),
        ),
    ),
    Route(
        "GET",
        "/apps/{app}/erasures/{erasure}",
        erasure,
        Doc(
            tag="erasures",
            summary="How far an erasure is",
            needs="admin:app",
            about="Finished ones are known for a while.",
            answer=ErasureView,
            errors=(404,),
        ),
    ),
    Route(
        "GET",
        "/apps/{app}/erasures",
        erasures,
        Doc(
            tag="erasures",
            summary="Erasures under way, and the newest of those that are done",
            needs="admin:app",
            params=(
                Param(
                    "limit",
                    "At most so many.",
                    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                ),
            ),
            answer=ErasureList,
            errors=(422,),
        ),
    ),
]
