"""Which release runs."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "polyglot-realtime"


def release() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # a tree that nobody installed
        return "unknown"
