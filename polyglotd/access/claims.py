"""Read the JSON inside a token strictly: one meaning for every reader, or none.

`user_tokens` calls this on header and claims. Repeated keys, NaN and texts that are not UTF-8 are refused, because a
second reader of the same token could take another meaning from them. Does not look at signatures or clocks.
"""

import json
from typing import Any, NoReturn

import msgspec

from polyglotd.model import (
    ALL_CAPABILITIES,
    Capability,
    Invalid,
    Unauthorized,
    check_pattern,
    check_user_id,
)

INFO_BYTES_MAX = 1024
JTI_BYTES_MAX = 128
DEPTH_MAX = 32  # far below every parser's own limit, so that whoever reads the value later is safe too
TIME_MAX_S = 253_402_300_799  # the end of the year 9999: what RFC 3339 can still write
US = 1_000_000

Claims = dict[str, Any]


class _InfoOnly(msgspec.Struct):
    """Picks one claim's own text out of the claims."""

    info: msgspec.Raw = msgspec.Raw(b"")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _too_deep(value: object, text: bytes) -> bool:
    if text.count(b"{") + text.count(b"[") <= DEPTH_MAX:  # no more levels than brackets
        return False
    level: list[object] = [value]
    for _ in range(DEPTH_MAX):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True


def read_object(text: bytes, part: str) -> Claims:
    """The JSON object in `text`. Raises `Unauthorized`; `part` names it to the reader ("header", "claims")."""
    try:
        value = _DECODER.decode(text.decode())
        if _too_deep(value, text):
            raise RecursionError
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # lone surrogates: text that no client could be sent
    except UnicodeError:
        raise Unauthorized(f"the token's {part}: not UTF-8") from None
    except RecursionError:
        raise Unauthorized(f"the token's {part}: nested too deeply") from None
    except ValueError as error:
        raise Unauthorized(f"the token's {part}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unauthorized(f"the token's {part}: not a JSON object")
    return value


def time_us(claims: Claims, name: str) -> int | None:
    """A NumericDate (RFC 7519, 2: seconds, fractions allowed) in µs; None where it is absent."""
    if name not in claims:
        return None
    value = claims[name]
    # A bool is an int to Python. The range comes first, since it also turns away infinities (1e999).
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_MAX_S:
        raise Unauthorized(f"the token's {name} must be a number of seconds since 1970")
    return value * US if isinstance(value, int) else round(value * US)


def required_time_us(claims: Claims, name: str) -> int:
    value = time_us(claims, name)
    if value is None:
        raise Unauthorized(f"the token has no {name}: user tokens need iat, exp, sub and aud")
    return value


def subject(claims: Claims) -> str:
    value = claims.get("sub")
    if value is None:
        raise Unauthorized("the token has no sub: user tokens need iat, exp, sub and aud")
    if not isinstance(value, str):
        raise Unauthorized("the token's sub must be a string: the user")
    try:
        return check_user_id(value, "sub")
    except Invalid as error:
        raise Unauthorized(f"the token's sub: {error}") from None


def check_audience(claims: Claims, app_id: str) -> None:
    """`aud` is the app, or a list that holds it (RFC 7519, 4.1.3)."""
    value = claims.get("aud")
    if value is None:
        raise Unauthorized("the token has no aud: user tokens need iat, exp, sub and aud")
    audience = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in audience):
        raise Unauthorized("the token's aud must be a string or a list of strings")
    if app_id not in audience:
        raise Unauthorized("the token's aud does not name this app")


def token_id(claims: Claims) -> str | None:
    value = claims.get("jti")
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= JTI_BYTES_MAX:
        raise Unauthorized(f"the token's jti must be a string of 1 to {JTI_BYTES_MAX} bytes")
    return value


def capabilities(claims: Claims) -> dict[str, frozenset[Capability]] | None:
    """`channels`: patterns to capabilities. None where the claim is absent; an empty one allows nothing."""
    if "channels" not in claims:
        return None
    value = claims["channels"]
    if not isinstance(value, dict):
        raise Unauthorized('the token\'s channels must be an object of patterns: {"room:*": ["join"]}')
    return {_pattern(pattern): _capability_set(names) for pattern, names in value.items()}


def _pattern(pattern: str) -> str:
    try:
        return check_pattern(pattern, "channels")
    except Invalid as error:
        raise Unauthorized(f"the token's channels: {error}") from None


def _capability_set(names: object) -> frozenset[Capability]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name in ALL_CAPABILITIES for name in names):
        raise Unauthorized("the token's channels: capabilities are a list out of join, publish, presence")
    return frozenset(names)


def info(claims: Claims, text: bytes) -> bytes | None:
    """`info` as its own JSON, numbers as they are written; None where it is absent or null. `text`: all claims."""
    if claims.get("info") is None:
        return None
    # Claims have unique keys, so both parsers mean the same member.
    return info_text(bytes(msgspec.json.decode(text, type=_InfoOnly).info))


def info_text(text: bytes) -> bytes:
    """A JSON object that presence may show, without white space: line breaks would break SSE and NDJSON frames."""
    read_object(text, "info")
    own_text = msgspec.json.format(text, indent=-1)
    if len(own_text) > INFO_BYTES_MAX:
        raise Unauthorized(f"the token's info has more than {INFO_BYTES_MAX} bytes")
    return own_text
