"""Verify, inspect and issue user tokens: JWTs signed with an app's own secrets (section 4 of the contract).

The gateway calls `verify_user_token` at a connect, at `access_token` and for HTTP calls; the admin API calls the
rest. Signatures are PyJWT's; which secret may check which token, and every claim, is decided here, since the caller's
clock counts and the messages are for the app's developers. Does not know revoked tokens (see `revocation`) or
suspended apps.

The algorithm comes from the secret, never from the token: the token's `alg` only picks among secrets that have it,
so the text of a public key is never used as an HMAC secret (RFC 8725, 2.1 and 3.1).
"""

import hmac
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jwt
import msgspec

from polyglotd.access import claims as claims_of
from polyglotd.access.claims import US, read_object
from polyglotd.access.grant import UserGrant
from polyglotd.access.signing_secrets import ALGORITHMS, verification_key
from polyglotd.model import (
    Capability,
    Conflict,
    Invalid,
    SigningSecret,
    Unauthorized,
    check_user_id,
    new_handle,
)

TOKEN_BYTES_MAX = 8192  # a URL's query must hold it; checked before anything is parsed
TTL_MAX_S = 30 * 86_400
JTI_PREFIX = "tok_"

# Exactly RFC 7515's compact form. What a lenient decoder would skip over is refused.
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_JWS = jwt.PyJWS(algorithms=list(ALGORITHMS))
# An issuer writes one header on all of its tokens. Others' may push it out of the cache, which costs it some µs.
_HEADERS_CACHED, _HEADER_CACHED_BYTES_MAX = 1024, 256
_TO_ORDINARY, _TO_URL = str.maketrans("-_", "+/"), str.maketrans("+/", "-_")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a token holds, and whether it is good. `grant` and `problem`: exactly one of them is there."""

    header: Mapping[str, Any] | None  # None where it can't be read
    claims: Mapping[str, Any] | None
    grant: UserGrant | None
    problem: str | None

    @property
    def valid(self) -> bool:
        return self.grant is not None


class IssuedToken(NamedTuple):
    token: str
    jti: str
    exp_us: int


def verify_user_token(
    token: str,
    *,
    app_id: str,
    secrets: Sequence[SigningSecret],
    now_us: int,
    leeway_s: float,
    ttl_max_s: int = TTL_MAX_S,
) -> UserGrant:
    """The token's grant for this app. Raises `Unauthorized`, whose message says what is wrong with it."""
    header, text = _parts(token)
    secret = _verified_by(token, header, [secret for secret in secrets if secret.app_id == app_id])
    claims = read_object(text, "claims")
    claims_of.check_audience(claims, app_id)
    iat_us, exp_us = _checked_times(claims, now_us, round(leeway_s * US), ttl_max_s)
    return UserGrant(
        user_id=claims_of.subject(claims),
        app_id=app_id,
        capabilities=claims_of.capabilities(claims),
        info=claims_of.info(claims, text),
        jti=claims_of.token_id(claims),
        iat_us=iat_us,
        exp_us=exp_us,
        secret_id=secret.secret_id,
    )


def inspect_user_token(
    token: str,
    *,
    app_id: str,
    secrets: Sequence[SigningSecret],
    now_us: int,
    leeway_s: float,
    ttl_max_s: int = TTL_MAX_S,
) -> Inspection:
    """All that can be read of a token, good or bad. Never raises."""
    header: Mapping[str, Any] | None = None
    claims: Mapping[str, Any] | None = None
    try:
        header, text = _parts(token)
        claims = read_object(text, "claims")
        grant = verify_user_token(
            token, app_id=app_id, secrets=secrets, now_us=now_us, leeway_s=leeway_s, ttl_max_s=ttl_max_s
        )
    except Unauthorized as error:
        return Inspection(header, claims, None, error.message)
    return Inspection(header, claims, grant, None)


