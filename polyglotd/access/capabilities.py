"""What a user may do in a channel: its token's capabilities and the kind's policy together (contract, 4 and 6).

The gateway asks at a join, at a new token, and for HTTP calls with a user token, so that both doors decide alike.
API keys have scopes instead (`api_keys`). Does not know whether the channel, the user or the app is suspended.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from polyglotd.access.grant import UserGrant
from polyglotd.model import Capability, Forbidden, Policy, pattern_matches


@dataclass(frozen=True, slots=True)
class Access:
    """The decision for one user and channel. `may_join` covers history, `may_publish` signals."""

    may_join: bool
    may_publish: bool
    sees_presence: bool

    def check_join(self) -> None:
        if not self.may_join:
            raise Forbidden("the token does not allow join on this channel")

    def check_publish(self) -> None:
        if not self.may_publish:
            raise Forbidden("the token, or the kind of the channel, does not allow publish on this channel")

    def check_presence(self) -> None:
        if not self.sees_presence:
            raise Forbidden("the token, or the kind of the channel, does not allow presence on this channel")


def granted(capabilities: Mapping[str, frozenset[Capability]], channel: str) -> frozenset[Capability]:
    """What the matching patterns give, added up."""
    return frozenset().union(
        *(names for pattern, names in capabilities.items() if pattern_matches(pattern, channel)),
    )


def effective(policy: Policy, grant: UserGrant, channel: str) -> Access:
    """What the grant allows on a channel with this policy.

    Without `channels` in the token the policy decides: who may join may publish where the kind says `any`, and sees
    presence where the kind has it. With `channels` the matching patterns are the limit. `publish: none` holds for
    every client, and a kind without presence shows it to nobody.
    """
    if grant.capabilities is None:
        # A private kind (`join: capability`) is closed to tokens that name nothing, also for publishing over HTTP.
        may_join = policy.join == "any"
        may_publish = may_join and policy.publish == "any"
        sees_presence = may_join
    else:
        names = granted(grant.capabilities, channel)
        may_join = "join" in names
        may_publish = "publish" in names and policy.publish != "none"
        sees_presence = "presence" in names
    return Access(may_join, may_publish, sees_presence and policy.presence != "none")
