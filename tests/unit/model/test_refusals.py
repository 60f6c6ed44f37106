"""Refusals: every reason of the contract has one class, one HTTP status, and says what it has to."""

import pytest

from polyglotd.model import (
    AmbiguousId,
    Conflict,
    Forbidden,
    InternalFault,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    Refusal,
    TooManyChannels,
    Unauthorized,
    Unavailable,
    UnknownChannelKind,
    UnknownEvent,
    UnmatchedTopic,
    UnsupportedMediaType,
)

REFUSALS: list[tuple[Refusal, str, int, dict[str, object]]] = [
    (Unauthorized("m"), "unauthorized", 401, {}),
    (Forbidden("m"), "forbidden", 403, {}),
    (Malformed("m"), "invalid", 400, {"field": "body"}),
    (Invalid("m", field="type"), "invalid", 422, {"field": "type"}),
    (PayloadTooLarge("m", limit=9), "payload_too_large", 413, {"limit": 9}),
    (RateLimited("m", retry_after_ms=20), "rate_limited", 429, {"retry_after_ms": 20}),
    (QuotaExceeded("m", quota="channels"), "quota_exceeded", 429, {"quota": "channels"}),
    (TooManyChannels("m"), "too_many_channels", 429, {}),
    (UnknownChannelKind("m"), "unknown_channel_kind", 404, {}),
    (UnknownEvent("m"), "unknown_event", 422, {}),
    (UnmatchedTopic("m"), "unmatched topic", 404, {}),
    (Unavailable("m", retry_after_ms=30), "unavailable", 503, {"retry_after_ms": 30}),
    (InternalFault("m"), "internal", 500, {}),
    (NotFound("m"), "not_found", 404, {}),
    (MethodNotAllowed("m"), "method_not_allowed", 405, {}),
    (Conflict("m"), "conflict", 409, {}),
    (AmbiguousId("m", seqs=(1, 7)), "conflict", 409, {"seqs": [1, 7]}),
    (UnsupportedMediaType("m"), "unsupported_media_type", 415, {}),
]


@pytest.mark.parametrize(
    ("refusal", "reason", "status", "details"), REFUSALS, ids=[type(refusal).__name__ for refusal, *_ in REFUSALS]
)
def test_a_refusal_says_its_reason_its_message_and_its_details(
    refusal: Refusal, reason: str, status: int, details: dict[str, object]
) -> None:
    assert refusal.as_reply() == {"reason": reason, "message": "m"} | details
    assert refusal.http_status == status
    assert str(refusal) == "m"
    with pytest.raises(Refusal, match=r"^m$"):
        raise refusal


def test_no_refusal_is_missing_from_this_table() -> None:
    def leaves(cls: type[Refusal]) -> set[type[Refusal]]:
        return {cls} | {leaf for sub in cls.__subclasses__() for leaf in leaves(sub)}

    in_the_model = {cls for cls in leaves(Refusal) if cls.__module__.startswith("polyglotd.model")}
    assert in_the_model - {Refusal} == {type(refusal) for refusal, *_ in REFUSALS}
