"""Refusals as RFC 9457 problem details, for HTTP answers and for refused handshakes.

`type` is `about:blank`, so `title` is the status' own phrase (RFC 9457, 4.2.1); programs read `code`.
"""

from http import HTTPStatus

import msgspec

from polyglotd.model import QuotaExceeded, Refusal

# When some of what a quota counts will go, nobody knows: long enough not to be a busy loop.
QUOTA_RETRY_AFTER_S = 10
CONTENT_TYPE = "application/problem+json"
_encode = msgspec.json.Encoder().encode


def retry_after_s(refusal: Refusal) -> int | None:
    """The `Retry-After` header's whole seconds, rounded up; None where waiting does not help."""
    if isinstance(refusal, QuotaExceeded):
        return refusal.retry_after_s or QUOTA_RETRY_AFTER_S
    retry_after_ms = refusal.details().get("retry_after_ms")
    if not isinstance(retry_after_ms, int):
        return None
    return max(1, -(-retry_after_ms // 1000))


def problem(refusal: Refusal, status: int | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body. `status` overrides the refusal's own, as at the socket, where 401 is 403."""
    status = refusal.http_status if status is None else status
    headers = [("content-type", CONTENT_TYPE)]
    if (seconds := retry_after_s(refusal)) is not None:
        headers.append(("retry-after", str(seconds)))
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refusal.message,
        "code": refusal.reason,
    }
    return status, headers, _encode(body | refusal.details())
