"""Requests and answers of the admin API as Structs, and how records become them. See `shapes`."""

from typing import Any

from msgspec import UNSET, UnsetType

from polyglotd.gateway.http.shapes import AppId, FromClient, Timestamp, ToClient
from polyglotd.model import (
    ALL_SCOPES,
    ApiKey,
    App,
    Capability,
    Limits,
    PolicyOverride,
    SecretAlgorithm,
    SigningSecret,
    format_ts,
)
from polyglotd.model import Scope as KeyScope

SCOPES_IN_ORDER: tuple[KeyScope, ...] = ("publish", "read", "presence", "admin:app")
assert set(SCOPES_IN_ORDER) == ALL_SCOPES


class NewAppBody(FromClient):
    app_id: AppId
    name: str = ""


class AppPatch(FromClient):
    name: str


class AppView(ToClient):
    app_id: str
    name: str
    suspended: bool
    created: Timestamp
    limits: Limits
    kinds: dict[str, PolicyOverride]


class AppList(ToClient):
    apps: list[AppView]
    cursor: str | None


class ReachedOfApp(ToClient):
    """Where nothing of the app is left. `stores`: then its id is free."""

    log: bool
    stores: bool


class DeletedAppView(ToClient):
    app_id: str
    reached: ReachedOfApp


class DeletedAppList(ToClient):
    """Deleted apps of which something is left."""

    apps: list[DeletedAppView]


class NewKeyBody(FromClient):
    name: str = ""
    scopes: list[KeyScope] | None = None


class RotateBody(FromClient):
    grace_s: int = 86_400


class KeyView(ToClient):
    key_id: str
    name: str
    scopes: list[KeyScope]
    created: Timestamp
    expires: Timestamp | None
    revoked: Timestamp | None


class KeyWithSecret(KeyView):
    """`key` is shown this once: only its hash is kept."""

    key: str


class RotatedKey(KeyWithSecret):
    """`replaces`: the id of the old key, which is good until `old_expires`."""

    replaces: str
    old_expires: Timestamp


class KeyList(ToClient):
    keys: list[KeyView]


class ImportSecretBody(FromClient):
    """`material`: the text of an HS256 secret (at least 32 bytes), or a public key in PEM."""

    algorithm: SecretAlgorithm
    material: str


class SecretView(ToClient):
    secret_id: str
    algorithm: SecretAlgorithm
    created: Timestamp
    revoked: Timestamp | None


class SecretWithMaterial(SecretView):
    """`secret` is shown this once. JWT libraries sign with its text as it stands (HS256)."""

    secret: str


class SecretList(ToClient):
    secrets: list[SecretView]


class CreatedApp(ToClient):
    """All that a new app needs; the key and the secret are shown this once."""

    app: AppView
    api_key: KeyWithSecret
    signing_secret: SecretWithMaterial


class NewTokenBody(FromClient):
    user: str
    ttl_s: int = 3600
    channels: dict[str, list[Capability]] | None = None
    info: dict[str, Any] | None = None


class IssuedToken(ToClient):
    token: str
    jti: str
    expires: Timestamp


class InspectBody(FromClient):
    token: str


class Inspection(ToClient):
    """`problem`: why the token is not good, null where it is."""

    valid: bool
    header: dict[str, Any] | None
    claims: dict[str, Any] | None
    problem: str | None


class RevokeTokenBody(FromClient):
    """One of the two."""

    token: str | UnsetType = UNSET
    jti: str | UnsetType = UNSET


class Quota(ToClient):
    limits: Limits
    defaults: Limits


class KindView(ToClient):
    """A kind's policy as it holds. `source`: who said so."""

    join: str
    publish: str
    presence: str
    presence_max: int
    history_events: int
    history_s: int
    retention_s: int
    snapshot: bool
    overflow: str
    durability: str
    route: str
    source: str


class KindList(ToClient):
    kinds: dict[str, KindView]


class NamedKind(KindView):
    kind: str


# --- from records ---------------------------------------------------------------------------------------------------


def app_view(app: App) -> AppView:
    return AppView(
        app_id=app.app_id,
        name=app.name,
        suspended=app.suspended,
        created=format_ts(app.created_us),
        limits=app.limits,
        kinds=dict(app.kinds),
    )


def _key_members(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": [scope for scope in SCOPES_IN_ORDER if scope in key.scopes],
        "created": format_ts(key.created_us),
        "expires": _time(key.expires_us),
        "revoked": _time(key.revoked_us),
    }


def key_view(key: ApiKey) -> KeyView:
    return KeyView(**_key_members(key))


def key_with_secret(key: ApiKey, shown: str) -> KeyWithSecret:
    return KeyWithSecret(**_key_members(key), key=shown)


def rotated_key(key: ApiKey, shown: str, replaces: str, old_expires_us: int) -> RotatedKey:
    return RotatedKey(**_key_members(key), key=shown, replaces=replaces, old_expires=format_ts(old_expires_us))


def _secret_members(secret: SigningSecret) -> dict[str, Any]:
    return {
        "secret_id": secret.secret_id,
        "algorithm": secret.algorithm,
        "created": format_ts(secret.created_us),
        "revoked": _time(secret.revoked_us),
    }


def secret_view(secret: SigningSecret) -> SecretView:
    return SecretView(**_secret_members(secret))


def secret_with_material(secret: SigningSecret, shown: str) -> SecretWithMaterial:
    return SecretWithMaterial(**_secret_members(secret), secret=shown)


def _time(us: int | None) -> str | None:
    return None if us is None else format_ts(us)
