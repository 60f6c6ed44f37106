"""An app's signing secrets: new ones, imported ones, and the keys that signatures are checked with.

The admin API makes and imports them, `user_tokens` verifies with them. Does not store them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm

from polyglotd.model import Conflict, Invalid, SecretAlgorithm, SigningSecret, new_handle, new_secret

SECRET_PREFIX = "pls_"
SECRET_ID_PREFIX = "sec_"
ALGORITHMS: tuple[SecretAlgorithm, ...] = ("HS256", "EdDSA", "ES256", "RS256")
HS256_BYTES_MIN = 32  # RFC 7518, 3.2: at least as long as the hash
RSA_BITS_MIN = 2048  # RFC 7518, 3.3
RSA_BITS_MAX = 8192  # a check of a larger one takes milliseconds
MATERIAL_BYTES_MAX = 8192
ACTIVE_MAX = 20  # a token without `kid` is tried with each: a bound on what a forged one costs
_KEYS_CACHED = 1024  # parsed public keys: parsing costs more than checking

_HMAC = HMACAlgorithm(HMACAlgorithm.SHA256)


def new_signing_secret(app_id: str, *, now_us: int) -> tuple[str, SigningSecret]:
    """A new HS256 secret. The text is what any JWT library signs with, as it stands."""
    shown = new_secret(SECRET_PREFIX)
    return shown, _record(app_id, "HS256", shown.encode(), now_us)


def import_signing_secret(app_id: str, algorithm: str, material: str, *, now_us: int) -> SigningSecret:
    """A secret that the app has already: the text of an HS256 secret, or a public key in PEM. Raises `Invalid`."""
    known = _algorithm(algorithm)
    encoded = material.encode(errors="surrogatepass")
    if len(encoded) > MATERIAL_BYTES_MAX:
        raise Invalid(f"a secret or key has at most {MATERIAL_BYTES_MAX} bytes", field="material")
    if known == "HS256":
        _check_shared(encoded)
    else:
        encoded = encoded.strip() + b"\n"
        _check_public(known, encoded)
    return _record(app_id, known, encoded, now_us)


def check_room(secrets: Sequence[SigningSecret]) -> None:
    """Raises `Conflict` where the app has as many active secrets as it may have."""
    if sum(secret.revoked_us is None for secret in secrets) >= ACTIVE_MAX:
        raise Conflict(f"an app has at most {ACTIVE_MAX} active signing secrets; revoke one first")


def verification_key(algorithm: SecretAlgorithm, material: bytes) -> Any:
    """What PyJWT takes as `key` for this algorithm: bytes for HS256, else a public key object.

    Raises ValueError where the material is not a key of the algorithm, which an import has made impossible.
    """
    return material if algorithm == "HS256" else _public_key(algorithm, material)


@lru_cache(_KEYS_CACHED)
def _public_key(algorithm: SecretAlgorithm, material: bytes) -> Any:
    key = load_pem_public_key(material)
    match algorithm, key:
        case "RS256", RSAPublicKey():
            return key
        case "ES256", EllipticCurvePublicKey(curve=SECP256R1()):
            return key
        case "EdDSA", Ed25519PublicKey() | Ed448PublicKey():
            return key
    raise ValueError(f"not a public key for {algorithm}")


def _record(app_id: str, algorithm: SecretAlgorithm, material: bytes, now_us: int) -> SigningSecret:
    return SigningSecret(new_handle(SECRET_ID_PREFIX), app_id, algorithm, material, now_us)


def _algorithm(name: str) -> SecretAlgorithm:
    for algorithm in ALGORITHMS:
        if name == algorithm:
            return algorithm
    raise Invalid(f"an algorithm is one of {', '.join(ALGORITHMS)}", field="algorithm")


def _check_shared(secret: bytes) -> None:
    if len(secret) < HS256_BYTES_MIN:
        raise Invalid(f"an HS256 secret has at least {HS256_BYTES_MIN} bytes", field="material")
    if b"-----BEGIN " in secret:
        # Whoever knows a public key could sign with it: that must never be a shared secret.
        raise Invalid("that is a key in PEM; import it with algorithm RS256, ES256 or EdDSA", field="material")
    try:
        _HMAC.prepare_key(secret)
    except InvalidKeyError:
        raise Invalid("that is a key or certificate, not an HS256 secret", field="material") from None


def _check_public(algorithm: SecretAlgorithm, pem: bytes) -> None:
    if b"PRIVATE KEY" in pem:
        raise Invalid("that is a private key: keep it, and import its public key only", field="material")
    if b"BEGIN CERTIFICATE" in pem:
        raise Invalid("that is a certificate: `openssl x509 -pubkey -noout` prints its public key", field="material")
    try:
        key = verification_key(algorithm, pem)
    except (ValueError, UnsupportedAlgorithm):
        wanted = {"RS256": "an RSA key", "ES256": "a P-256 key", "EdDSA": "an Ed25519 or Ed448 key"}[algorithm]
        raise Invalid(f"{algorithm} needs {wanted} in PEM (-----BEGIN PUBLIC KEY-----)", field="material") from None
    if isinstance(key, RSAPublicKey) and not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise Invalid(f"an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits", field="material")
