"""plg_log_*: the log's writer in C++, as native/include/polyglot_driver.h declares it. Results become exceptions.

Used by `native_writer`. Which library, and whether there is one, is decided by `polyglotd/plane/native`, which loads
it and compares the ABI; here it comes loaded.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_size_t, c_uint64, c_void_p
from typing import Any

PLG_SYSTEM, PLG_FULL, PLG_FAILED = -2, -3, -4
_TEXT_BYTES = 512
_BEGUN_ROOM = 64


class LogFull(Exception):
    """The bytes would end beyond the limit."""


class LogFailed(Exception):
    """An fsync failed, for good."""


class LogCounters(ctypes.Structure):
    """Since the log was opened."""

    _fields_ = (
        ("writes", c_uint64),
        ("bytes", c_uint64),
        ("writes_failed", c_uint64),
        ("writes_full", c_uint64),
        ("segments_begun", c_uint64),
        ("syncs", c_uint64),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("directory_fd", c_int32),
        ("segment_fd", c_int32),
        ("mark_fd", c_int32),
        ("acknowledge_at_once", c_int32),
        ("segment_first", c_uint64),
        ("segment_size", c_uint64),
        ("segment_head_bytes", c_uint64),
        ("segment_bytes_max", c_uint64),
        ("log_id", c_char_p),
    )


# Those that may wait for the kernel let other threads of Python run meanwhile.
_BLOCKING: dict[str, tuple[object, tuple[object, ...]]] = {
    "plg_log_open": (c_int, (POINTER(_Options), POINTER(c_void_p), c_char_p, c_size_t)),
    "plg_log_append": (c_int, (c_void_p, c_char_p, c_size_t, c_int32, POINTER(c_uint64))),
    "plg_log_sync": (c_int, (c_void_p, c_uint64)),
    "plg_log_begin_segment": (c_int, (c_void_p, c_uint64, c_char_p)),
    "plg_log_begun": (c_size_t, (c_void_p, POINTER(c_uint64), c_size_t)),
    "plg_log_error": (c_size_t, (c_void_p, c_char_p, c_size_t)),
    "plg_log_close": (None, (c_void_p,)),
}
# Those that take no lock are over sooner than another thread could be woken.
_INSTANT: dict[str, tuple[object, tuple[object, ...]]] = {
    "plg_log_end": (c_uint64, (c_void_p,)),
    "plg_log_durable": (c_uint64, (c_void_p,)),
    "plg_log_failed": (c_int, (c_void_p,)),
    "plg_log_set_limit": (None, (c_void_p, c_uint64)),
    "plg_log_count": (None, (c_void_p, POINTER(LogCounters))),
}


class NativeLog:
    """One `plg_log`."""

    def __init__(
        self,
        library: ctypes.CDLL,
        *,
        directory_fd: int,
        segment_fd: int,
        mark_fd: int,
        acknowledge_at_once: bool,
        segment_first: int,
        segment_size: int,
        segment_head_bytes: int,
        segment_bytes_max: int,
        log_id: str,
    ) -> None:
        """`segment_fd` is its own from now on. Raises OSError."""
        instant = ctypes.PyDLL(library._name, handle=library._handle)
        calls: dict[str, Any] = _declared(library, _BLOCKING) | _declared(instant, _INSTANT)
        self._append = calls["plg_log_append"]
        self._sync = calls["plg_log_sync"]
        self._begin_segment = calls["plg_log_begin_segment"]
        self._begun = calls["plg_log_begun"]
        self._error = calls["plg_log_error"]
        self._close = calls["plg_log_close"]
        self._end = calls["plg_log_end"]
        self._durable = calls["plg_log_durable"]
        self._failed = calls["plg_log_failed"]
        self._set_limit = calls["plg_log_set_limit"]
        self._count = calls["plg_log_count"]
        options = _Options(
            directory_fd,
            segment_fd,
            mark_fd,
            int(acknowledge_at_once),
            segment_first,
            segment_size,
            segment_head_bytes,
            segment_bytes_max,
            log_id.encode(),
        )
        handle = c_void_p()
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        if calls["plg_log_open"](byref(options), byref(handle), text, _TEXT_BYTES) != 0:
            raise OSError(f"the event log can't be opened for writing: {text.value.decode(errors='replace')}")
        self.handle = handle

    def append(self, records: bytes, *, bounded: bool) -> int:
        """The position of the first byte. Any thread. Raises `LogFull`, `LogFailed`, OSError."""
        position = c_uint64()
        result = self._append(self.handle, records, len(records), bounded, byref(position))
        if result != 0:
            self._raise(result)
        return position.value

    def sync(self, position: int) -> None:
        """Return when everything before is durable. Any thread. Raises `LogFailed`, OSError."""
        result = self._sync(self.handle, position)
        if result != 0:
            self._raise(result)

    def begin_segment(self, first: int, renewed: str) -> None:
        """Raises OSError."""
        result = self._begin_segment(self.handle, first, renewed.encode())
        if result != 0:
            self._raise(result)

    def begun(self) -> list[int]:
        """The first positions of segments begun since it was last asked, oldest first."""
        firsts: list[int] = []
        room = (c_uint64 * _BEGUN_ROOM)()
        while count := self._begun(self.handle, room, _BEGUN_ROOM):
            firsts += room[:count]
        return firsts

    def end(self) -> int:
        return int(self._end(self.handle))

    def durable(self) -> int:
        return int(self._durable(self.handle))

    def failed(self) -> bool:
        """Whether an fsync failed, ever."""
        return bool(self._failed(self.handle))

    def set_limit(self, position: int) -> None:
        self._set_limit(self.handle, position)

    def counters(self) -> LogCounters:
        counters = LogCounters()
        self._count(self.handle, byref(counters))
        return counters

    def error(self) -> str:
        """Why the last write failed, or an fsync ever; empty where it did not."""
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self._error(self.handle, text, _TEXT_BYTES)
        return text.value.decode(errors="replace")

    def close(self) -> None:
        """Nobody calls anything of it any more, the driver least of all."""
        self._close(self.handle)

    def _raise(self, result: int) -> None:
        if result == PLG_FULL:
            raise LogFull
        why = self.error() or "another write succeeded since, so the reason is not known"
        raise LogFailed(why) if result == PLG_FAILED else OSError(why)


def _declared(library: ctypes.CDLL, functions: dict[str, tuple[object, tuple[object, ...]]]) -> dict[str, Any]:
    found = {}
    for name, (result, arguments) in functions.items():
        function = library[name]  # one of our own: the library's attributes may be declared by others
        function.restype = result  # type: ignore[assignment]
        function.argtypes = arguments  # type: ignore[assignment]
        found[name] = function
    return found
