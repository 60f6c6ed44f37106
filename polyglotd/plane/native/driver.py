"""One running driver: the calls of `polyglot_driver.h` as methods, results as exceptions. Knows bytes, not records.

Owned by `plane`. Commands and records are msgpack here; `codec` gives them their types.
"""

import ctypes
import os
from ctypes import byref, c_char_p, c_int32, c_size_t, c_uint64, c_void_p
from typing import Any

import msgspec

from polyglotd.plane.native.library import ABI, Library

_TEXT_BYTES = 512
_COUNTERS_BYTES = 16 * 1024


class DriverDied(Exception):
    """A thread of the driver's has ended by a fault: nothing is served any more. The text says why."""


class Driver:
    """From its start until `close`. `log`: a `plg_log`'s handle."""

    def __init__(self, library: Library, options: dict[str, Any], log: c_void_p, listeners: list[int]) -> None:
        """The listening descriptors are the driver's from now on. Raises OSError."""
        self._call = library.call
        packed = msgspec.msgpack.encode(options)
        handle, text = c_void_p(), ctypes.create_string_buffer(_TEXT_BYTES)
        fds = (c_int32 * len(listeners))(*listeners)
        result = self._call["plg_open"](
            ABI, packed, len(packed), log, fds, len(listeners), byref(handle), text, _TEXT_BYTES
        )
        if result != 0:
            raise OSError(f"the driver can't be started: {text.value.decode(errors='replace')}")
        self._handle: c_void_p | None = handle
        self._records, self._size, self._told = c_void_p(), c_size_t(), c_uint64()
        self.wake_fd: int = self._call["plg_wake_fd"](handle)

    def submit(self, loop: int, commands: bytes) -> None:
        """Raises ValueError where they are no commands: a fault of ours."""
        if self._call["plg_submit"](self._handle, loop, commands, len(commands)) != 0:
            raise ValueError("the driver does not know these commands")

    def take_records(self) -> tuple[int, bytes, int]:
        """How many records wait, and their bytes, one after another; and up to which position of the log they, or
        those before, have told of all that the driver wrote. Raises DriverDied."""
        count = self._call["plg_take_records"](
            self._handle, byref(self._records), byref(self._size), byref(self._told)
        )
        if count < 0:
            raise DriverDied(f"the driver's thread has ended, and the daemon with it: {self._failure()}")
        return count, ctypes.string_at(self._records, self._size.value) if count else b"", self._told.value

    def counters(self) -> bytes:
        """msgpack."""
        room = _COUNTERS_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = self._call["plg_counters"](self._handle, ctypes.cast(buffer, c_char_p), room)
            if size <= room:
                return buffer.raw[: max(size, 0)]
            room = size

    def take_latencies(self) -> bytes:
        """msgpack: what apps' events took since the last call."""
        latencies = c_void_p()
        size = self._call["plg_take_latencies"](self._handle, byref(latencies))
        if size < 0:
            raise MemoryError("the driver has no memory for what its events took")
        return ctypes.string_at(latencies, size)

    def close(self) -> None:
        """Close every socket and join the threads: a moment. Once."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._call["plg_close"](handle)

    def _failure(self) -> str:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self._call["plg_failure"](self._handle, ctypes.cast(text, c_char_p), _TEXT_BYTES)
        return text.value.decode(errors="replace") or os.strerror(0)
