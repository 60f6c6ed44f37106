"""Query strings of API calls: strict, so that a misspelt parameter is an error and not a surprise."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from polyglotd.model import Invalid

INTEGER_MAX = (1 << 63) - 1  # SQLite's, and more than any seq
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+ -]\d\d:\d\d)"
)  # " ": a + that nobody encoded


class Query:
    """The parameters of one call. `known`: those that it has. Raises `Invalid` for others, and for repeated ones."""

    def __init__(self, query_string: bytes, known: Collection[str]) -> None:
        self._values: dict[str, str] = {}
        for part in query_string.split(b"&"):
            if not part:
                continue
            raw_name, _, raw_value = part.partition(b"=")
            name, value = _decode(raw_name), _decode(raw_value)
            if name is None or name not in known:
                shown = ", ".join(sorted(known)) or "none"
                raise Invalid(f"there is no such query parameter; known here: {shown}", field=(name or "query")[:64])
            if value is None:
                raise Invalid(f"{name} is not percent-encoded UTF-8", field=name)
            if name in self._values:
                raise Invalid(f"{name} is given twice", field=name)
            self._values[name] = value

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def integer(self, name: str, *, least: int = 0, most: int = INTEGER_MAX) -> int | None:
        text = self._values.get(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise Invalid(f"{name} is a whole number from {least} to {most}", field=name)
        return int(text)

    def time_us(self, name: str) -> int | None:
        """A time as µs since 1970: RFC 3339, or whole seconds since 1970."""
        text = self._values.get(name)
        return None if text is None else parse_time_us(text, name)


def parse_time_us(text: str, field: str) -> int:
    """Raises `Invalid`."""
    if re.fullmatch(r"[0-9]{1,11}", text):
        return int(text) * 1_000_000
    found = _RFC_3339.fullmatch(text)
    if found is not None:
        date, clock, fraction, zone = found.groups()
        try:
            moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone.replace(' ', '+')}")
            return int(moment.astimezone(UTC).timestamp()) * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])
        except (ValueError, OverflowError):
            pass  # the thirtieth of February, or a year that no clock has
    raise Invalid(f"{field} is a time as 2026-11-23T08:15:30Z, or seconds since 1970", field=field)


def _decode(text: bytes) -> str | None:
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None
