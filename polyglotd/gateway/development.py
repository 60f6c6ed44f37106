"""Development mode: its literal credentials, and the fence that keeps strangers away from them.

Behind `serve --dev` alone. Nothing here is ever written to the registry, so the same data served without `--dev`
knows none of it.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from polyglotd.model import Forbidden, Invalid, check_user_id

APP_ID = "chat-app"
API_KEY = "valid_key_chat-app"
TOKEN_PREFIX = "valid_token_"

# A request that says it was forwarded came from elsewhere, through something that trusts loopback.
_FORWARDED = frozenset(("forwarded", "x-real-ip"))


def user_of(token: str) -> str | None:
    """The user that a development token names, or None."""
    if not token.startswith(TOKEN_PREFIX):
        return None
    try:
        return check_user_id(token.removeprefix(TOKEN_PREFIX))
    except Invalid:
        return None


def check_local(headers: Sequence[tuple[str, str]]) -> None:
    """Raises `Forbidden` for a request that is not this machine's own. Names of headers are in lower case."""
    hosts = [value for name, value in headers if name == "host"]
    origins = [value for name, value in headers if name == "origin"]
    forwarded = any(name in _FORWARDED or name.startswith("x-forwarded-") for name, _ in headers)
    if forwarded or len(hosts) != 1 or not _is_local(f"//{hosts[0]}") or not all(map(_is_local_origin, origins)):
        raise Forbidden("development mode serves this machine alone: use http://localhost")


def _is_local_origin(origin: str) -> bool:
    return origin.startswith(("http://", "https://")) and _is_local(origin)


def _is_local(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is no number raises
    except ValueError:
        return False
    if host is None or parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if address.version == 6:
        return host == "::1"
    return address.is_loopback
