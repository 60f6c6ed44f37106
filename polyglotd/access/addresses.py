"""The client's address, as far as it can be trusted: the peer's own, or the one that trusted proxies forward.

The gateway calls `client_address` for each handshake and request, before any credential is looked at, and counts by
`address_key`. Believes only what a trusted proxy wrote: entries are read from the right, and the first that is not a
trusted proxy is the client. Whatever else is in the header, the client itself may have sent.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_KEY_BITS = 64  # a network of one customer: whoever has it can use any of its addresses

_KEYS_CACHED = 4096  # who opens one connection often opens others

_V4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}")
_V6_IN_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
_FORWARDED_FOR = re.compile(r"for=(?:\"([^\"\\]*)\"|([^\s\";,=]+))", re.IGNORECASE)


def parse_networks(networks: Sequence[str]) -> tuple[Network, ...]:
    """The `trusted_proxies` setting: addresses and CIDR networks. Raises ValueError with what would be right."""
    parsed = []
    for network in networks:
        try:
            parsed.append(ipaddress.ip_network(network))
        except ValueError as error:
            raise ValueError(f"{network!r} is neither an address nor a network such as 10.0.0.0/8: {error}") from None
    return tuple(parsed)


def client_address(peer: str, headers: Iterable[tuple[str, str]], trusted: Sequence[Network]) -> str:
    """The address to hold responsible. `peer`: the socket's, without port; `headers`: as they came, in order.

    The peer's own where it is not a trusted proxy, where nothing is forwarded, and where what is forwarded is
    malformed, hidden (`for=unknown`), or said differently by `Forwarded` and `X-Forwarded-For`: a proxy writes one of
    them and lets the client's other one through.
    """
    if not trusted:
        return peer
    peer_address = _address(peer)
    if peer_address is None or not _is_trusted(peer_address, trusted):
        return peer
    found: set[Address | None] = set()
    x_forwarded: list[str] = []
    forwarded: list[str] = []
    for name, value in headers:
        match name.lower():
            case "x-forwarded-for":
                x_forwarded += value.split(",")
            case "forwarded":
                forwarded += value.split(",")
    if x_forwarded:
        found.add(_rightmost_untrusted([_address(entry.strip(" \t")) for entry in x_forwarded], trusted))
    if forwarded:
        found.add(_rightmost_untrusted([_forwarded_for(element) for element in forwarded], trusted))
    if len(found) != 1:
        return peer
    client = found.pop()
    return peer if client is None else str(client)


@lru_cache(_KEYS_CACHED)
def address_key(address: str) -> str:
    """What a limit per address counts by: an IPv4 address, the /64 of an IPv6 one, other text as it is."""
    parsed = _address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_KEY_BITS), strict=False))
    return address if parsed is None else str(parsed)


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _rightmost_untrusted(entries: Sequence[Address | None], trusted: Sequence[Network]) -> Address | None:
    """None where a malformed entry comes first. Where all are proxies, the leftmost: they talk among themselves."""
    for entry in reversed(entries):
        if entry is None or not _is_trusted(entry, trusted):
            return entry
    return entries[0]


def _forwarded_for(element: str) -> Address | None:
    """The `for` of one element (RFC 7239, 4): `for=192.0.2.1;proto=https`, `for="[2001:db8::1]:4711"`."""
    found = [match for pair in element.split(";") if (match := _FORWARDED_FOR.fullmatch(pair.strip(" \t")))]
    return _address(found[0][1] or found[0][2] or "") if len(found) == 1 else None


def _address(text: str) -> Address | None:
    """An address with or without port; a mapped IPv4 one as IPv4. None for all else, zones too."""
    bare = _V4_WITH_PORT.fullmatch(text) or _V6_IN_BRACKETS.fullmatch(text)
    if bare is not None:
        text = bare[1]
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
