"""What is wrong with the settings, and how it is told."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

VALUE_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """`origin`: file and line, variable, or flag. `text` names the setting and says what would be right."""

    origin: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


class WrongSettings(Exception):
    """All that is wrong, not only the first of it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def shown(value: object) -> str:
    """A value as its author would write it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        text = str(value)  # dates
    return text if len(text) <= VALUE_SHOWN_CHARS else text[: VALUE_SHOWN_CHARS - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, or which there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}"
