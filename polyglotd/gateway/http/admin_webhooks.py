"""Admin API: an app's webhooks, what became of their messages, and another chance for those that were given up."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from polyglotd.access.api_keys import check_key_name
from polyglotd.access.webhook_addresses import check_url
from polyglotd.access.webhook_secrets import (
    check_webhook_secret,
    new_endpoint_id,
    new_message_id,
    new_webhook_secret,
    rotated,
    signature_headers,
)
from polyglotd.gateway.http.answer import NO_CONTENT, Answer, json_answer, json_text_answer
from polyglotd.gateway.http.auth import require_operator
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Endpoint as Served
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import EmptyBody
from polyglotd.gateway.http.webhook_shapes import (
    DeadLetterList,
    DeliveryList,
    NewWebhookBody,
    ReplayBody,
    Replayed,
    RotateWebhookBody,
    TestedWebhook,
    WebhookList,
    WebhookPatch,
    WebhookView,
    WebhookWithSecret,
    dead_letter_view,
    delivery_view,
    tested_view,
    webhook_view,
    webhook_with_secret,
)
from polyglotd.model import Endpoint, EndpointPatch, EndpointSecret, NotFound, check_pattern, check_type
from polyglotd.model.webhooks import message_body, test_item
from polyglotd.processor.webhooks.backoff import TRIED_FOR_US
from polyglotd.processor.webhooks.sending import Sender

WEBHOOKS_MAX = 50  # of an app
LISTED_DEFAULT, LISTED_MAX = 50, 200

T = TypeVar("T")

_new = msgspec.json.Decoder(NewWebhookBody)
_patch = msgspec.json.Decoder(WebhookPatch)
_rotate = msgspec.json.Decoder(RotateWebhookBody)
_replay = msgspec.json.Decoder(ReplayBody)
_empty = msgspec.json.Decoder(EmptyBody)


# --- endpoints ---


async def webhooks(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    app_id = call.app_id()
    found = await edge.registry.webhooks(app_id)
    states = await edge.webhooks.states(app_id)
    now = edge.now_us()
    return json_answer(WebhookList(webhooks=[webhook_view(one, states.get(one.endpoint_id), now) for one in found]))


async def add(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    body = await call.struct(_new)
    check_url(body.url, edge.connector.allowed)
    secret = _secret(body.secret)
    now = edge.now_us()
    endpoint = Endpoint(
        endpoint_id=new_endpoint_id(),
        app_id=call.app_id(),
        url=body.url,
        types=_once(body.types),
        secrets=(secret,),
        created_us=now,
        since_us=now,
        channels=_patterns(body.channels),
        event_types=_types(body.event_types),
        name=check_key_name(body.name),
    )
    await edge.registry.add_webhook(endpoint, WEBHOOKS_MAX)
    await edge.gateway.registry_changed()
    return json_answer(webhook_with_secret(endpoint, None, now, secret), 201)


async def show(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    return await _shown(edge, await _endpoint(edge, call))


async def change(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    body = await call.struct(_patch)
    if body.url is not UNSET:
        check_url(body.url, edge.connector.allowed)
    patch = EndpointPatch(
        url=body.url,
        types=UNSET if body.types is UNSET else _once(body.types),
        channels=UNSET if body.channels is UNSET else _patterns(body.channels),
        event_types=UNSET if body.event_types is UNSET else _types(body.event_types),
        name=UNSET if body.name is UNSET else check_key_name(body.name),
        enabled=body.enabled,
        since_us=edge.now_us(),
        disabled_why=UNSET if body.enabled is UNSET else None if body.enabled else "disabled by an operator",
    )
    endpoint = await edge.registry.change_webhook(call.app_id(), call.param("webhook_id"), patch)
    await edge.gateway.registry_changed()
    return await _shown(edge, endpoint)


async def remove(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    await edge.registry.remove_webhook(call.app_id(), call.param("webhook_id"))
    await edge.gateway.registry_changed()
    return NO_CONTENT


async def rotate(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    body = await call.struct(_rotate)
    endpoint = await _endpoint(edge, call)
    secret = _secret(body.secret)
    secrets = rotated(endpoint, secret, now_us=edge.now_us(), grace_s=body.grace_s)
    changed = await edge.registry.set_webhook_secrets(
        endpoint.app_id, endpoint.endpoint_id, endpoint.secrets, secrets
    )
    await edge.gateway.registry_changed()
    states = await edge.webhooks.states(endpoint.app_id)
    view = webhook_with_secret(changed, states.get(endpoint.endpoint_id), edge.now_us(), secret)
    return json_answer(view, 201)


# --- messages ---


async def test(edge: Edge, call: Call) -> Answer:
    """Sent from here, beside the queue, by the same rules."""
    await require_operator(edge, call)
    await call.struct(_empty)
    endpoint = await _endpoint(edge, call)
    target = check_url(endpoint.url, edge.connector.allowed)
    message_id, now = new_message_id(), edge.now_us()
    body = message_body([test_item(message_id, endpoint.app_id, now)], now)
    sender = Sender(edge.connector)
    try:
        outcome = await sender.post(target, signature_headers(message_id, body, endpoint.secrets, now), body)
    finally:
        await sender.aclose()
    return json_answer(tested_view(message_id, outcome))


async def deliveries(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    limit = call.query(("limit",)).integer("limit", least=1, most=LISTED_MAX) or LISTED_DEFAULT
    endpoint = await _endpoint(edge, call)
    found = await edge.webhooks.tries(endpoint.endpoint_id, limit)
    return json_answer(DeliveryList(deliveries=[delivery_view(one) for one in found]))


async def dead_letters(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    query = call.query(("limit", "cursor"))
    limit = query.integer("limit", least=1, most=LISTED_MAX) or LISTED_DEFAULT
    endpoint = await _endpoint(edge, call)
    found = await edge.webhooks.dead_letters(endpoint.endpoint_id, query.text("cursor"), limit + 1)
    page = found[:limit]
    cursor = page[-1].message_id if len(found) > limit else None
    return json_answer(DeadLetterList(dead_letters=[dead_letter_view(one) for one in page], cursor=cursor))


async def dead_letter(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    endpoint = await _endpoint(edge, call)
    content = await edge.webhooks.dead_letter(endpoint.endpoint_id, call.param("message_id"))
    if content is None:
        raise NotFound("the webhook has no such dead letter")
    return json_text_answer(content)


async def replay(edge: Edge, call: Call) -> Answer:
    await require_operator(edge, call)
    body = await call.struct(_replay)
    endpoint = await _endpoint(edge, call)
    wanted = None if body.messages is UNSET else body.messages
    now = edge.now_us()
    count = await edge.webhooks.replay(endpoint.endpoint_id, wanted, now, now + TRIED_FOR_US)
    return json_answer(Replayed(messages=count))


# --- within ---


async def _endpoint(edge: Edge, call: Call) -> Endpoint:
    webhook_id = call.param("webhook_id")
    for endpoint in await edge.registry.webhooks(call.app_id()):
        if endpoint.endpoint_id == webhook_id:
            return endpoint
    raise NotFound("the app has no such webhook")


async def _shown(edge: Edge, endpoint: Endpoint) -> Answer:
    states = await edge.webhooks.states(endpoint.app_id)
    return json_answer(webhook_view(endpoint, states.get(endpoint.endpoint_id), edge.now_us()))


def _secret(given: str | UnsetType) -> EndpointSecret:
    return new_webhook_secret() if given is UNSET else check_webhook_secret(given)


def _patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    return _once([check_pattern(pattern, "channels") for pattern in patterns])


def _types(types: Sequence[str]) -> tuple[str, ...]:
    return _once([check_type(type_, "event_types") for type_ in types])


def _once(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


_LIMIT = Param(
    "limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": LISTED_MAX, "default": LISTED_DEFAULT}
)
_CURSOR = Param("cursor", "Of the page before.", {"type": "string"})


def _row(method: str, path: str, endpoint: Served, summary: str, **doc: Any) -> Route:
    return Route(
        method, "/admin/apps/{app}/webhooks" + path, endpoint,
        Doc(tag="admin: webhooks", summary=summary, needs="operator", **doc),
    )  # fmt: skip


ROUTES = [
    _row("GET", "", webhooks, "List webhooks and how they do", answer=WebhookList, errors=(404, 422)),
    _row(
        "POST", "", add, "Add a webhook; its secret is shown this once",
        request=NewWebhookBody, answer=WebhookWithSecret, status=201, errors=(404, 409, 415, 422),
    ),
    _row("GET", "/{webhook_id}", show, "One webhook and how it does", answer=WebhookView, errors=(404, 422)),
    _row(
        "PATCH", "/{webhook_id}", change, "Change a webhook",
        about="What it wants holds for what is not in a message yet. One that was disabled begins with what comes"
        " after it is enabled; what was on its way is among its dead letters.",
        request=WebhookPatch, answer=WebhookView, errors=(404, 415, 422),
    ),
    _row(
        "DELETE", "/{webhook_id}", remove, "Remove a webhook and all that waits for it",
        status=204, errors=(404, 422),
    ),
    _row(
        "POST", "/{webhook_id}/rotate", rotate, "Replace the secret; for a grace time both sign",
        request=RotateWebhookBody, answer=WebhookWithSecret, status=201, errors=(404, 409, 415, 422),
    ),
    _row(
        "POST", "/{webhook_id}/test", test, "Send a test message and tell what came of it",
        request=EmptyBody, answer=TestedWebhook, errors=(404, 415, 422),
    ),
    _row(
        "GET", "/{webhook_id}/deliveries", deliveries, "The newest tries",
        params=(_LIMIT,), answer=DeliveryList, errors=(404, 422),
    ),
    _row(
        "GET", "/{webhook_id}/dead-letters", dead_letters, "Messages that were given up, newest first",
        params=(_CURSOR, _LIMIT), answer=DeadLetterList, errors=(404, 422),
    ),
    _row(
        "GET", "/{webhook_id}/dead-letters/{message_id}", dead_letter, "What is in one of them, as it would be sent",
        errors=(404, 422),
    ),
    _row(
        "POST", "/{webhook_id}/replay", replay, "Send dead letters again, under their own ids",
        request=ReplayBody, answer=Replayed, errors=(404, 415, 422),
    ),
]  # fmt: skip
