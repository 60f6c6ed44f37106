"""Publish over HTTP: one event, or a batch of up to 1,000.

`data` is cut out of the body as text and passed on byte for byte. Whether a caller may, and what the limits say, is
the gateway's; so is every name in an event.
"""

from collections.abc import Mapping, Sequence, Sized

import msgspec
from msgspec import UNSET, UnsetType

from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call, decode, object_members, unknown_members
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import BatchBody, BatchResult, BatchResults, PublishBody, PublishedEvent
from polyglotd.gateway.requests import Published, PublishRequest
from polyglotd.model import (
    Invalid,
    Limits,
    PayloadTooLarge,
    Refusal,
    check_channel,
    check_client_event_id,
    check_type,
    check_user_id,
    format_ts,
)
from polyglotd.protocol.json_text import member_counts

BATCH_EVENTS_MAX = 1000
BATCH_BYTES_MAX = 8 * 1024 * 1024
ENVELOPE_BYTES_MAX = 4096  # beside `data`: names, and white space

_string = msgspec.json.Decoder(str)
_items = msgspec.json.Decoder(list[msgspec.Raw])


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    """An event of a batch that has the right members."""

    channel: str
    type: str
    data: msgspec.Raw | UnsetType = UNSET
    id: str | UnsetType = UNSET


_well_formed_items = msgspec.json.Decoder(list[_Item])


