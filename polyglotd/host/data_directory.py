"""DATA: made where it is not there, found writable, and locked against a second daemon of the same role.

Opened first of all by the composition root and by commands that change what is in it. The kernel drops a lock with
its process, whatever the process dies of; the file's content only helps to say who has it.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from polyglotd.host.cannot_start import CannotStart

Lock = Literal["gateway", "processor"]

LOOK_S = 0.02
MODE = 0o750  # keys' hashes and users' messages are in there


class InUse(CannotStart):
    """Another process has the role."""


@contextmanager
def locked_data_directory(
    data: Path, locks: Sequence[Lock], *, processor_within_s: float = 0.0
) -> Iterator[Mapping[Lock, int]]:
    """Hold the directory for these roles; the descriptors that hold it, for a child to hold it as well. Raises
    `CannotStart`. `processor_within_s`: so long another process may take to let go of that role (this blocks)."""
    _make(data)
    with ExitStack() as held:
        fds: dict[Lock, int] = {}
        for name in locks:
            patient_until = time.monotonic() + (processor_within_s if name == "processor" else 0.0)
            fds[name] = _lock_patiently(data, name, patient_until)
            held.callback(os.close, fds[name])
        yield fds


def _make(data: Path) -> None:
    try:
        data.mkdir(mode=MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise CannotStart(f"{data} is no directory; choose another with --data") from None
    except OSError as error:
        raise CannotStart(_unusable(data, "can't be made", error)) from None


def _lock_patiently(data: Path, name: Lock, until: float) -> int:
    while True:
        try:
            return _lock(data, name)
        except InUse:
            if time.monotonic() >= until:
                raise
        time.sleep(LOOK_S)


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
        raise InUse(
            f"{data} is in use by another {name}" + (f", process {owner}" if owner.isdigit() else "") + "; stop that"
            " one, or choose another directory with --data"
        ) from None
    except OSError as error:
        os.close(fd)
        raise CannotStart(_unusable(data, "can't be written", error)) from None
    return fd


def _unusable(data: Path, what: str, error: OSError) -> str:
    return f"the data directory {data} {what}: {error.strerror}; make it writable, or choose another with --data"
