"""Admin tokens: what an operator presents over TCP. Only SHA-256 of one is ever kept.

`polyglotd admin-token` and the first start make them, the HTTP door verifies them. Over the Unix socket the peer's
uid suffices and none of this is used.
"""

import hashlib
import hmac
from collections.abc import Iterable

from polyglotd.model import new_secret

ADMIN_TOKEN_PREFIX = "pla_"


def new_admin_token() -> tuple[str, bytes]:
    """The token as it is shown, once, and the digest to keep."""
    shown = new_secret(ADMIN_TOKEN_PREFIX)
    return shown, digest(shown)


def digest(presented: str) -> bytes:
    """SHA-256 of the whole token as it is shown. Takes any text."""
    return hashlib.sha256(presented.encode(errors="surrogatepass")).digest()


def looks_like_admin_token(presented: str) -> bool:
    """Whether a Bearer value is meant as an admin token and not as a key or a user token."""
    return presented.startswith(ADMIN_TOKEN_PREFIX)


def verify_admin_token(presented: str, digests: Iterable[bytes]) -> bool:
    """Whether one of the kept digests is the token's. Takes as long for every wrong one."""
    wanted = digest(presented)
    found = False
    for kept in digests:
        found |= hmac.compare_digest(kept, wanted)
    return found and looks_like_admin_token(presented)
