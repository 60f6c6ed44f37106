"""API keys: made, rotated, recognised, and what their scopes allow. Only SHA-256 of a key is ever kept.

The admin API makes and rotates keys, the HTTP door calls `authenticate` and `check_scope`. A plain hash suffices: a
key is 160 random bits, which nobody guesses. Does not store anything.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

from polyglotd.model import (
    ALL_SCOPES,
    ApiKey,
    Conflict,
    Forbidden,
    Invalid,
    Scope,
    Unauthorized,
    new_handle,
    new_secret,
)

KEY_PREFIX = "plk_"
KEY_ID_PREFIX = "key_"
NAME_CHARACTERS_MAX = 100
GRACE_DEFAULT_S = 86_400
GRACE_MAX_S = 30 * 86_400
_US = 1_000_000
_FORM = re.compile(KEY_PREFIX + "[0-9a-hjkmnp-tv-z]{32}")
_NOT_IN_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def new_api_key(
    app_id: str, *, now_us: int, name: str = "", scopes: Iterable[Scope] = ALL_SCOPES
) -> tuple[str, ApiKey]:
    """The key as it is shown, once, and its record."""
    shown = new_secret(KEY_PREFIX)
    return shown, ApiKey(new_handle(KEY_ID_PREFIX), app_id, digest(shown), frozenset(scopes), name, now_us)


def rotated(key: ApiKey, *, now_us: int, grace_s: int = GRACE_DEFAULT_S) -> tuple[str, ApiKey, int]:
    """A successor with the same name and scopes, and when the old key ends (µs): after the grace, never later than
    it would have anyway. Raises `Conflict` for a key that is no longer good, `Invalid` for a grace out of bounds."""
    if not 0 <= grace_s <= GRACE_MAX_S:
        raise Invalid(f"a grace is 0 to {GRACE_MAX_S} seconds", field="grace_s")
    try:
        check_alive(key, now_us)
    except Unauthorized as error:
        raise Conflict(f"{error.message}: create a new one instead") from None
    shown, new = new_api_key(key.app_id, now_us=now_us, name=key.name, scopes=key.scopes)
    ends_us = now_us + grace_s * _US
    return shown, new, ends_us if key.expires_us is None else min(ends_us, key.expires_us)


def digest(presented: str) -> bytes:
    """SHA-256 of the whole key as it is shown. Takes any text."""
    return hashlib.sha256(presented.encode(errors="surrogatepass")).digest()


def looks_like_key(presented: str) -> bool:
    """Whether a Bearer value is meant as an API key and not as a token."""
    return presented.startswith(KEY_PREFIX)


def find(presented: str, keys: Iterable[ApiKey]) -> ApiKey | None:
    """The key that was presented. Takes as long for every wrong one; says nothing about revoked or expired."""
    if _FORM.fullmatch(presented) is None:
        return None
    wanted = digest(presented)
    found: ApiKey | None = None
    for key in keys:
        if hmac.compare_digest(key.digest, wanted):
            found = key  # no early end: the time tells nothing about the place
    return found


def authenticate(presented: str, keys: Iterable[ApiKey], *, app_id: str, now_us: int) -> ApiKey:
    """The app's key that was presented, if it is good now. Raises `Unauthorized`."""
    key = find(presented, keys)
    if key is None or key.app_id != app_id:
        raise Unauthorized("the API key is not one of this app")  # also where it is another app's: that is not told
    check_alive(key, now_us)
    return key


def check_alive(key: ApiKey, now_us: int) -> None:
    """Raises `Unauthorized` for a key that was revoked, or whose grace after a rotation is over."""
    if key.revoked_us is not None:
        raise Unauthorized("the API key was revoked")
    if key.expires_us is not None and key.expires_us <= now_us:
        raise Unauthorized("the API key was rotated and its grace is over")


def check_scope(key: ApiKey, scope: Scope) -> None:
    """Raises `Forbidden`. A scope covers itself alone: `admin:app` does not bring `read`."""
    if scope not in key.scopes:
        raise Forbidden(f"the API key has no scope {scope}")


def check_scopes(scopes: Sequence[str] | None) -> frozenset[Scope]:
    """The scopes of a request for a new key; None means all of them. Raises `Invalid`."""
    if scopes is None:
        return ALL_SCOPES
    known = frozenset(scope for scope in ALL_SCOPES if scope in scopes)
    if not scopes or len(known) != len(set(scopes)):
        raise Invalid("scopes are a list out of publish, read, presence, admin:app", field="scopes")
    return known


def check_key_name(name: str) -> str:
    if len(name) > NAME_CHARACTERS_MAX or _NOT_IN_NAME.search(name):
        raise Invalid(f"a name has at most {NAME_CHARACTERS_MAX} characters and no control characters", field="name")
    return name
