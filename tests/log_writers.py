"""How a log over segments is opened with each of its writers: what holds for one must hold for the other."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from native_library import native_log_library

from polyglotd.log.interface import LogSettings
from polyglotd.log.native_log import NativeSegmentLog, open_native_segments
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import now_us

OpenSegments = Callable[..., AbstractAsyncContextManager[SegmentLog]]


def open_native(
    directory: Path, settings: LogSettings, *, clock: Callable[[], int] = now_us
) -> AbstractAsyncContextManager[NativeSegmentLog]:
    """Skips the test where there is no library in C++."""
    return open_native_segments(directory, settings, native_log_library(), clock=clock)


WRITERS: dict[str, OpenSegments] = {"python": open_segments, "native": open_native}
