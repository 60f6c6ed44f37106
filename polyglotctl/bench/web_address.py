"""`ws://HOST:PORT/path?query`, as the load generator wants it."""

import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from polyglotctl.failure import Unreachable, WrongUsage
from polyglotctl.server_address import DEFAULT_URL

SOCKET_PATH = "/socket/websocket"
VERSION = "vsn=2.0.0"


@dataclass(frozen=True)
class WebAddress:
    """`request` is path and query."""

    address: str
    port: int
    host: str
    request: str


def web_address(url: str | None) -> WebAddress:
    """Of a Phoenix socket. Without a URL it is where POLYGLOT_URL is, or the daemon's default port here."""
    text = url or os.environ.get("POLYGLOT_URL") or DEFAULT_URL
    parts = urlsplit(text)
    if parts.scheme in ("wss", "https"):
        raise WrongUsage(f"{text}: the load generator speaks no TLS. Measure the server without its proxy: ws://…")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme not in ("ws", "http") or not parts.hostname or not port:
        raise WrongUsage(f"{text} is no address of a socket. It looks like ws://HOST:PORT{SOCKET_PATH}.")
    path = parts.path if parts.path not in ("", "/") else SOCKET_PATH
    query = parts.query if "vsn=" in parts.query else "&".join(filter(None, (VERSION, parts.query)))
    return WebAddress(_numeric(parts.hostname, port), port, parts.netloc.rpartition("@")[2], f"{path}?{query}")


def _numeric(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"{host} is not known: {error}.") from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)  # as most clients: the older protocol first
    return str(found[0][4][0])
