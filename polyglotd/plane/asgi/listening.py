"""The listening sockets of a host's name and port, one for each of its addresses. Used by both planes."""

import socket

import trio


async def listen(host: str, port: int, backlog: int) -> list[trio.socket.SocketType]:
    """Bind and listen. Port 0: one that is free, the same for all. Raises OSError, with nothing left open."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[trio.socket.SocketType] = []
    try:
        for family, kind, protocol, _, address in found:
            sock = trio.socket.socket(family, kind, protocol)
            listening.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind((address[0], port, *address[2:]))
            sock.listen(backlog)
            port = sock.getsockname()[1]  # where it was 0, the others get the same
    except BaseException:
        for sock in listening:
            sock.close()
        raise
    return listening
