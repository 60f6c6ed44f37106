"""Events of the log decoded many at once: the records by the library in C++, the objects by msgspec.

Given to `segment_reader` where the library is there. Takes good events only: any other record, and what is wrong with
one, is `record`'s, which does without the library. The interpreter is free while the library works.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_size_t, c_ssize_t, c_uint64, c_void_p
from typing import NamedTuple

import msgspec

from polyglotd.model import Event

PACKED_BYTES_MAX = 16  # by how much an event as msgpack may be longer than its record


class EventRun(NamedTuple):
    """Events whose records follow each other, and the position after each."""

    events: list[Event]
    ends: list[int]


ReadEvents = Callable[[bytes, int, int, int], EventRun | None]
"""Of the log's bytes from an offset on, where a record begins, at most so many events: up to the first record that is
no good one. The last argument is the first byte's position. None: no event is there. Raises UnicodeDecodeError."""


def native_events(library: ctypes.CDLL) -> ReadEvents:
    """`library`: exports plg_log_read_events, declared in native/include/polyglot_driver.h."""
    call = library["plg_log_read_events"]  # one of our own: the library's attributes may be declared by others
    call.restype = c_ssize_t
    call.argtypes = (
        c_char_p,
        c_size_t,
        c_size_t,
        c_size_t,
        c_uint64,
        c_void_p,
        c_size_t,
        POINTER(c_size_t),
        POINTER(c_uint64),
    )
    decode = msgspec.msgpack.Decoder(list[Event]).decode

    def read(buffer: bytes, offset: int, limit: int, position: int) -> EventRun | None:
        room = len(buffer) - offset + PACKED_BYTES_MAX * limit
        packed = ctypes.create_string_buffer(room)
        size = c_size_t()
        ends = (c_uint64 * limit)()
        count = call(buffer, len(buffer), offset, limit, position, packed, room, byref(size), ends)
        if count <= 0:  # below: without memory for it; `record` needs less
            return None
        return EventRun(decode(memoryview(packed)[: size.value]), ends[:count])

    return read
