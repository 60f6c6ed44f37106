"""Text from users made safe for a terminal: control and direction characters are shown escaped."""

import re

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional marks, zero-width and surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` on one line, what could move a cursor or turn the reading direction written as \\uXXXX.

    JSON text without line breaks between its members stays the same JSON value.
    """
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
