"""Who somebody is, from what he shows: user tokens, API keys, and the literals of development mode.

Called for connections (`admission`), for HTTP (`Gateway.authenticate`) and for a token's replacement (`pushes`).

Nobody learns here which apps exist: in the place of one that does not, a decoy checks the credential. It has one
secret, as most apps have, which nobody knows; so the answer takes the same words and the same time.
"""

import secrets

from polyglotd.access.api_keys import authenticate, looks_like_key
from polyglotd.access.dev_mode import DEV_API_KEY, dev_grant, dev_key
from polyglotd.access.grant import UserGrant
from polyglotd.access.revocation import Revocations
from polyglotd.access.user_tokens import verify_user_token
from polyglotd.gateway.callers import Caller, Credentials, KeyCaller, UserCaller
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.model import ApiKey, App, Forbidden, Invalid, NotFound, SigningSecret, Unauthorized

QUERY_TOKEN_TTL_MAX_US = 300 * 1_000_000  # URLs end up in logs and histories: what stands there must soon be void
NO_CREDENTIAL = "show an API key or a user token of this app"


class Authentication:
    def __init__(
        self, directory: Directory, revocations: Revocations, settings: GatewaySettings, wall: WallClock
    ) -> None:
        self._directory = directory
        self._revocations = revocations
        self._settings = settings
        self._wall = wall

    async def entry(self, app_id: str) -> Entry:
        """The app that somebody wants to be authenticated for, or a decoy, for which no credential is good."""
        try:
            return await self._directory.entry(app_id)
        except NotFound:
            secret = SigningSecret("", app_id, "HS256", secrets.token_bytes(32), 0)
            return Entry(App(app_id), {}, (secret,), {})

    def user(self, entry: Entry, token: str) -> UserGrant:
        """Raises `Unauthorized`, and `Forbidden` where the app is suspended."""
        app_id, now_us = entry.app.app_id, self._wall()
        grant = dev_grant(token, app_id, now_us=now_us) if self._settings.development else None
        if grant is None:
            grant = verify_user_token(
                token,
                app_id=app_id,
                secrets=entry.secrets,
                now_us=now_us,
                leeway_s=self._settings.clock_leeway_s,
                ttl_max_s=self._settings.token_ttl_max_s,
            )
        self.check(entry, grant)
        return grant

    def key(self, entry: Entry, presented: str) -> ApiKey:
        """Raises as `user`."""
        app_id, now_us = entry.app.app_id, self._wall()
        key = dev_key(presented, app_id) if self._settings.development else None
        if key is None:
            key = authenticate(presented, entry.keys.values(), app_id=app_id, now_us=now_us)
        self.check(entry, key)
        return key

    def check(self, entry: Entry, credential: UserGrant | ApiKey) -> None:
        """What can change after a credential was verified. Raises as `user`."""
        self._revocations.check(credential)
        if entry.app.suspended:
            raise Forbidden("the app is suspended")

    async def caller(self, app_id: str, credentials: Credentials) -> Caller:
        """Raises `Unauthorized`, `Forbidden`, `Invalid` where several different credentials are shown."""
        shown = {credentials.api_key, credentials.bearer, credentials.query_token} - {None}
        if not shown:
            raise Unauthorized(NO_CREDENTIAL)
        if len(shown) > 1:
            raise Invalid("several credentials are shown: show one", field="authorization")
        entry = await self.entry(app_id)
        if (key := credentials.api_key) is not None:
            return KeyCaller(entry.app, self.key(entry, key))
        if (bearer := credentials.bearer) is not None:
            if self._is_key(bearer):
                return KeyCaller(entry.app, self.key(entry, bearer))
            return UserCaller(entry.app, self.user(entry, bearer))
        return self._query_caller(entry, credentials.query_token or "")

    def _query_caller(self, entry: Entry, token: str) -> Caller:
        if self._is_key(token):
            raise Unauthorized("an API key does not go into a URL: use X-API-Key")
        grant = self.user(entry, token)
        literal = self._settings.development and dev_grant(token, entry.app.app_id, now_us=0) is not None
        if grant.exp_us - grant.iat_us > QUERY_TOKEN_TTL_MAX_US and not literal:
            raise Unauthorized("a token in a URL may live 5 minutes at most; this one is issued for longer")
        return UserCaller(entry.app, grant)

    def _is_key(self, presented: str) -> bool:
        return looks_like_key(presented) or (self._settings.development and presented == DEV_API_KEY)
