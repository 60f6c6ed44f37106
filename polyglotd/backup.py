"""Copy a data directory while daemons use it, so that the copy is one that a daemon starts on. Called by `upkeep`.

The order makes it consistent without holding anything up: what the stores have read must be in the log that is
copied, so the databases come first and the log after them, and within the log what says how far it goes before the
records. The registry comes last: no event in the copy is of an app that it does not know. Where the log let go of
something or was rewritten meanwhile, all is copied again. Blocking.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from polyglotd.host.cannot_start import CannotStart
from polyglotd.log import checkpoint
from polyglotd.log.cursors import cursors_directory
from polyglotd.log.interface import LogFault
from polyglotd.log.mark import MarkView, copy_mark
from polyglotd.log.segment_files import list_segments, sync_directory

TRIES_MAX = 10
PAUSE_S = 0.5
REGISTRY = "registry.db"
KEPT_FILES = ("admin.token",)

Tell = Callable[[str], None]


def back_up(data: Path, events: Path | None, to: Path, tell: Tell) -> None:
    """`events`: the event store's file, where it is not in `data`. Raises `CannotStart`, `LogFault` or OSError."""
    if not (data / "log" / "mark").exists():
        raise CannotStart(f"{data} has no event log: no daemon has ever served on it")
    if to.exists() and any(to.iterdir()):
        raise CannotStart(f"{to} is there already, and not empty; name another directory")
    to.mkdir(mode=0o750, parents=True, exist_ok=True)
    databases = [path for path in sorted(data.glob("*.db")) if path.name != REGISTRY]
    if events is not None and events.exists() and events not in databases:
        databases.append(events)
    for _ in range(TRIES_MAX):
        if _copied(data, databases, to, tell):
            for name in KEPT_FILES:
                if (data / name).exists():
                    _copy_file(data / name, to / name)
            sync_directory(to)
            return
        tell("the event log was changed under the copy; once more")
        time.sleep(PAUSE_S)
    raise CannotStart(f"{data}: the event log lets go of more than can be copied; try when less is published")


def _copied(data: Path, databases: Sequence[Path], to: Path, tell: Tell) -> bool:
    """Whether nothing was changed or let go of that the copy needs."""
    log, log_copy = data / "log", to / "log"
    shutil.rmtree(log_copy, ignore_errors=True)
    cursors_directory(log_copy).mkdir(parents=True)
    mark = MarkView(log)
    try:
        rewrites = mark.rewrites()
        if rewrites % 2:
            return False
        try:
            _copy_files(cursors_directory(log).iterdir(), cursors_directory(log_copy))
            positions: list[int] = []
            for path in databases:
                _copy_database(path, to / path.name)
                positions += _cursors(to / path.name)
                tell(f"{path.name}: {(to / path.name).stat().st_size} bytes")
            copy_mark(log, log_copy)
            _copy_file(log / checkpoint.NAME, log_copy / checkpoint.NAME)
            segments = list_segments(log)
            _copy_files((segment.path for segment in segments), log_copy)
        except FileNotFoundError:
            return False
        if mark.rewrites() != rewrites:
            return False
    finally:
        mark.close()
    found = checkpoint.read_checkpoint(log_copy)
    if found is None or not segments or segments[0].first > min([found[0].position, *positions]):
        return False
    tell(f"log: {len(segments)} segments, up to position {segments[-1].end}")
    sync_directory(cursors_directory(log_copy))
    sync_directory(log_copy)
    if (data / REGISTRY).exists():
        _copy_database(data / REGISTRY, to / REGISTRY)
    return True


def _cursors(database: Path) -> list[int]:
    """How far it has read the log."""
    with closing(sqlite3.connect(database)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cursors'").fetchone() is None:
            return []
        return [position for (position,) in connection.execute("SELECT position FROM cursors")]


def _copy_database(path: Path, to: Path) -> None:
    """As it is at one moment. Who writes to it goes on meanwhile."""
    to.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise LogFault(f"{path} can't be copied to {to}: {error}") from error
    _sync(to)


def _copy_files(paths: Iterable[Path], to: Path) -> None:
    for path in paths:
        if path.suffix != ".tmp":
            _copy_file(path, to / path.name)


def _copy_file(path: Path, to: Path) -> None:
    shutil.copy2(path, to)
    _sync(to)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
