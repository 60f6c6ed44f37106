"""A channel's history over HTTP. The events' `data` leaves as the publisher's own bytes."""

from polyglotd.gateway.http.answer import Answer, encode_json, json_text_answer
from polyglotd.gateway.http.auth import history_reader
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import History
from polyglotd.gateway.requests import HistoryPage, HistoryRequest
from polyglotd.model import Invalid, check_type, encode_event

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000


async def history(edge: Edge, call: Call) -> Answer:
    caller = await history_reader(edge, call)
    channel = call.channel()
    page = await edge.gateway.history(caller, channel, _request(call))
    return json_text_answer(_encode(caller.app.app_id, channel, page))


def _request(call: Call) -> HistoryRequest:
    query = call.query(("limit", "before", "after", "type", "from", "to"))
    type_ = query.text("type")
    request = HistoryRequest(
        limit=query.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT,
        before=query.integer("before"),
        after=query.integer("after"),
        type=None if type_ is None else check_type(type_),
        from_us=query.time_us("from"),
        to_us=query.time_us("to"),
    )
    if request.from_us is not None and request.to_us is not None and request.from_us > request.to_us:
        raise Invalid("from is later than to", field="from")
    return request


def _encode(app_id: str, channel: str, page: HistoryPage) -> bytes:
    return b'{"app_id":%b,"channel":%b,"epoch":%b,"seq":%d,"count":%d,"events":[%b],"more":%b}' % (
        encode_json(app_id),
        encode_json(channel),
        encode_json(page.epoch),
        page.seq,
        len(page.events),
        b",".join(map(encode_event, page.events)),
        b"true" if page.more else b"false",
    )


_SEQ = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "description": "RFC 3339, or seconds since 1970"}
ROUTES = [
    Route(
        "GET",
        "/apps/{app}/channels/{channel}/history",
        history,
        Doc(
            tag="events",
            summary="Read a channel's events",
            needs="read",
            user_token=True,
            about="In seq order: with `after` the oldest that follow it, else the newest (before `before`). At most"
            " 1 MiB an answer. Beyond the channel's history the store is read. In development mode it needs nothing.",
            params=(
                Param(
                    "limit",
                    "At most so many.",
                    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                ),
                Param("before", "Events with a smaller seq.", _SEQ),
                Param("after", "Events with a greater seq.", _SEQ),
                Param("type", "Events of this type.", {"type": "string"}),
                Param("from", "Events of this time or later.", _TIME),
                Param("to", "Events before this time.", _TIME),
            ),
            answer=History,
            errors=(404, 422, 503),
        ),
    )
]
