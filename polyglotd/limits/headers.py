"""`Retry-After` and `RateLimit` headers of a 429 (RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers).

The HTTP edge adds them. The draft changed its form on the way: its first versions had three plain fields, which most
clients read today; since version 8 there are two structured ones. They don't clash, so both forms are sent.
"""

_US = 1_000_000


def rate_headers(name: str, limit: int, *, window_s: int = 1, remaining: int, retry_after_us: int) -> dict[str, str]:
    """Of a rate: `limit` in `window_s` seconds. `name` as in section 8 of the contract (`api-publishes`)."""
    return _headers(name, limit, remaining, retry_after_us) | {
        "RateLimit-Policy": f'"{name}";q={limit};w={window_s}',
    }


def quota_headers(name: str, limit: int, *, used: int, retry_after_us: int) -> dict[str, str]:
    """Of a bound on how much there may be at once. When room comes nobody knows: `retry_after_us` is advice."""
    return _headers(name, limit, max(0, limit - used), retry_after_us) | {"RateLimit-Policy": f'"{name}";q={limit}'}


def retry_after_s(retry_after_us: int) -> int:
    """Whole seconds, upwards, at least one: who comes earlier is refused again."""
    return max(1, -(-retry_after_us // _US))


def _headers(name: str, limit: int, remaining: int, retry_after_us: int) -> dict[str, str]:
    seconds = retry_after_s(retry_after_us)
    return {
        "Retry-After": str(seconds),
        "RateLimit": f'"{name}";r={remaining};t={seconds}',
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(seconds),
    }
