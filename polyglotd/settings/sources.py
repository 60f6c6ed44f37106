"""Where settings come from: a TOML file, variables of the environment, flags. Each yields what it was given.

Called by `loading`, which judges it. A path names a setting: (section, key), or in files also
(apps, APP, kinds, KIND, field).
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from polyglotd.settings.problems import Problem, WrongSettings
from polyglotd.settings.toml_lines import key_lines

ENVIRONMENT_PREFIX = "POLYGLOTD_"
FILE_BYTES_MAX = 1 << 20
_TOML_PLACE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class Given:
    """One value, and who said it. `is_text`: it has yet to be read as the setting's type."""

    path: tuple[str, ...]
    value: object
    origin: str
    is_text: bool


def from_file(file: Path) -> Iterator[Given]:
    """Raises `WrongSettings` where the file can't be read, or is no TOML."""
    text = _read(file)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings([_syntax_problem(file, text, str(error))]) from None
    except RecursionError:
        raise WrongSettings([Problem(str(file), "the values are nested too deeply")]) from None
    lines = key_lines(text)
    for path, value in _leaves(document, ()):
        line = next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)
        yield Given(path, value, f"{file}:{line}", is_text=False)


def from_environment(environment: Mapping[str, str]) -> Iterator[Given]:
    """POLYGLOTD_SECTION__KEY. An empty variable is as good as none (an empty list is `[]`).

    Without the two underscores it is none of ours: container platforms put POLYGLOTD_PORT and the like into the
    environment of whatever runs beside a service of that name.
    """
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name and environment[name]:
            path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            yield Given(path, environment[name], name, is_text=True)


def from_flags(flags: Mapping[tuple[str, str], tuple[str, str | None]]) -> Iterator[Given]:
    """(section, key) to the flag's name and what was given, None where it was not."""
    for path, (flag, value) in flags.items():
        if value is not None:
            yield Given(path, value, flag, is_text=True)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise WrongSettings([Problem(str(file), f"can't be read: {error.strerror}")]) from None
    if len(content) > FILE_BYTES_MAX:
        raise WrongSettings([Problem(str(file), f"has more than {FILE_BYTES_MAX} bytes; is it the right file?")])
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrongSettings([Problem(f"{file}:{line}", "is not UTF-8, as TOML must be")]) from None


def _syntax_problem(file: Path, text: str, message: str) -> Problem:
    place = _TOML_PLACE.search(message)
    what = _TOML_PLACE.sub("", message).strip()
    line = place[1] if place and place[1] else text.count("\n") + 1
    return Problem(f"{file}:{line}", f"is not TOML: {what[:1].lower()}{what[1:]}")


def _leaves(node: Mapping[str, object], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Empty tables are leaves too: `[redis]` alone says something."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
