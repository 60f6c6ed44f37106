"""Which line of a TOML file each key stands on: tomllib keeps no positions.

Called by `file` with a text that tomllib has read without complaint, so this scanner judges nothing; it only has to
know where strings, comments and brackets end. A key is found by the path that leads to it; elements of arrays of
tables share the path of the array, and the last one counts.
"""

import tomllib

Path = tuple[str, ...]

_SPACE = " \t\r\n"


def key_lines(text: str) -> dict[Path, int]:
    """Path of every key and table header to its line, counted from 1."""
    return _Scanner(text).lines()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {}

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip_blank()
            if self._at >= len(self._text):
                return self._found
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._key_and_value(table)

    def _header(self) -> Path:
        start = self._at
        while self._text[self._at] == "[":
            self._at += 1
        table = self._key_until("]")
        self._note(table, start)
        while self._at < len(self._text) and self._text[self._at] == "]":
            self._at += 1
        return table

    def _key_and_value(self, table: Path) -> None:
        start = self._at
        path = table + self._key_until("=")
        self._note(path, start)
        self._at += 1  # the equals sign
        self._value(path)

    def _key_until(self, end: str) -> Path:
        start = self._at
        while self._text[self._at] != end:
            if self._text[self._at] in "\"'":
                self._skip_string()
            else:
                self._at += 1
        # tomllib itself unfolds dots, quotes and escapes.
        node: object = tomllib.loads(f"{self._text[start : self._at].strip()} = 0")
        path: list[str] = []
        while isinstance(node, dict):
            ((key, node),) = node.items()
            path.append(key)
        return tuple(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        match self._text[self._at]:
            case '"' | "'":
                self._skip_string()
            case "[":
                self._members("]", path)
            case "{":
                self._members("}", path)
            case _:
                while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                    self._at += 1

    def _members(self, end: str, path: Path) -> None:
        """Of an array, or of an inline table, which alone has keys of its own."""
        self._at += 1
        while True:
            self._skip_blank()
            if self._text[self._at] == end:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif end == "]":
                self._value(path)
            else:
                self._key_and_value(path)

    def _skip_blank(self) -> None:
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in _SPACE:
                self._at += 1
            else:
                return

    def _skip_string(self) -> None:
        quote = self._text[self._at]
        if self._text.startswith(quote * 3, self._at):
            self._at += 3
            while not self._text.startswith(quote * 3, self._at):
                self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
            self._at += 3
            while self._text.startswith(quote, self._at):  # up to two quotes may end the content
                self._at += 1
            return
        self._at += 1
        while self._text[self._at] != quote:
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += 1

    def _note(self, path: Path, at: int) -> None:
        for length in range(1, len(path) + 1):  # `a.b.c = 1` also makes `a` and `a.b`
            self._found.setdefault(path[:length], 0)
        line = self._text.count("\n", 0, at) + 1
        self._found[path] = line
        for length in range(1, len(path)):
            self._found[path[:length]] = self._found[path[:length]] or line
