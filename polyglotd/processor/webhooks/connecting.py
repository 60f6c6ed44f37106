"""Connections to webhooks' endpoints: a name is resolved here, and connected to is the very address that was checked.

Used by `sending`. Nothing between the check and the connection asks for the name again, so that a name which points
to a private address a moment later gains nothing. A connection that is kept leads where it led.
"""

import contextlib
import select
import socket
import ssl
from collections.abc import Callable, Sequence

import trio

from polyglotd.access.webhook_addresses import Allowed, Target, as_address, refused

LOOKUPS_MAX = 64  # threads that ask for names: as many as may hang there at once
ADDRESS_S = 4.0  # to one of several addresses
ADDRESSES_MAX = 6

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a name, in the order to be tried. Blocks. Raises OSError."""


class CannotConnect(Exception):
    """There is no connection. The text says why, for whoever looks at deliveries."""


def resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Connector:
    """One for all endpoints. Every deadline is the caller's."""

    def __init__(
        self,
        allowed: Allowed,
        make_tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        resolve: Resolve = resolve,
    ) -> None:
        """`make_tls` is called once, in a thread, for the first connection that needs it: reading what the system
        trusts takes long enough to be felt at every start of a daemon."""
        self.allowed = allowed
        self._make_tls = make_tls
        self._tls: ssl.SSLContext | None = None
        self._making_tls = trio.Lock()
        self._resolve = resolve
        self._lookups = trio.CapacityLimiter(LOOKUPS_MAX)

    async def connect(self, target: Target) -> trio.abc.Stream:
        """Raises `CannotConnect`. Cancelled: nothing stays open."""
        if target.scheme == "http":
            return await self._connect(target)
        tls = await self._context()
        stream = await self._connect(target)
        secured = trio.SSLStream(stream, tls, server_hostname=target.host.removesuffix("."), https_compatible=True)
        try:
            await secured.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError) as error:
            await trio.aclose_forcefully(stream)
            raise CannotConnect(f"TLS: {_words(error)}") from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured

    async def _context(self) -> ssl.SSLContext:
        async with self._making_tls:
            if self._tls is None:
                self._tls = await trio.to_thread.run_sync(self._make_tls)
            return self._tls

    async def _connect(self, target: Target) -> trio.SocketStream:
        why = f"{target.host} has no address"
        addresses = await self._addresses(target)
        for text in addresses:
            address = as_address(text)
            said = "it is no address" if address is None else refused(address, target.scheme, self.allowed)
            if said is not None:
                why = said
                continue
            try:
                with trio.fail_after(ADDRESS_S) if len(addresses) > 1 else contextlib.nullcontext():
                    return await _open(text, target.port)
            except trio.TooSlowError:
                why = f"{text} did not take the connection within {ADDRESS_S:g} s"
            except OSError as error:
                why = f"{text}: {error.strerror or error}"
        raise CannotConnect(why)

    async def _addresses(self, target: Target) -> Sequence[str]:
        if as_address(target.host) is not None:
            return [target.host]
        try:
            found = await trio.to_thread.run_sync(
                self._resolve, target.host, target.port, limiter=self._lookups, abandon_on_cancel=True
            )
        except (OSError, UnicodeError) as error:
            raise CannotConnect(f"{target.host} can't be resolved: {error}") from error
        return found[:ADDRESSES_MAX]


async def _open(address: str, port: int) -> trio.SocketStream:
    """A literal address: nothing is looked up."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def has_ended(stream: trio.abc.Stream) -> bool:
    """Whether an idle connection has something to say, which can only be that it ends."""
    inner = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(inner, trio.SocketStream)
    fd = inner.socket.fileno()
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _words(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
