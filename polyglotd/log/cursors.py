"""Cursor files: how far each reader has let the log go, for its owner and for the next start.

A copy: the cursor that counts lives with what the reader made of the records. `DATA/log/cursors/NAME` holds JSON,
replaced as a whole: `{"log": ID, "position": N}`. Blocking.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from polyglotd.log.segment_files import replace_file


class _Cursor(msgspec.Struct, frozen=True):
    log: str
    position: int


_decoder = msgspec.json.Decoder(_Cursor)


def cursors_directory(directory: Path) -> Path:
    return directory / "cursors"


def write_cursor(directory: Path, name: str, log_id: str, position: int) -> None:
    replace_file(cursors_directory(directory) / name, msgspec.json.encode(_Cursor(log_id, position)), durable=False)


def read_cursors(directory: Path, log_id: str, *, but: Iterable[str] = ()) -> dict[str, int]:
    """Every reader's position, except those in `but`. A file that can't be read (another log's, or torn by a loss of
    power) stands at 0: that reader lets nothing go until it writes again."""
    cursors = {}
    skipped = set(but)
    for path in cursors_directory(directory).iterdir():
        if path.name in skipped or path.suffix == ".tmp":
            continue
        try:
            cursor = _decoder.decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except msgspec.DecodeError:
            cursor = _Cursor("", 0)
        cursors[path.name] = cursor.position if cursor.log == log_id else 0
    return cursors
