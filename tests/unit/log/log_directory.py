"""A log's directory seen from outside: crashes, damage, other machines."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import trio

from polyglotd.log.interface import LogSettings
from polyglotd.log.record import FRAME, FRAME_BYTES

SETTINGS = LogSettings(segment_bytes=1_000)


def crashed(directory: Path, name: str = "crashed") -> Path:
    """The directory as `kill -9` would leave it now: the page cache outlives the process."""
    copy = directory.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    return copy


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def record_offsets(segment: Path) -> list[int]:
    """Where each record of a segment begins."""
    data = segment.read_bytes()
    offsets, offset = [], 0
    while offset < len(data):
        offsets.append(offset)
        offset += FRAME_BYTES + FRAME.unpack_from(data, offset)[0]
    return offsets


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def break_disk(directory: Path, device: str) -> Callable[[], None]:
    """Put a device in the place of the newest segment, for who has it open; what undoes that.

    /dev/null can be written to and not synced, /dev/full neither.
    """
    newest = segments(directory)[-1]
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            if entry.readlink() == newest:
                found.append(int(entry.name))
    assert found
    kept = [(fd, os.dup(fd)) for fd in found]
    replacement = os.open(device, os.O_RDWR)
    for fd in found:
        os.dup2(replacement, fd)
    os.close(replacement)

    def cure() -> None:
        for fd, before in kept:
            os.dup2(before, fd)
            os.close(before)
        kept.clear()

    return cure


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread, another process or the upkeep does."""
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.002)
