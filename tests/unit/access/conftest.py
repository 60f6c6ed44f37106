"""Keys and a signer for tokens, built by hand so that they may be as wrong as a test wants them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from polyglotd.access.signing_secrets import import_signing_secret
from polyglotd.model import SigningSecret

NOW_S = 1_795_421_730
NOW_US = NOW_S * 1_000_000
APP = "chat-app"
SHARED = "a shared secret of more than thirty-two bytes"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass
class Signer:
    """One key of each algorithm, and tokens signed with them."""

    private: Mapping[str, Any]
    secrets: Mapping[str, SigningSecret] = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = {
            algorithm: import_signing_secret(
                APP, algorithm, SHARED if algorithm == "HS256" else public_pem(key), now_us=NOW_US
            )
            for algorithm, key in self.private.items()
        }

    @property
    def all_secrets(self) -> list[SigningSecret]:
        return list(self.secrets.values())

    def signature(self, algorithm: str, signed: bytes, key: Any = None) -> bytes:
        key = self.private[algorithm] if key is None else key
        match algorithm:
            case "HS256":
                return hmac.new(key, signed, hashlib.sha256).digest()
            case "RS256":
                return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
            case "ES256":
                r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case "EdDSA":
                return key.sign(signed)
        raise AssertionError(algorithm)

    def text(
        self,
        claims: bytes,
        *,
        algorithm: str = "HS256",
        key: Any = None,
        header: bytes | dict[str, Any] | None = None,
    ) -> str:
        """A token whose claims, and header if it is bytes, are these very bytes."""
        if not isinstance(header, bytes):
            header = json.dumps({"alg": algorithm, "typ": "JWT"} | (header or {})).encode()
        signed = f"{base64url(header)}.{base64url(claims)}"
        return f"{signed}.{base64url(self.signature(algorithm, signed.encode(), key))}"

    def token(self, *, algorithm: str = "HS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token, but for what is given; a claim that is `...` is left out."""
        good = {"sub": "ann", "aud": APP, "iat": NOW_S - 10, "exp": NOW_S + 3600} | claims
        left = {name: value for name, value in good.items() if value is not ...}
        return self.text(json.dumps(left).encode(), algorithm=algorithm, header=header)


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer(
        {
            "HS256": SHARED.encode(),
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
    )


@pytest.fixture(scope="session")
def verify(signer: Signer) -> Callable[..., Any]:
    """`verify_user_token` at NOW for the app, with every secret of the signer unless others are given."""
    from polyglotd.access.user_tokens import verify_user_token

    def verify_now(token: str, **changes: Any) -> Any:
        usual = {"app_id": APP, "secrets": signer.all_secrets, "now_us": NOW_US, "leeway_s": 10}
        return verify_user_token(token, **(usual | changes))

    return verify_now


@pytest.fixture(scope="session")
def now_us() -> int:
    return NOW_US


@pytest.fixture(scope="session")
def now_s() -> int:
    return NOW_S