async def publish_one(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    call.rate = "api_publishes"
    as_user = _as_user(call)
    channel = call.channel()
    found = await event_members(call, caller.app.limits)
    unknown_members(found, ("type", "data", "id"))
    request = _request(channel, found, _idempotency_key(call))
    (result,) = await edge.gateway.publish(caller, [request], as_user=as_user)
    if isinstance(result, Refusal):
        raise result
    return json_answer(
        PublishedEvent(id=result.id, seq=result.seq, timestamp=format_ts(result.ts_us), duplicate=result.duplicate)
    )


async def event_members(call: Call, limits: Limits) -> dict[str, bytes]:
    """The members of a body that holds one `data`. Whether that is within the limit itself, the plane says."""
    try:
        return await call.members(limits.payload_bytes + ENVELOPE_BYTES_MAX)
    except PayloadTooLarge:
        limit = limits.payload_bytes
        raise PayloadTooLarge(f"data has at most {limit} bytes", limit=limit) from None


async def publish_batch(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    call.rate = "api_publishes"
    as_user = _as_user(call)
    if _idempotency_key(call) is not None:
        raise Invalid("a batch takes no Idempotency-Key: give its events an id each", field="Idempotency-Key")
    found = await call.members(BATCH_BYTES_MAX)
    unknown_members(found, ("events",))
    if "events" not in found:
        raise Invalid("events is missing", field="events")
    # An event that is wrong by itself does not stop the others: each has a request or a refusal.
    read = batch_items(found["events"])
    requests = [request for request in read if isinstance(request, PublishRequest)]
    published = iter(await edge.gateway.publish(caller, requests, as_user=as_user) if requests else [])
    results = [_result(next(published) if isinstance(each, PublishRequest) else each) for each in read]
    return json_answer(BatchResults(results=results))


def batch_items(text: bytes) -> Sequence[PublishRequest | Refusal]:
    """Each event of a batch, or why it is none. Raises `Invalid` or `Malformed` for the batch as a whole."""
    items = _well_formed(text)
    if items is not None:
        _check_count(items)
        return [_item(item) for item in items]
    texts = decode(_items, text, "events")
    _check_count(texts)
    return [_item_text(bytes(each)) for each in texts]


def _check_count(events: Sized) -> None:
    if not 1 <= len(events) <= BATCH_EVENTS_MAX:
        raise Invalid(f"events has 1 to {BATCH_EVENTS_MAX} events", field="events")


def _well_formed(text: bytes) -> list[_Item] | None:
    """The events, where each has the right members, each once: all at once, a fraction of the cost of one by one.

    None where one has not: which one, and what is wrong with it, is then found by taking them one by one.
    """
    try:
        items, counts = _well_formed_items.decode(text), member_counts(text)
    except (msgspec.MsgspecError, RecursionError):
        return None
    for item, count in zip(items, counts, strict=True):
        if count != 2 + (item.data is not UNSET) + (item.id is not UNSET):
            return None  # the decoder takes the last of repeated members
    return items


def _item(item: _Item) -> PublishRequest | Refusal:
    try:
        channel = check_channel(item.channel)
        id_ = None if item.id is UNSET else check_client_event_id(item.id)
        data = b"null" if item.data is UNSET else bytes(item.data)
        return PublishRequest(channel, check_type(item.type), data, id_)
    except Refusal as refusal:
        return refusal


def _item_text(text: bytes) -> PublishRequest | Refusal:
    try:
        found = object_members(text, "events")
        unknown_members(found, ("channel", "type", "data", "id"))
        return _request(check_channel(text_member(found, "channel")), found, None)
    except Refusal as refusal:
        return refusal


def _request(channel: str, found: Mapping[str, bytes], idempotency_key: str | None) -> PublishRequest:
    id_ = text_member(found, "id") if "id" in found else idempotency_key
    if idempotency_key is not None and id_ != idempotency_key:
        raise Invalid("id and Idempotency-Key are not the same", field="id")
    if id_ is not None:
        check_client_event_id(id_)
    return PublishRequest(channel, check_type(text_member(found, "type")), found.get("data", b"null"), id_)


def text_member(found: Mapping[str, bytes], name: str) -> str:
    """A member that is a string. Raises `Invalid`."""
    if name not in found:
        raise Invalid(f"{name} is missing", field=name)
    try:
        return _string.decode(found[name])
    except msgspec.MsgspecError:  # a lone surrogate, too: no name has one
        raise Invalid(f"{name} is a string", field=name) from None


def _idempotency_key(call: Call) -> str | None:
    """The draft's header is a quoted string; most clients send the bare one."""
    value = call.single_header("idempotency-key")
    if value is not None and len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _as_user(call: Call) -> str | None:
    value = call.single_header("x-user-id")
    if value is None:
        return None
    try:
        return check_user_id(value.encode("latin-1").decode(), "X-User-Id")
    except UnicodeDecodeError:
        raise Invalid("X-User-Id is UTF-8", field="X-User-Id") from None


def _result(result: Published | Refusal) -> BatchResult:
    if isinstance(result, Published):
        return BatchResult(
            id=result.id,
            seq=result.seq,
            timestamp=format_ts(result.ts_us),
            duplicate=True if result.duplicate else UNSET,
        )
    return BatchResult(code=result.reason, message=result.message, **result.details())  # type: ignore[arg-type]


_AS_USER = Param(
    "X-User-Id", "Publish in the name of this user (with a user token: its own alone).", {"type": "string"}, "header"
)
ROUTES = [
    Route(
        "POST",
        "/apps/{app}/channels/{channel}/publish",
        publish_one,
        Doc(
            tag="events",
            summary="Publish an event",
            needs="publish",
            user_token=True,
            about="Repeated with the same `id` it answers as at first, with `duplicate`, and delivers nothing.",
            params=(
                Param("Idempotency-Key", "The event's `id`, if the body has none.", {"type": "string"}, "header"),
                _AS_USER,
            ),
            request=PublishBody,
            answer=PublishedEvent,
            errors=(404, 413, 415, 422, 429, 503),
        ),
    ),
    Route(
        "POST",
        "/apps/{app}/publish",
        publish_batch,
        Doc(
            tag="events",
            summary="Publish up to 1,000 events",
            needs="publish",
            user_token=True,
            about="Results come in the order of the events; one that is refused does not stop the others.",
            params=(_AS_USER,),
            request=BatchBody,
            answer=BatchResults,
            errors=(413, 415, 422, 429, 503),
        ),
    ),
]
