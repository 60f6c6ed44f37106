"""What has been revoked, and which live connections a revocation ends.

The gateway feeds `Revocations` with the revocation log by cursor and asks it at every connect, join and HTTP call;
`hits` picks the connections to close. Does not read the log.

When was a token issued? `iat` has whole seconds from most issuers. A user's revocation at T ends every token with
`iat` <= T, so one that was issued later in the very second of the revocation is ended with them: too much for a
second is safe, too little is not. Tokens that we issue ourselves carry microseconds and are told apart.

Suspending an app ends its connections at once (`hits`) but is not remembered here: whether an app is suspended now is
the registry's to say, since a `resume` is no revocation.
"""

from polyglotd.access.grant import UserGrant
from polyglotd.model import ApiKey, Revocation, Unauthorized

_US = 1_000_000


def keep_until_us(at_us: int, *, ttl_max_s: int, leeway_s: float) -> int:
    """Until when a revocation must be remembered: then every token that was issued before it has run out."""
    return at_us + round((ttl_max_s + 2 * leeway_s) * _US)  # its iat may be a leeway ahead, and its exp late by one


def hits(revocation: Revocation, app_id: str, credential: UserGrant | ApiKey | None) -> bool:
    """Whether it ends a connection of this app that was opened with this credential (None: an operator's)."""
    if revocation.app_id != app_id:
        return False
    match revocation.what:
        case "app":
            return True
        case "token":
            return isinstance(credential, UserGrant) and credential.jti == revocation.subject
        case "user":
            return (
                isinstance(credential, UserGrant)
                and credential.user_id == revocation.subject
                and credential.iat_us <= revocation.at_us
            )
        case "key":
            return isinstance(credential, ApiKey) and credential.key_id == revocation.subject


class Revocations:
    """The revocations that still matter. Grows with the log; `prune` lets go what is outlived by none of its tokens.

    There is no bound but that of the log: to forget one early would bring a revoked credential back.
    """

    def __init__(self, *, ttl_max_s: int, leeway_s: float) -> None:
        self._ttl_max_s = ttl_max_s
        self._leeway_s = leeway_s
        self._tokens: dict[tuple[str, str], int] = {}  # (app, jti) -> when it was revoked
        self._users: dict[tuple[str, str], int] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self.cursor = 0  # of the last line applied: where to go on reading

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users) + len(self._keys)

    def apply(self, revocation: Revocation) -> None:
        """Take one line of the log. Lines may come twice."""
        self.cursor = max(self.cursor, revocation.cursor)
        kept = {"token": self._tokens, "user": self._users, "key": self._keys}.get(revocation.what)
        if kept is not None:
            key = (revocation.app_id, revocation.subject)
            kept[key] = max(revocation.at_us, kept.get(key, revocation.at_us))

    def is_revoked(self, credential: UserGrant | ApiKey) -> bool:
        if isinstance(credential, ApiKey):
            return (credential.app_id, credential.key_id) in self._keys
        if credential.jti is not None and (credential.app_id, credential.jti) in self._tokens:
            return True
        user_at_us = self._users.get((credential.app_id, credential.user_id))
        return user_at_us is not None and credential.iat_us <= user_at_us

    def check(self, credential: UserGrant | ApiKey) -> None:
        """Raises `Unauthorized` for a revoked credential."""
        if self.is_revoked(credential):
            what = "API key" if isinstance(credential, ApiKey) else "token"
            raise Unauthorized(f"the {what} was revoked")

    def prune(self, now_us: int) -> int:
        """Forget what can't matter any more; how many. Keys stay revoked in the registry itself."""
        dropped = 0
        for kept in (self._tokens, self._users, self._keys):
            over = [key for key, at_us in kept.items() if self._keep_until_us(at_us) < now_us]
            for key in over:
                del kept[key]
            dropped += len(over)
        return dropped

    def _keep_until_us(self, at_us: int) -> int:
        return keep_until_us(at_us, ttl_max_s=self._ttl_max_s, leeway_s=self._leeway_s)
