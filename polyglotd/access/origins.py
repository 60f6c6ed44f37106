"""Which web pages may use this server: `[listen] origins`, for the WebSocket's Origin check and for CORS.

As in Phoenix (`check_origin`) and Centrifugo, a page may by default connect to the server that it came from and to no
other: an empty list means "same origin". A request without `Origin` is no browser's page and is always allowed; it is
credentials that protect an app, this only keeps foreign pages from using a visitor's network position. The HTTP API
answers foreign pages without CORS headers, the WebSocket refuses them.

The gateway asks the rule that the composition root chose; in development mode that is `dev_mode.LocalOrigins`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polyglotd.access.local_names import split_authority

ANY = "*"
_ORIGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#@\s]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}

PREFLIGHT_AGE_S = 600
_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key, X-User-Id, X-Phoenix-AuthToken"
)
_ANSWER_HEADERS = "Retry-After, RateLimit, RateLimit-Policy, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"


class OriginRule(Protocol):
    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of `origin` may use this server, reached as `host` (the Host header)."""


@dataclass(frozen=True, slots=True)
class AnyOrigin:
    """`origins = ["*"]`: every page, also one without an origin of its own (`null`)."""

    def allows(self, origin: str | None, host: str | None) -> bool:  # noqa: ARG002  the protocol's
        return True


@dataclass(frozen=True, slots=True)
class ListedOrigins:
    """The server's own origin and these."""

    listed: frozenset[tuple[str, str, int | None]] = frozenset()

    def allows(self, origin: str | None, host: str | None) -> bool:
        if origin is None:
            return True
        parts = _parts(origin)
        if parts is None:
            return False  # `null`, lists of origins, and what no browser sends
        return parts in self.listed or (host is not None and _same_host(parts, host))


def parse_origins(origins: Sequence[str]) -> AnyOrigin | ListedOrigins:
    """The rule of a `[listen] origins` setting. Raises ValueError with what would be right."""
    if list(origins) == [ANY]:
        return AnyOrigin()
    listed = set()
    for origin in origins:
        if ANY in origin:
            raise ValueError(f'{origin!r}: "*" stands alone and means every origin; there are no partial ones')
        parts = _parts(origin)
        if parts is None:
            raise ValueError(f"{origin!r} is not an origin: write scheme and host, https://app.example.com, no path")
        listed.add(parts)
    return ListedOrigins(frozenset(listed))


def cors_headers(rule: OriginRule, origin: str | None, host: str | None) -> list[tuple[str, str]]:
    """What an answer to a request carries. No credentials mode: nothing here is authorised by a cookie."""
    vary = [("Vary", "Origin")]  # also where it is refused, lest a cache serves the one to the other
    if origin is None or not rule.allows(origin, host):
        return vary
    return [*vary, ("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _ANSWER_HEADERS)]


def preflight_headers(rule: OriginRule, origin: str | None, host: str | None) -> list[tuple[str, str]]:
    """What an answer to `OPTIONS` carries; without the permission where the page is foreign."""
    headers = cors_headers(rule, origin, host)
    if len(headers) == 1:
        return headers
    return [
        *headers,
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
        ("Access-Control-Max-Age", str(PREFLIGHT_AGE_S)),
    ]


def split_origin(origin: str) -> tuple[str, str] | None:
    """Scheme in lower case, and authority as it is written, of a serialised origin (RFC 6454, 6.2)."""
    found = _ORIGIN.fullmatch(origin)
    return None if found is None else (found["scheme"].lower(), found["authority"])


def _parts(origin: str) -> tuple[str, str, int | None] | None:
    split = split_origin(origin)
    if split is None:
        return None
    scheme, authority = split
    host_port = split_authority(authority)
    if host_port is None:
        return None
    host, port = host_port
    return scheme, host, port if port is not None else _DEFAULT_PORTS.get(scheme)


def _same_host(origin: tuple[str, str, int | None], host: str) -> bool:
    """The scheme is not compared: behind a proxy that ends TLS the page is https and we are not."""
    scheme, name, port = origin
    own = split_authority(host)
    if own is None or scheme not in _DEFAULT_PORTS:
        return False
    own_name, own_port = own
    return own_name == name and (own_port if own_port is not None else _DEFAULT_PORTS[scheme]) == port
