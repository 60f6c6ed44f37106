"""Admin API: all events of an app out, and back in. The events' `data` leaves and comes as the same bytes.

Out they go as lines. JSON may hold line breaks between its members, and halves of surrogate pairs, which not every
library reads: where `data` has either, its text comes beside it as a string, `data_text`.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from polyglotd.gateway.app_events import LIMIT_MAX, AppEventsRequest
from polyglotd.gateway.http.answer import Answer, encode_json, json_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call, decode
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.query import parse_time_us
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import FromClient, ToClient
from polyglotd.gateway.imports import Imported, ImportedEvent, ImportRun
from polyglotd.model import Event, Invalid, Refusal, encode_event

NDJSON = "application/x-ndjson"
IMPORT_EVENTS_MAX = 1000
IMPORT_BYTES_MAX = 16 * 1024 * 1024
_AWKWARD = re.compile(rb"[\n\r]|\\u[dD][89a-fA-F]")

AnyEventId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-.:]{1,64}$")]


class EventToImport(FromClient):
    id: AnyEventId
    type: str
    ts: str
    data: Annotated[str, Meta(description="The JSON text of its `data`, which is kept byte for byte")]
    user_id: str | None = None


class RunToImport(FromClient):
    """Events of one channel and epoch, from `first_seq` on, without a gap. `follows`: the channel's epoch before it
    in the same import."""

    channel: str
    epoch: str
    first_seq: Annotated[int, Meta(ge=1)]
    events: list[EventToImport]
    follows: str | None = None


class ImportBody(FromClient):
    """At most 1,000 events in all, and 16 MiB."""

    runs: list[RunToImport]


class ImportedRun(ToClient, omit_defaults=True):
    """`duplicates`: events that were there already. Or why it was refused, and nothing of it imported."""

    imported: int | UnsetType = UNSET
    duplicates: int | UnsetType = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET


class ImportResults(ToClient):
    """In order."""

    results: list[ImportedRun]


_body = msgspec.json.Decoder(ImportBody)


async def events(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    query = call.query(("channel", "from", "to", "cursor", "limit"))
    request = AppEventsRequest(
        pattern=query.text("channel") or "*",
        from_us=query.time_us("from"),
        to_us=query.time_us("to"),
        cursor=query.text("cursor"),
        limit=query.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_MAX,
    )
    caller = await edge.gateway.operator(call.app_id())
    page = await edge.gateway.app_events(caller, request)
    lines = [*map(event_line, page.events), b'{"cursor":%b}\n' % encode_json(page.cursor)]
    return Answer(200, b"".join(lines), (("content-type", NDJSON), ("cache-control", "no-store")))


def event_line(event: Event) -> bytes:
    """The envelope with its epoch, and `data_text` where that is needed."""
    text = event.data
    if not _AWKWARD.search(text):
        return encode_event(event, with_epoch=True) + b"\n"
    on_one_line = text.replace(b"\n", b" ").replace(b"\r", b" ")  # within strings JSON has none
    line = encode_event(msgspec.structs.replace(event, data=on_one_line), with_epoch=True)
    return b'%b,"data_text":%b}\n' % (line[:-1], encode_json(text.decode()))


async def import_events(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    caller = await edge.gateway.operator(call.app_id())
    runs = decode(_body, await call.json(IMPORT_BYTES_MAX)).runs
    if not 1 <= sum(len(run.events) for run in runs) <= IMPORT_EVENTS_MAX:
        raise Invalid(f"runs have 1 to {IMPORT_EVENTS_MAX} events in all", field="runs")
    results = await edge.gateway.import_events(caller, [_run(run) for run in runs])
    return json_answer(ImportResults(results=list(map(_result, results))))


def _run(run: RunToImport) -> ImportRun:
    return ImportRun(run.channel, run.epoch, run.follows, run.first_seq, _events(run.events))


def _events(events: Sequence[EventToImport]) -> list[ImportedEvent]:
    return [
        ImportedEvent(event.id, event.type, _data(event.data), event.user_id, parse_time_us(event.ts, "ts"))
        for event in events
    ]


def _data(text: str) -> bytes:
    """Raises `Invalid` for what is no JSON; halves of surrogate pairs are JSON."""
    try:
        data = text.encode()
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"data is no JSON text: {error}", field="data") from None
    except UnicodeEncodeError:
        raise Invalid("data is no UTF-8", field="data") from None
    return data


def _result(result: Imported | Refusal) -> ImportedRun:
    if isinstance(result, Imported):
        return ImportedRun(result.imported, result.duplicates)
    field = getattr(result, "field", None)
    return ImportedRun(code=result.reason, message=result.message, field=UNSET if field is None else field)


_TIME = {"type": "string", "description": "RFC 3339, or seconds since 1970"}
ROUTES = [
    Route(
        "GET",
        "/admin/apps/{app}/events",
        events,
        Doc(
            tag="admin: apps",
            summary="Read all events of an app",
            needs="operator",
            about="A line an event, by channel, epoch and seq: the envelope with its `epoch`. The last line is"
            " `{cursor}`, for the next page, null where there is none; a page may be empty and have one. All that was"
            " acknowledged before the first page is there, of `logged` kinds. At most 1 MiB of `data` an answer.",
            params=(
                Param("channel", "A channel or a pattern; absent: all.", {"type": "string"}),
                Param("from", "Events of this time or later.", _TIME),
                Param("to", "Events before this time.", _TIME),
                Param("cursor", "Of the page before.", {"type": "string"}),
                Param("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
            ),
            answer_type=NDJSON,
            errors=(404, 422, 503),
        ),
    ),
    Route(
        "POST",
        "/admin/apps/{app}/events/import",
        import_events,
        Doc(
            tag="admin: apps",
            summary="Import events that were exported",
            needs="operator",
            about="Into channels of `logged` kinds that have no past here and that nobody uses. Ids, users, times and"
            " data stay; what is there already, by its seq, is left alone. Where `stored-bytes` are used up (429),"
            " all of it may be sent again once there is room.",
            request=ImportBody,
            answer=ImportResults,
            errors=(404, 413, 415, 422, 429, 503),
        ),
    ),
]