def issue_user_token(
    secret: SigningSecret,
    *,
    app_id: str,
    user_id: str,
    ttl_s: int,
    channels: Mapping[str, Sequence[Capability]] | None,
    info: bytes | None,
    now_us: int,
    ttl_max_s: int = TTL_MAX_S,
) -> IssuedToken:
    """Sign a token with one of the app's HS256 secrets. `info`: a JSON object, kept as it is written.

    `iat` has microseconds, so that a token issued just after its user was revoked is told from those before. Raises
    `Invalid` where the token would not be accepted, `Conflict` for a secret that can't sign.
    """
    if secret.algorithm != "HS256" or secret.revoked_us is not None or secret.app_id != app_id:
        raise Conflict("only an active HS256 secret of the app can sign; `polyglotctl secret create` makes one")
    check_user_id(user_id, "user")
    if not 1 <= ttl_s <= ttl_max_s:
        raise Invalid(f"a token lives 1 to {ttl_max_s} seconds", field="ttl_s")
    try:
        claims_of.capabilities({} if channels is None else {"channels": dict(channels)})
    except Unauthorized as error:
        raise Invalid(error.message, field="channels") from None
    try:
        own_info = None if info is None else claims_of.info_text(info)
    except Unauthorized as error:
        raise Invalid(error.message, field="info") from None
    jti = new_handle(JTI_PREFIX)
    exp_us = (now_us // US + ttl_s) * US
    claims: dict[str, object] = {"sub": user_id, "aud": app_id, "iat": now_us / US, "exp": exp_us // US, "jti": jti}
    if channels is not None:
        claims["channels"] = channels
    if own_info is not None:
        claims["info"] = msgspec.Raw(own_info)
    token = _JWS.encode(msgspec.json.encode(claims), secret.material, "HS256", {"kid": secret.secret_id})
    if len(token) > TOKEN_BYTES_MAX:
        raise Invalid(
            f"the token would have more than {TOKEN_BYTES_MAX} bytes: name fewer channels", field="channels"
        )
    return IssuedToken(token, jti, exp_us)


def _parts(token: str) -> tuple[Mapping[str, Any], bytes]:
    """The header and the text of the claims, neither of them verified."""
    if len(token) > TOKEN_BYTES_MAX:
        raise Unauthorized(f"a token has at most {TOKEN_BYTES_MAX} bytes")
    compact = _COMPACT.fullmatch(token)
    if compact is None:
        raise Unauthorized("that is not a user token: three parts of base64url, joined by dots")
    try:
        claims_text = _decode(compact[2])
        header = _cached_header(compact[1]) if len(compact[1]) <= _HEADER_CACHED_BYTES_MAX else _header(compact[1])
    except ValueError:
        raise Unauthorized("the token is not base64url") from None
    return header, claims_text


def _header(text: str) -> Mapping[str, Any]:
    return read_object(_decode(text), "header")


_cached_header = lru_cache(_HEADERS_CACHED)(_header)


def _decode(text: str) -> bytes:
    """Base64url without padding, of its alphabet alone. Raises ValueError for a length that none has."""
    return a2b_base64(text.translate(_TO_ORDINARY) + "=" * (-len(text) % 4))


def _encode(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode().rstrip("=").translate(_TO_URL)


def _verified_by(token: str, header: Mapping[str, Any], secrets: Sequence[SigningSecret]) -> SigningSecret:
    """The active secret that the signature fits."""
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise Unauthorized(f"the token's alg must be one of {', '.join(ALGORITHMS)}")
    if "crit" in header:
        raise Unauthorized("the token's header has crit: no extension is supported")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise Unauthorized("the token's kid must be a string")
    # A kid of another system (an identity provider's) is no secret of ours and narrows nothing.
    named = [secret for secret in secrets if secret.secret_id == kid]
    fitting = [secret for secret in named or secrets if secret.algorithm == algorithm]
    active = [secret for secret in fitting if secret.revoked_us is None]
    if not active:
        what = "was revoked" if fitting else f"for {algorithm} does not exist"
        raise Unauthorized(f"the signing secret {what}")
    if header.get("b64") is False:  # RFC 7797: claims that are not base64url
        raise Unauthorized("the token is malformed")
    signed, _, signature = token.rpartition(".")
    try:
        presented = _decode(signature)
    except ValueError:
        raise Unauthorized("the token is malformed") from None
    if _encode(presented) != signature:  # bits that mean nothing would be a second spelling
        raise Unauthorized("the token is malformed")
    text = signed.encode()
    for secret in active:
        if _fits(secret, text, presented):
            return secret
    raise Unauthorized(f"the token's signature fits no active {algorithm} secret of the app")


def _fits(secret: SigningSecret, text: bytes, signature: bytes) -> bool:
    """The signature alone: all else that PyJWT would check of a token is checked here, with words of ours."""
    if secret.algorithm == "HS256":  # in one call, which takes a fifth of the library's time
        return hmac.compare_digest(hmac.digest(secret.material, text, "sha256"), signature)
    verify = _JWS.get_algorithm_by_name(secret.algorithm).verify
    return bool(verify(text, verification_key(secret.algorithm, secret.material), signature))


def _checked_times(claims: Mapping[str, Any], now_us: int, leeway_us: int, ttl_max_s: int) -> tuple[int, int]:
    claims = dict(claims)
    iat_us = claims_of.required_time_us(claims, "iat")
    exp_us = claims_of.required_time_us(claims, "exp")
    nbf_us = claims_of.time_us(claims, "nbf")
    if exp_us <= iat_us:
        raise Unauthorized("the token's exp is not after its iat")
    if exp_us - iat_us > ttl_max_s * US:
        raise Unauthorized(f"the token lives longer than {ttl_max_s} seconds (exp - iat)")
    if iat_us > now_us + leeway_us:
        raise Unauthorized("the token's iat is in the future: is the clock of its issuer right?")
    if nbf_us is not None and nbf_us > now_us + leeway_us:
        raise Unauthorized("the token is not valid yet (nbf)")
    if exp_us + leeway_us <= now_us:
        raise Unauthorized("the token has expired")
    return iat_us, exp_us
