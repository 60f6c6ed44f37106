"""The daemon can't start, for a reason that its operator can do something about."""

import errno
import socket


class CannotStart(Exception):
    """The message says what is wrong and what to do. Shown as it is, without a traceback; exit code 1."""


def cannot_listen(host: str, port: int, error: BaseException) -> str:
    """What to say where the system gives us no address to listen on. Raises what is no such error."""
    found = leaves(error)
    if any(not isinstance(leaf, OSError) for leaf in found):
        raise error if len(found) > 1 else found[0]
    error = found[0]
    assert isinstance(error, OSError)
    if isinstance(error, socket.gaierror):
        return f"can't listen on {host}: no such host ({error.strerror}); see [listen] host, or --host"
    where = f"can't listen on {host} port {port}: "
    match error.errno:
        case errno.EADDRINUSE:
            return where + "another process listens there; stop it, or choose another port with --port (0: any)"
        case errno.EACCES:
            return where + "a port below 1024 takes rights that this user lacks; choose another with --port"
        case errno.EADDRNOTAVAIL:
            return where + "this machine has no such address; see [listen] host, or --host"
    return where + f"{error.strerror}; see [listen], or --host and --port"


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group of groups holds, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
