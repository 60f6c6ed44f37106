"""DATA: made where it is not there, found writable, and locked against a second daemon of the same role.

Opened first of all by the composition root and by commands that change what is in it. The kernel drops a lock with
its process, whatever the process dies of; the file's content only helps to say who has it.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from polyglotd.host.cannot_start import CannotStart

Lock = Literal["gateway", "processor"]

MODE = 0o750  # keys' hashes and users' messages are in there


@contextmanager
def locked_data_directory(data: Path, locks: Sequence[Lock]) -> Iterator[Path]:
    """Hold the directory for these roles. Raises `CannotStart`."""
    _make(data)
    with ExitStack() as held:
        for name in locks:
            held.callback(os.close, _lock(data, name))
        yield data


def _make(data: Path) -> None:
    try:
        data.mkdir(mode=MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise CannotStart(f"{data} is no directory; choose another with --data") from None
    except OSError as error:
        raise CannotStart(_unusable(data, "can't be made", error)) from None


def _lock(data: Path, name: Lock) -> int:
    path = data / f"{name}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise CannotStart(_unusable(data, "can't be written", error)) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.write(fd, b"%d\n" % os.getpid())
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise CannotStart(
            f"{data} is in use by another {name}" + (f", process {owner}" if owner.isdigit() else "") + "; stop that"
            " one, or choose another directory with --data"
        ) from None
    except OSError as error:
        os.close(fd)
        raise CannotStart(_unusable(data, "can't be written", error)) from None
    return fd


def _unusable(data: Path, what: str, error: OSError) -> str:
    return f"the data directory {data} {what}: {error.strerror}; make it writable, or choose another with --data"
