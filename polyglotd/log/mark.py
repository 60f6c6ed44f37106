"""The log's mark: how far it is acknowledged, and how it was left. A file of 32 bytes beside the segments.

    0  end u64        position after the last record that may have been acknowledged: readers go no further
    8  state u32      bit 0: open; bit 1: an fsync failed; bits 8-9: sync (0 os, 1 interval, 2 always)
    12 rewrites u32   odd while records are overwritten in place, and higher after it: who read meanwhile reads again
    16 boot 16 bytes  of the machine's boot, so that a lost page cache is noticed; zeros where it is not known

Written in place by the log's owner, 8 bytes after each append (the writer in C++ stores them into the mapped file);
read by readers in other processes. The owner holds an exclusive flock on it: who has the lock has the log.
"""

import fcntl
import os
import struct
from pathlib import Path
from uuid import UUID

import msgspec

from polyglotd.log.interface import LogInUse, Sync

_FILE = struct.Struct("<QII16s")
_END = struct.Struct("<Q")
_REWRITES, _REWRITES_AT, _REWRITES_MAX = struct.Struct("<I"), 12, 1 << 32
_OPEN, _FAILED = 1, 2
_SYNCS: tuple[Sync, ...] = ("os", "interval", "always")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Left(msgspec.Struct, frozen=True):
    """How the log was left by its last owner."""

    end: int
    open: bool
    failed: bool
    sync: Sync
    boot: bytes

    def page_cache_lost(self, boot: bytes) -> bool:
        """Whether acknowledged records may be gone that only the kernel had."""
        return self.failed or (self.open and self.sync != "always" and self.boot != boot)


def boot_id() -> bytes:
    """Of this boot of the machine; zeros where the system does not say."""
    try:
        return UUID(_BOOT_ID.read_text(encoding="ascii").strip()).bytes
    except (OSError, ValueError):
        return bytes(16)


class Mark:
    """The owner's side. Close it last."""

    def __init__(self, directory: Path) -> None:
        """Raises `LogInUse` where another process owns the log."""
        self._fd = os.open(directory / "mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise LogInUse(f"{directory} is in use by another process") from None
        self._rewrites = _read_rewrites(self._fd)
        if self._rewrites % 2:  # cut short; the opening finishes it before it writes this
            self._rewrites = (self._rewrites + 1) % _REWRITES_MAX

    def left(self) -> Left | None:
        """What the last owner wrote; None where there was none."""
        data = os.pread(self._fd, _FILE.size, 0)
        if len(data) < _FILE.size:
            return None
        end, state, _, boot = _FILE.unpack(data)
        sync = _SYNCS[min((state >> 8) & 3, 2)]
        return Left(end, bool(state & _OPEN), bool(state & _FAILED), sync, boot)

    def write(self, left: Left) -> None:
        """Write the whole, durably."""
        state = (_OPEN if left.open else 0) | (_FAILED if left.failed else 0) | _SYNCS.index(left.sync) << 8
        os.pwrite(self._fd, _FILE.pack(left.end, state, self._rewrites, left.boot), 0)
        os.fsync(self._fd)

    def set_end(self, end: int) -> None:
        """Acknowledge everything before `end`. Into the page cache only."""
        os.pwrite(self._fd, _END.pack(end), 0)

    @property
    def rewrites(self) -> int:
        """Even at the start."""
        return self._rewrites

    def set_rewrites(self, count: int) -> None:
        """Into the page cache only. Raises OSError. From one thread."""
        os.pwrite(self._fd, _REWRITES.pack(count % _REWRITES_MAX), _REWRITES_AT)
        self._rewrites = count % _REWRITES_MAX

    def fileno(self) -> int:
        """For a writer in C++, which moves the end by itself."""
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def copy_mark(directory: Path, to: Path) -> None:
    """For a copy of a log that is in use: as it is now, and left well. What the copy is made of next holds all of it,
    and is durable."""
    end, state, rewrites, boot = _FILE.unpack((directory / "mark").read_bytes()[: _FILE.size])
    path = to / "mark"
    path.write_bytes(_FILE.pack(end, state & ~_OPEN, rewrites, boot))
    path.chmod(0o640)


class MarkView:
    """The side of a reader in another process."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError where there is no log yet."""
        self._path = directory / "mark"
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def end(self) -> int:
        data = os.pread(self._fd, _END.size, 0)
        return _END.unpack(data)[0] if len(data) == _END.size else 0

    def rewrites(self) -> int:
        return _read_rewrites(self._fd)

    def replaced(self) -> bool:
        """Whether the file at this path is another one by now."""
        try:
            return self._path.stat().st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True

    def close(self) -> None:
        os.close(self._fd)


def _read_rewrites(fd: int) -> int:
    data = os.pread(fd, _REWRITES.size, _REWRITES_AT)
    return int(_REWRITES.unpack(data)[0]) if len(data) == _REWRITES.size else 0
