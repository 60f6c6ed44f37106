"""Development mode: two literal credentials for one app, and the fence that keeps everyone else away from them.

The gateway uses this only where `serve --dev` runs; then it calls `check_local` first on every request and upgrade.
The literals are nowhere but here: the registry never holds them, so the same data served without the mode knows none.
They can't be revoked, since a token counts as issued when it is presented.
"""

from collections.abc import Iterable

from polyglotd.access.api_keys import digest
from polyglotd.access.grant import UserGrant
from polyglotd.access.local_names import is_local_authority, is_local_host
from polyglotd.access.origins import split_origin
from polyglotd.model import ALL_SCOPES, ApiKey, Forbidden, Invalid, Unauthorized, check_user_id

DEV_APP_ID = "chat-app"
DEV_API_KEY = "valid_key_chat-app"
DEV_TOKEN_PREFIX = "valid_token_"
_TTL_US = 30 * 86_400 * 1_000_000
_KEY = ApiKey("key_dev", DEV_APP_ID, digest(DEV_API_KEY), ALL_SCOPES, "development mode", 0)


def dev_key(presented: str, app_id: str) -> ApiKey | None:
    """The literal key's record, with all scopes; None where something else was presented or for another app."""
    return _KEY if presented == DEV_API_KEY and app_id == DEV_APP_ID else None


def dev_grant(presented: str, app_id: str, *, now_us: int) -> UserGrant | None:
    """The grant of `valid_token_NAME`: user NAME, what the kinds' policies allow.

    None where it is not such a literal or for another app. Raises `Unauthorized` where NAME is no user.
    """
    if not presented.startswith(DEV_TOKEN_PREFIX) or app_id != DEV_APP_ID:
        return None
    try:
        user_id = check_user_id(presented.removeprefix(DEV_TOKEN_PREFIX))
    except Invalid as error:
        raise Unauthorized(f"{DEV_TOKEN_PREFIX}NAME: {error.message}") from None
    return UserGrant(
        user_id=user_id,
        app_id=DEV_APP_ID,
        capabilities=None,
        info=None,
        jti=None,
        iat_us=now_us,
        exp_us=now_us + _TTL_US,
        secret_id="sec_dev",
    )


class LocalOrigins:
    """The origin rule of the mode: pages of this machine, at any port."""

    def allows(self, origin: str | None, host: str | None) -> bool:  # noqa: ARG002  the protocol's
        return origin is None or is_local_origin(origin)


def is_local_origin(origin: str) -> bool:
    """`http(s)://` and a local host. `null` (a sandboxed frame, a file) is foreign."""
    parts = split_origin(origin)
    return parts is not None and parts[0] in ("http", "https") and is_local_authority(parts[1])


def check_local(headers: Iterable[tuple[str, str]]) -> None:
    """Raises `Forbidden` unless the request came straight from this machine and, if from a page, from a local one.

    `headers`: all of them, as they came. The Host check stops DNS rebinding (a foreign page whose name now resolves
    to loopback), the Origin check foreign pages, the rest requests that a proxy brings in from outside.
    """
    hosts: list[str] = []
    origins: list[str] = []
    for name, value in headers:
        match name.lower():
            case "host":
                hosts.append(value)
            case "origin":
                origins.append(value)
            case "forwarded" | "x-real-ip":
                raise _foreign(f"the request was forwarded ({name})")
            case lower if lower.startswith("x-forwarded"):
                raise _foreign(f"the request was forwarded ({name})")
    if len(hosts) != 1 or not is_local_authority(hosts[0]):
        raise _foreign("its Host is not localhost, 127.0.0.0/8 or [::1]")
    if len(origins) > 1 or not all(is_local_origin(origin) for origin in origins):
        raise _foreign("its Origin is not localhost, 127.0.0.0/8 or [::1]")


def may_listen_on(host: str) -> bool:
    """Whether `--host` is loopback, which the mode demands."""
    return is_local_host(host)


def _foreign(why: str) -> Forbidden:
    return Forbidden(f"development mode serves this machine only: {why}")
