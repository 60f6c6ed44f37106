"""Where webhooks may go: which URLs may be named, and which addresses may be connected to.

A URL is checked when an endpoint is made (`check_url`), which keeps nonsense out and nothing more: what its host
means is known when a connection is made, and only then `refused` judges the very address that is connected to, so
that a name which points elsewhere a moment later gains nothing. Pure: resolves and connects to nothing.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from polyglotd.access.addresses import Address, Network, parse_networks
from polyglotd.model import Invalid

URL_BYTES_MAX = 2_048

_URL = re.compile(r"[\x21-\x7e]+")  # no space, control character, or what a library might encode its own way
_HOST = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\.?")
_NOT_IN_URL = re.compile(r'[\\<>"{}|^`]')

# Special-purpose addresses (IANA's registries) that are no place on the public internet. Metadata services of clouds
# are among them: 169.254.169.254, fd00:ec2::254, 100.100.100.200, 192.0.0.192.
_NOT_PUBLIC_V4 = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC_V6 = [
    ipaddress.ip_network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo and 6to4 hold an IPv4 address
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the public prefix; an operator's own, in 64:ff9b:1::/48, is refused


@dataclass(frozen=True, slots=True)
class Allowed:
    """`[webhooks] allow_private`. `everything`: it is true; else the networks that it lists."""

    everything: bool = False
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, setting: bool | Sequence[str]) -> Self:
        """Raises ValueError with what would be right."""
        if isinstance(setting, bool):
            return cls(everything=setting)
        return cls(networks=parse_networks(setting))

    def __contains__(self, address: Address) -> bool:
        return self.everything or self.lists(address)

    def lists(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)

    def __bool__(self) -> bool:
        return self.everything or bool(self.networks)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts, as a request needs them."""

    scheme: str
    host: str  # without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def check_url(url: str, allowed: Allowed) -> Target:
    """The parts of an endpoint's URL. Raises `Invalid` for what is no URL that a webhook may have."""
    if not _URL.fullmatch(url) or len(url) > URL_BYTES_MAX or _NOT_IN_URL.search(url):
        raise _invalid(f"a URL is 1 to {URL_BYTES_MAX} printable ASCII characters without spaces; encode all others")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("that is no URL; right is https://HOST/PATH") from None
    if parts.scheme not in ("https", "http"):
        raise _invalid("right is https://HOST/PATH")
    if parts.scheme == "http" and not allowed:
        raise _invalid("right is https://HOST/PATH; http is for private addresses that the operator allows")
    if "@" in parts.netloc:
        raise _invalid("a URL has no user and password: messages are signed")
    if "#" in url:
        raise _invalid("a URL has no fragment: it is not sent")
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            raise _invalid("the host in brackets is no IPv6 address") from None
    elif not _HOST.fullmatch(host):
        raise _invalid("the host is no name (write others than ASCII as xn--…) and no address")
    if port == 0 or parts.netloc.endswith(":"):
        raise _invalid("a port is 1 to 65535")
    address = as_address(host)
    if address is not None and (why := refused(address, parts.scheme, allowed)) is not None:
        raise _invalid(why)  # others are judged when it is known what they mean
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def refused(address: Address, scheme: str, allowed: Allowed) -> str | None:
    """Why no connection may be made to this address; None where it may."""
    address = _plain(address)
    if is_public(address):
        if scheme == "https" or allowed.lists(address):
            return None
        return f"http to {address} is refused: only private addresses that [webhooks] allow_private admits have it"
    if address in allowed:
        return None
    return f"{address} is no public address, and [webhooks] allow_private does not admit it"


def is_public(address: Address) -> bool:
    address = _plain(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address in _NAT64:  # goes to the IPv4 address in its last 32 bits
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def as_address(text: str) -> Address | None:
    """The address that a text is, in its usual spelling; with a zone (`fe80::1%eth0`) without it."""
    try:
        return _plain(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """`::ffff:127.0.0.1` is 127.0.0.1."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _invalid(why: str) -> Invalid:
    return Invalid(why, field="url")
