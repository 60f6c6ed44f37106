"""The admin socket, `DATA/admin.sock`: the whole HTTP API for whoever is this daemon's own user, or root.

Run by the daemon beside the server. The file's mode keeps others away; the peer's uid, which the kernel tells, is
what counts. A socket that a dead daemon left is replaced: the data directory's lock says that it is dead.
"""

import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from polyglotd.gateway.http.call import OPERATOR_STATE
from polyglotd.gateway.http.problems import last_words
from polyglotd.gateway.http.server import HttpServer
from polyglotd.model import Forbidden

logger = logging.getLogger(__name__)

SOCKET_MODE = 0o600
PATH_BYTES_MAX = 107  # sockaddr_un has 108 with the zero at its end
BACKLOG = 128
_OUT_OF_SOMETHING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
RETRY_S = 0.1
_UCRED = struct.Struct("3i")  # pid, uid, gid


class AdminSocketError(Exception):
    """The socket can't be there. The words say what to do."""


@contextmanager
def admin_listener(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path`, whose file goes with it. Raises `AdminSocketError`, `OSError`."""
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise AdminSocketError(
            f"the admin socket's path has {size} bytes, and a socket's has at most {PATH_BYTES_MAX}: {path}. Choose a"
            " shorter data directory (--data), or name it relative to the current one."
        )
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        os.fchmod(sock.fileno(), SOCKET_MODE)  # before bind: the file has it from its first moment on
        sock.bind(os.fspath(path))
        made = path.stat()
        try:
            sock.listen(BACKLOG)
            yield sock
        finally:
            _remove(path, made)


async def serve_admin_socket(
    listener: socket.socket, server: HttpServer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Accept until cancelled, which drops every connection at once."""
    accepting = trio.socket.from_stdlib_socket(listener)
    async with trio.open_nursery() as nursery:
        task_status.started()
        while True:
            try:
                accepted, _ = await accepting.accept()
            except OSError as error:
                if error.errno not in (*_OUT_OF_SOMETHING, errno.ECONNABORTED):
                    raise
                logger.warning("the admin socket can't accept: %s", error)
                await trio.sleep(RETRY_S)
                continue
            sock = socket.socket(fileno=accepted.detach())
            if is_operator(peer_uid(sock)):
                nursery.start_soon(_serve, server, sock)
            else:
                _refuse(sock)


def peer_uid(sock: socket.socket) -> int:
    uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    return uid


def is_operator(uid: int) -> bool:
    return uid in (0, os.geteuid())


async def _serve(server: HttpServer, sock: socket.socket) -> None:
    await server.serve(sock, state={OPERATOR_STATE: True}, client=None)


def _refuse(sock: socket.socket) -> None:
    """An answer to whatever the peer would have asked, and the end."""
    with sock:
        logger.warning("the admin socket refused a peer with uid %d", peer_uid(sock))
        sock.setblocking(False)
        with suppress(OSError):  # it did not wait for it
            sock.send(last_words(Forbidden("this socket is for the daemon's own user and root")))


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AdminSocketError(f"{path} is in the way of the admin socket, and is no socket. Move it away.")
    path.unlink()


def _remove(path: Path, made: os.stat_result) -> None:
    """Only what we made: where two daemons fight over a directory, the later one's socket stays."""
    try:
        found = path.lstat()
        if (found.st_dev, found.st_ino) == (made.st_dev, made.st_ino):
            path.unlink()
    except OSError:
        pass
