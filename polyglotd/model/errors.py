"""Every refusal of the contract, a class per `reason`.

Raised by whoever decides, rendered at the edge: as an error reply on a channel, as RFC 9457 problem details over
HTTP. `http_status` is the hint that the HTTP edge uses; the socket edge ignores it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(eq=False)
class Refusal(Exception):
    """What was asked is refused. `message` is for people and says what would be right."""

    reason: ClassVar[str]
    http_status: ClassVar[int]

    message: str

    def __str__(self) -> str:
        return self.message

    def details(self) -> dict[str, object]:
        """What goes beside `reason` and `message`: field, limit, quota, retry_after_ms."""
        return {}

    def as_reply(self) -> dict[str, object]:
        """The `response` of an `error` reply on a channel."""
        return {"reason": self.reason, "message": self.message} | self.details()


@dataclass(eq=False)
class Unauthorized(Refusal):
    """No credential, or one that is wrong, expired or revoked."""

    reason = "unauthorized"
    http_status = 401


@dataclass(eq=False)
class Forbidden(Refusal):
    """The credential is good, but not for this."""

    reason = "forbidden"
    http_status = 403


@dataclass(eq=False)
class Malformed(Refusal):
    """Not JSON at all (HTTP 400). The reason is the same as for a wrong value."""

    reason = "invalid"
    http_status = 400
    field: str = field(default="body", kw_only=True)

    def details(self) -> dict[str, object]:
        return {"field": self.field}


@dataclass(eq=False)
class Invalid(Refusal):
    """JSON of the wrong shape or value; `field` says which."""

    reason = "invalid"
    http_status = 422
    field: str = field(default="body", kw_only=True)

    def details(self) -> dict[str, object]:
        return {"field": self.field}


@dataclass(eq=False)
class PayloadTooLarge(Refusal):
    """The encoded `data` (or a body) has more than `limit` bytes."""

    reason = "payload_too_large"
    http_status = 413
    limit: int = field(default=0, kw_only=True)

    def details(self) -> dict[str, object]:
        return {"limit": self.limit}


@dataclass(eq=False)
class RateLimited(Refusal):
    """A rate was reached; the same request may succeed after `retry_after_ms`."""

    reason = "rate_limited"
    http_status = 429
    retry_after_ms: int = field(default=1000, kw_only=True)

    def details(self) -> dict[str, object]:
        return {"retry_after_ms": self.retry_after_ms}


@dataclass(eq=False)
class QuotaExceeded(Refusal):
    """A bound on how much there may be was reached; `quota` is its name in section 8 of the contract. `retry_after_s`
    where it is known when there will be room."""

    reason = "quota_exceeded"
    http_status = 429
    quota: str = field(default="", kw_only=True)
    retry_after_s: int | None = field(default=None, kw_only=True)

    def details(self) -> dict[str, object]:
        return {"quota": self.quota}


@dataclass(eq=False)
class TooManyChannels(Refusal):
    """The connection has joined `channels-per-connection` channels."""

    reason = "too_many_channels"
    http_status = 429


@dataclass(eq=False)
class UnknownChannelKind(Refusal):
    """No policy has this kind, neither a built-in one nor the app's own."""

    reason = "unknown_channel_kind"
    http_status = 404


@dataclass(eq=False)
class UnknownEvent(Refusal):
    reason = "unknown_event"
    http_status = 422


@dataclass(eq=False)
class UnmatchedTopic(Refusal):
    """A push to a topic that is not joined. The words are Phoenix's own."""

    reason = "unmatched topic"
    http_status = 404


@dataclass(eq=False)
class Unavailable(Refusal):
    """Something that the request needs is away; it may be repeated after `retry_after_ms`."""

    reason = "unavailable"
    http_status = 503
    retry_after_ms: int = field(default=1000, kw_only=True)

    def details(self) -> dict[str, object]:
        return {"retry_after_ms": self.retry_after_ms}


@dataclass(eq=False)
class InternalFault(Refusal):
    """Our own fault. The log has the story, the caller has none of it."""

    reason = "internal"
    http_status = 500


@dataclass(eq=False)
class NotFound(Refusal):
    reason = "not_found"
    http_status = 404


@dataclass(eq=False)
class MethodNotAllowed(Refusal):
    reason = "method_not_allowed"
    http_status = 405


@dataclass(eq=False)
class Conflict(Refusal):
    reason = "conflict"
    http_status = 409


@dataclass(eq=False)
class AmbiguousId(Conflict):
    """Several events of the channel have this id, as several users may give the same; `seqs` are theirs."""

    seqs: Sequence[int] = field(default=(), kw_only=True)

    def details(self) -> dict[str, object]:
        return {"seqs": list(self.seqs)}


@dataclass(eq=False)
class UnsupportedMediaType(Refusal):
    reason = "unsupported_media_type"
    http_status = 415
