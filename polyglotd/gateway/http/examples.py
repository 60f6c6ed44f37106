"""The pages of `examples/`, and the `phoenix` client that they use, where npm has installed it."""

from pathlib import Path, PurePosixPath

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""What is served. Scripts for a shell or an interpreter are read in the repository, not from here."""
VENDOR = "vendor/"
FILE_BYTES_MAX = 8 * 1024 * 1024


class ExamplePages:
    """`directory`: the examples. `vendor`: names below `vendor/` and the files behind them, which need not exist."""

    def __init__(self, directory: Path, vendor: dict[str, Path]) -> None:
        self._directory = directory.resolve()
        self._vendor = vendor

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Content and type of a page; None where there is none. Blocks for the disk."""
        path = self._path(name)
        media_type = TYPES.get(PurePosixPath(name).suffix)
        if path is None or media_type is None:
            return None
        try:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError:
            return None
        return (content, media_type) if len(content) <= FILE_BYTES_MAX else None

    def _path(self, name: str) -> Path | None:
        if name.startswith(VENDOR):
            return self._vendor.get(name.removeprefix(VENDOR))
        parts = name.split("/")
        # Segments were decoded one by one: what looks like a path inside one of them is not one.
        if any(part in ("", ".", "..") or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            return None
        path = (self._directory / name).resolve()
        return path if path.is_relative_to(self._directory) else None
