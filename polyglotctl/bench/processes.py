"""Processes of this machine, as the kernel shows them: memory, and whose a Unix socket is. Linux only."""

import os
import socket
import struct
from pathlib import Path

from polyglotctl.bench.plan import Memory

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred


def memory_of(process: int) -> Memory:
    """Zeros where the process is not ours to look at."""
    try:
        resident = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        private = sum(
            int(line.split()[1]) * 1024
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            if line.startswith(("Private_Clean:", "Private_Dirty:"))
        )
    except OSError:
        return Memory(0, 0)
    return Memory(resident, private)


def listener_of(path: Path) -> int | None:
    """The process that listens on a Unix socket; None where that can't be known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    process: int = _CREDENTIALS.unpack(credentials)[0]
    return process or None  # 0: of another namespace
