"""Requests and answers of the API as Structs: answers are encoded from them, and OpenAPI's schemas come from them.

A member that may be absent is UNSET; null is a value. Times on the wire are RFC 3339 in UTC.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from polyglotd.gateway.requests import AppUsage, ErasureProgress
from polyglotd.model import Limits, format_ts

EventType = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-.:/]{1,64}$")]
EventId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_\-.:]{1,64}$", description="Its own id; not one that begins evt_")
]
Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
AppId = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
Count = Annotated[int, Meta(ge=0)]


class FromClient(msgspec.Struct, forbid_unknown_fields=True):
    """A body that a client sends."""


class ToClient(msgspec.Struct):
    """A body that a client gets."""


# --- events -----------------------------------------------------------------------------------------------------


class PublishBody(FromClient):
    """One event. `data` has at most `payload_bytes` (a limit of the app), and is passed on byte for byte."""

    type: EventType
    data: Any = None
    id: EventId | UnsetType = UNSET


class BatchItem(PublishBody, kw_only=True):
    channel: str


class BatchBody(FromClient):
    events: Annotated[list[BatchItem], Meta(min_length=1, max_length=1000)]


class PublishedEvent(ToClient, omit_defaults=True):
    """`duplicate`: this id was published before; this is the first answer again, and nothing was delivered twice."""

    id: str
    seq: int
    timestamp: Timestamp
    duplicate: bool = False


class BatchResult(ToClient):
    """Either what `PublishedEvent` has, or the reason why this event was refused: `code`, `message` and so on."""

    id: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    timestamp: Timestamp | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    quota: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


class BatchResults(ToClient):
    """In the order of the events. A refused one did not stop the others."""

    results: list[BatchResult]


class EventMeta(ToClient):
    user_id: str | None
    ts: Timestamp


class EventEnvelope(ToClient):
    id: str
    app_id: str
    channel: str
    type: str
    data: Any
    seq: int
    meta: EventMeta


class History(ToClient):
    """`seq`: the channel's newest. `count`: of this answer. `more`: others that match lie beyond."""

    app_id: str
    channel: str
    epoch: str
    seq: int
    count: int
    events: list[EventEnvelope]
    more: bool


# --- channels and users ---------------------------------------------------------------------------------------------


class Presence(ToClient):
    """`presence` has Phoenix's shape: `{user: {"metas": [{"phx_ref": …, "info": …}]}}`."""

    app_id: str
    channel: str
    presence: dict[str, Any]


class ChannelView(ToClient):
    channel: str
    kind: str
    epoch: str
    seq: int
    subscriptions: int
    users: int | None


class ChannelDetail(ChannelView):
    app_id: str


class ChannelList(ToClient):
    app_id: str
    channels: list[ChannelView]
    cursor: str | None


class KickBody(FromClient):
    user: str


class Kicked(ToClient):
    """`subscriptions`: how many were ended."""

    subscriptions: int


class SignalBody(FromClient):
    channel: str
    type: EventType
    data: Any = None


class Signalled(ToClient):
    """`devices`: how many it went to."""

    devices: int


class EmptyBody(FromClient):
    """`{}`, or nothing."""


class DisconnectedUser(ToClient):
    """`connections`: how many were closed."""

    connections: int


class RevokedUser(ToClient):
    user: str
    revoked: bool


class Reached(ToClient):
    """Where nothing of what was erased is left: `window` is memory, `webhooks` what waits to be sent."""

    window: bool
    log: bool
    store: bool
    webhooks: bool


class ErasureView(ToClient):
    """`what`: event, history or user; the members that do not apply are null. Of a history all events go with a seq
    below `before`, of a user all up to `at`; a finished erasure names no user any more."""

    erasure_id: str
    app_id: str
    what: str
    channel: str | None
    epoch: str | None
    seq: int | None
    before: int | None
    user: str | None
    at: Timestamp
    reached: Reached
    done: bool


class ErasureList(ToClient):
    """The newest first."""

    app_id: str
    erasures: list[ErasureView]


def erasure_view(progress: ErasureProgress) -> ErasureView:
    erasure = progress.erasure
    return ErasureView(
        erasure_id=erasure.erasure_id,
        app_id=erasure.app_id,
        what=erasure.what,
        channel=erasure.channel or None,
        epoch=erasure.epoch or None,
        seq=erasure.first_seq if erasure.what == "event" else None,
        before=erasure.last_seq + 1 if erasure.what == "history" else None,
        user=erasure.user_id,
        at=format_ts(erasure.ts_us),
        reached=Reached(window=progress.window, log=progress.log, store=progress.store, webhooks=progress.webhooks),
        done=progress.done,
    )


class Usage(ToClient):
    """Of the calendar month in UTC; connections, channels and `stored_bytes` of this moment. `limits`: what there may
    be; null is no limit."""

    app_id: str
    month: str
    events: int
    bytes: int
    stored_bytes: int
    connections: int
    channels: int
    limits: Limits


def usage_view(app_id: str, usage: AppUsage) -> Usage:
    return Usage(
        app_id=app_id,
        month=usage.month,
        events=usage.events,
        bytes=usage.bytes,
        stored_bytes=usage.stored_bytes,
        connections=usage.connections,
        channels=usage.channels,
        limits=usage.limits,
    )


class Problem(ToClient):
    """RFC 9457. Beside these, by code: `field`, `limit`, `quota`, `retry_after_ms`, `seqs`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
