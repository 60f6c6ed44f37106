"""Refusals as answers: the gateway's problem details, and the headers that HTTP adds to them."""

from http import HTTPStatus

from polyglotd.gateway.http.answer import Answer
from polyglotd.gateway.http.faults import CLOSING_STATUSES, AmbiguousBody
from polyglotd.gateway.http.routes import WrongMethod
from polyglotd.gateway.problem import problem
from polyglotd.limits.headers import quota_headers, rate_headers, retry_after_s
from polyglotd.model import Limits, QuotaExceeded, RateLimited, Refusal, Unauthorized

# Of most quotas nobody knows when there will be room again. Long enough not to be a busy loop.
QUOTA_RETRY_AFTER_US = 10_000_000


def problem_answer(refusal: Refusal, *, limits: Limits | None = None, rate: str | None = None) -> Answer:
    """`limits`: the app's, where it is known. `rate`: which of them a 429 of this call is about."""
    status, headers, body = problem(refusal)
    more: dict[str, str] = {}
    match refusal:
        case Unauthorized():
            more = {"WWW-Authenticate": 'Bearer realm="polyglot"'}
        case WrongMethod(allow=allow):
            more = {"Allow": ", ".join(allow)}
        case RateLimited(retry_after_ms=ms):
            more = _rate_headers(ms * 1000, limits, rate)
        case QuotaExceeded(quota=quota, retry_after_s=known_s):
            retry_after_us = QUOTA_RETRY_AFTER_US if known_s is None else known_s * 1_000_000
            name = quota.replace("-", "_")
            limit = getattr(limits, name, None) if name in Limits.__struct_fields__ else None
            more = {"Retry-After": str(retry_after_s(retry_after_us))}
            if limit is not None:
                more = quota_headers(quota, limit, used=limit, retry_after_us=retry_after_us)
    if status in CLOSING_STATUSES or isinstance(refusal, AmbiguousBody):
        more["Connection"] = "close"
    named = dict(headers) | {name.lower(): value for name, value in more.items()}
    return Answer(status, body, list(named.items()))


def last_words(refusal: Refusal) -> bytes:
    """A whole response, for a connection that is closed before anything was asked."""
    answer = problem_answer(refusal)
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers if name != "connection"]
    lines += [f"content-length: {len(answer.body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + answer.body


def _rate_headers(retry_after_us: int, limits: Limits | None, rate: str | None) -> dict[str, str]:
    if limits is None or rate is None:
        # Of a rate that is no limit of an app, as connections from an address: its value is nobody's business.
        seconds = retry_after_s(retry_after_us)
        return {"Retry-After": str(seconds), "RateLimit": f'"rate";r=0;t={seconds}'}
    per_second: int = getattr(limits, rate)
    return rate_headers(rate.replace("_", "-"), per_second, remaining=0, retry_after_us=retry_after_us)
