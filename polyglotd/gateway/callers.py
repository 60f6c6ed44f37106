"""Who asks over HTTP, once its credential was found good. `Gateway.authenticate` makes callers; nobody else does.

A caller carries its app, so a call can't name one app and act on another.
"""

from dataclasses import dataclass

from polyglotd.access.grant import UserGrant
from polyglotd.model import ApiKey, App


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows, as it came. Several at once are refused, unless they are equal."""

    api_key: str | None = None  # X-API-Key
    bearer: str | None = None  # Authorization: Bearer, an API key or a user token
    query_token: str | None = None  # ?token= of an SSE stream: a user token that lives 5 minutes at most

    @property
    def absent(self) -> bool:
        return self.api_key is None and self.bearer is None and self.query_token is None


@dataclass(frozen=True, slots=True)
class UserCaller:
    """A user with a token: the kind's policy and the token's capabilities hold."""

    app: App
    credential: UserGrant

    @property
    def user_id(self) -> str:
        return self.credential.user_id


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """An API key: its scopes hold."""

    app: App
    credential: ApiKey


@dataclass(frozen=True, slots=True)
class OperatorCaller:
    """An operator, who may do for every app what a key with all scopes may."""

    app: App

    @property
    def credential(self) -> None:
        return None


Caller = UserCaller | KeyCaller | OperatorCaller

Credential = UserGrant | ApiKey | None
"""What a connection was opened with; None is an operator."""
