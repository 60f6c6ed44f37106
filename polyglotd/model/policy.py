"""What a kind of channel allows and keeps: section 6 of the contract as data."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from polyglotd.model.errors import Invalid

DAY_S = 86_400

Join = Literal["any", "capability"]
Publish = Literal["any", "capability", "none"]
PresenceMode = Literal["none", "count", "roster"]
Overflow = Literal["queue", "conflate", "drop"]
Durability = Literal["logged", "memory"]
Route = Literal["log-first", "local-first"]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field of a kind. Times are seconds."""

    join: Join = "any"
    publish: Publish = "any"
    presence: PresenceMode = "none"
    presence_max: Annotated[int, Meta(ge=1, le=100_000)] = 500
    history_events: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    history_s: Annotated[int, Meta(ge=0, le=10 * 365 * DAY_S)] = 3600
    retention_s: Annotated[int, Meta(ge=0, le=100 * 365 * DAY_S)] = 30 * DAY_S
    snapshot: bool = False
    overflow: Overflow = "queue"
    durability: Durability = "memory"
    route: Route = "local-first"


class PolicyOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an app says of a kind; what it does not name stays as it was."""

    join: Join | msgspec.UnsetType = msgspec.UNSET
    publish: Publish | msgspec.UnsetType = msgspec.UNSET
    presence: PresenceMode | msgspec.UnsetType = msgspec.UNSET
    presence_max: Annotated[int, Meta(ge=1, le=100_000)] | msgspec.UnsetType = msgspec.UNSET
    history_events: Annotated[int, Meta(ge=0, le=1_000_000)] | msgspec.UnsetType = msgspec.UNSET
    history_s: Annotated[int, Meta(ge=0, le=10 * 365 * DAY_S)] | msgspec.UnsetType = msgspec.UNSET
    retention_s: Annotated[int, Meta(ge=0, le=100 * 365 * DAY_S)] | msgspec.UnsetType = msgspec.UNSET
    snapshot: bool | msgspec.UnsetType = msgspec.UNSET
    overflow: Overflow | msgspec.UnsetType = msgspec.UNSET
    durability: Durability | msgspec.UnsetType = msgspec.UNSET
    route: Route | msgspec.UnsetType = msgspec.UNSET


BUILT_IN_KINDS: Mapping[str, Policy] = {
    "room": Policy(presence="roster", history_events=1000, history_s=DAY_S, durability="logged", route="log-first"),
    "ticker": Policy(publish="capability", history_events=100, snapshot=True, overflow="conflate"),
    "match": Policy(presence="roster", history_events=100, history_s=3600, overflow="drop"),
    "post": Policy(
        presence="count", history_events=10_000, history_s=30 * DAY_S, durability="logged", route="log-first"
    ),
}


def apply_override(base: Policy, override: PolicyOverride) -> Policy:
    """The policy that results. Raises `Invalid` where the fields contradict each other."""
    named = {f: v for f in PolicyOverride.__struct_fields__ if (v := getattr(override, f)) is not msgspec.UNSET}
    if named.get("durability") == "logged" and "route" not in named:
        named["route"] = "log-first"  # the only route there is for a logged kind
    policy = msgspec.structs.replace(base, **named)
    if policy.durability == "logged" and policy.route != "log-first":
        raise Invalid("a logged kind is log-first: its seqs come from the log", field="route")
    if policy.retention_s < policy.history_s:
        raise Invalid("retention_s is never below history_s", field="retention_s")
    return policy


def policy_for(kind: str, overrides: Mapping[str, PolicyOverride]) -> Policy | None:
    """The policy of `kind` in an app with these overrides; None where nobody defined the kind."""
    base = BUILT_IN_KINDS.get(kind)
    override = overrides.get(kind)
    if override is None:
        return base
    return apply_override(base or Policy(), override)
