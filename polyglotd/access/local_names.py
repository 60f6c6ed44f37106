"""Which names mean this machine: the `host:port` of a Host or Origin header, strictly by its grammar.

Used by `dev_mode` and `origins`. Nothing is resolved: a name that some resolver maps to loopback is not local, and
spellings that only browsers normalise (`127.1`, `localhost.`) are not either.
"""

import ipaddress
import re

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::(?P<port>[0-9]{1,5}))?")


def split_authority(text: str) -> tuple[str, int | None] | None:
    """Host in lower case and port of `host[:port]`; None where it is anything else (userinfo, a path, no host)."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] is not None else None
    if port is not None and port > 65_535:
        return None
    return found["host"].lower(), port


def is_local_host(host: str) -> bool:
    """`localhost`, 127.0.0.0/8 as four numbers, or ::1, with or without its brackets."""
    if host.lower() == "localhost":
        return True
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not bracketed and address.is_loopback
    # Neither ::1 with a zone nor a mapped 127.0.0.1 equals it: the contract names ::1 alone.
    return address == ipaddress.IPv6Address("::1")


def is_local_authority(text: str) -> bool:
    """Whether `host[:port]` is local: IPv6 only in brackets."""
    parts = split_authority(text)
    return parts is not None and is_local_host(parts[0])
