"""Requests and answers about webhooks as Structs, and how records become them. See `shapes`."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from polyglotd.access.webhook_secrets import GRACE_DEFAULT_S
from polyglotd.gateway.http.shapes import EventType, FromClient, Timestamp, ToClient
from polyglotd.model import Endpoint, EndpointSecret, WebhookType, format_ts
from polyglotd.processor.webhooks.sending import Outcome
from polyglotd.store.webhooks import DeadLetter, EndpointState, Try

FILTERS_MAX = 100
REPLAY_MAX = 1_000

Types = Annotated[list[WebhookType], Meta(min_length=1, max_length=FILTERS_MAX)]
Patterns = Annotated[list[str], Meta(max_length=FILTERS_MAX)]
EventTypes = Annotated[list[EventType], Meta(max_length=FILTERS_MAX)]


class NewWebhookBody(FromClient):
    """`types`: what it is told of. `channels`: patterns, none for every channel. `event_types`: of `event.published`,
    none for every type. `secret`: one of your own, `whsec_` and base64; else one is made."""

    url: str
    types: Types = field(default_factory=lambda: ["event.published"])
    channels: Patterns = field(default_factory=list)
    event_types: EventTypes = field(default_factory=list)
    name: str = ""
    secret: str | UnsetType = UNSET


class WebhookPatch(FromClient):
    """Fields that are not there stay."""

    url: str | UnsetType = UNSET
    types: Types | UnsetType = UNSET
    channels: Patterns | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    name: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookState(ToClient):
    """How it does. `failures`: tries in a row that failed. `resumes`: left alone until then. `waiting`: messages on
    their way. `behind`: items that are not in a message yet, wanted or not. `dead`: dead letters. `lost`: items that
    gave way to the bound on what may wait."""

    failures: int
    resumes: Timestamp | None
    waiting: int
    behind: int
    dead: int
    lost: int


class WebhookView(ToClient):
    """`secrets`: how many sign, and until when the old ones do. `state`: null until the processor has seen it."""

    webhook_id: str
    url: str
    types: list[WebhookType]
    channels: list[str]
    event_types: list[str]
    name: str
    enabled: bool
    disabled_why: str | None
    created: Timestamp
    old_secrets_expire: list[Timestamp]
    state: WebhookState | None


class WebhookWithSecret(WebhookView):
    """`secret` is shown this once."""

    secret: str


class WebhookList(ToClient):
    webhooks: list[WebhookView]


class RotateWebhookBody(FromClient):
    """`grace_s`: how long messages are signed with the old secret too. `secret`: one of your own."""

    grace_s: int = GRACE_DEFAULT_S
    secret: str | UnsetType = UNSET


class TestedWebhook(ToClient):
    """What came of a message of one item, `webhook.test`. `answer`: the beginning of the body that came back."""

    delivered: bool
    message_id: str
    status: int | None
    error: str | None
    duration_ms: int
    answer: str


class DeliveryView(ToClient):
    """One try. Without a status no answer came."""

    message_id: str
    at: Timestamp
    attempt: int
    items: int
    status: int | None
    error: str | None
    duration_ms: int


class DeliveryList(ToClient):
    deliveries: list[DeliveryView]


class DeadLetterView(ToClient):
    message_id: str
    items: int
    created: Timestamp
    ended: Timestamp
    attempts: int
    why: str


class DeadLetterList(ToClient):
    dead_letters: list[DeadLetterView]
    cursor: str | None


class ReplayBody(FromClient):
    """`messages`: ids of dead letters; without them all, at most 1,000 at once."""

    messages: Annotated[list[str], Meta(min_length=1, max_length=REPLAY_MAX)] | UnsetType = UNSET


class Replayed(ToClient):
    """`messages`: how many are sent again."""

    messages: int


# --- from records ---


def _members(endpoint: Endpoint, state: EndpointState | None, now_us: int) -> dict[str, object]:
    return {
        "webhook_id": endpoint.endpoint_id,
        "url": endpoint.url,
        "types": list(endpoint.types),
        "channels": list(endpoint.channels),
        "event_types": list(endpoint.event_types),
        "name": endpoint.name,
        "enabled": endpoint.enabled,
        "disabled_why": endpoint.disabled_why,
        "created": format_ts(endpoint.created_us),
        "old_secrets_expire": [
            format_ts(secret.expires_us)
            for secret in endpoint.secrets
            if secret.expires_us is not None and secret.expires_us > now_us
        ],
        "state": None if state is None else _state(state),
    }


def _state(state: EndpointState) -> WebhookState:
    return WebhookState(
        failures=state.failures,
        resumes=format_ts(state.resume_us) if state.resume_us else None,
        waiting=state.waiting,
        behind=state.behind,
        dead=state.dead,
        lost=state.lost,
    )


def webhook_view(endpoint: Endpoint, state: EndpointState | None, now_us: int) -> WebhookView:
    return WebhookView(**_members(endpoint, state, now_us))  # type: ignore[arg-type]


def webhook_with_secret(
    endpoint: Endpoint, state: EndpointState | None, now_us: int, secret: EndpointSecret
) -> WebhookWithSecret:
    return WebhookWithSecret(**_members(endpoint, state, now_us), secret=secret.text)  # type: ignore[arg-type]


def tested_view(message_id: str, outcome: Outcome) -> TestedWebhook:
    return TestedWebhook(
        delivered=outcome.good,
        message_id=message_id,
        status=outcome.status,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
        answer=outcome.answer,
    )


def delivery_view(one: Try) -> DeliveryView:
    return DeliveryView(
        message_id=one.message_id,
        at=format_ts(one.at_us),
        attempt=one.attempt,
        items=one.items,
        status=one.status,
        error=one.error,
        duration_ms=one.duration_ms,
    )


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        message_id=letter.message_id,
        items=letter.items,
        created=format_ts(letter.created_us),
        ended=format_ts(letter.ended_us),
        attempts=letter.attempts,
        why=letter.why,
    )
