"""What the daemon's configuration says to the gateway. Built by the composition root from `polyglotd.config`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from polyglotd.model import PolicyOverride

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times are seconds."""

    per_address: int = 50  # connections that an address may open a second; burst ten times that
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    origins: Sequence[str] = ()  # where not empty, browsers may connect from these alone
    clock_leeway_s: int = 10
    token_ttl_max_s: int = 30 * DAY_S
    drain_s: float = 10.0
    kinds: Mapping[str, Mapping[str, PolicyOverride]] = field(default_factory=dict)  # by app, then kind
    development: bool = False
