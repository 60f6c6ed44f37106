"""The registry's records: apps (tenants), their credentials, and revocations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from polyglotd.model.limits import Limits
from polyglotd.model.policy import Policy, PolicyOverride, policy_for

Scope = Literal["publish", "read", "presence", "admin:app"]
ALL_SCOPES: frozenset[Scope] = frozenset(("publish", "read", "presence", "admin:app"))
Capability = Literal["join", "publish", "presence"]
ALL_CAPABILITIES: frozenset[Capability] = frozenset(("join", "publish", "presence"))
SecretAlgorithm = Literal["HS256", "EdDSA", "ES256", "RS256"]


@dataclass(frozen=True, slots=True)
class App:
    """A tenant. Times are µs since 1970."""

    app_id: str
    name: str = ""
    suspended: bool = False
    limits: Limits = field(default_factory=Limits)
    kinds: Mapping[str, PolicyOverride] = field(default_factory=dict)
    created_us: int = 0

    def policy(self, kind: str) -> Policy | None:
        return policy_for(kind, self.kinds)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret: `digest` is SHA-256 of the whole key, which was shown once."""

    key_id: str
    app_id: str
    digest: bytes
    scopes: frozenset[Scope]
    name: str
    created_us: int
    expires_us: int | None = None  # set by a rotation: the end of its grace
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """What an app's user tokens are verified with: a shared secret (HS256) or a public key in PEM."""

    secret_id: str
    app_id: str
    algorithm: SecretAlgorithm
    material: bytes
    created_us: int
    revoked_us: int | None = None


RevocationSubject = Literal["token", "user", "key", "app"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """One line of the revocation log. `cursor` rises by at least one a line.

    token: `subject` is a jti. user: tokens of this user with `iat` at or before `at_us`. key: a key id.
    app: the app was suspended (its `resume` is no revocation: it is read from the registry).
    """

    cursor: int
    app_id: str
    what: RevocationSubject
    subject: str
    at_us: int
