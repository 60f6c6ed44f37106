"""Who was there, as some bytes that can be counted and added up, and from which nobody's name comes back.

HyperLogLog of Apache DataSketches, in its own portable form: exact up to some hundred users (12 bytes for one, 4 more
for each other), beyond that 2 KiB and a standard error of 1.6 %. Called by the makes of `Rollups` and by whoever puts
their rows together, in worker threads. The library is loaded at the first use, since NumPy comes with it.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

LOG_REGISTERS = 12

# The library's own form of few users, whom it need not estimate: a head, and of each user a mark of four bytes. Up to
# seven are a list, more are a set, which says how much room its reader is to make (2^n, of which a quarter is free).
# Bytes of the head: words of it, version 1, family 7, registers, room, compact, how many are listed, a list or a set.
LISTED_MAX, EXACT_MAX = 7, 384


def _head(many: int) -> bytes:
    if many <= LISTED_MAX:
        return bytes((2, 1, 7, LOG_REGISTERS, 3, 8, many, 0)) if many else b""
    room = max(5, (many * 4 // 3 - (many * 4 % 3 == 0)).bit_length())
    return bytes((3, 1, 7, LOG_REGISTERS, room, 8, 0, 1)) + many.to_bytes(4, "little")


_HEADS = [_head(many) for many in range(EXACT_MAX + 1)]
_HEAD_BYTES = len(_HEADS[1])


@lru_cache(maxsize=1)
def _library() -> Any:
    import datasketches  # type: ignore[import-untyped]

    return datasketches


def _rounded(sketch: Any) -> int:
    estimate: float = sketch.get_estimate()
    return round(estimate)


@lru_cache(maxsize=1 << 15)  # some MB; of users who come again the library is asked once
def mark_of(user: str) -> int:
    """What a sketch keeps of a user while it has few: 32 bits, never 0, the same for two in some hundred million."""
    serialized, _ = with_users(b"", (user,))
    return int.from_bytes(serialized[_HEAD_BYTES:], "little")


def of_marks(marks: bytes, many: int) -> bytes:
    """The sketch of so many users, `EXACT_MAX` at most, of whom these are the marks, each once."""
    return _HEADS[many] + marks


def with_users(sketch: bytes, users: Collection[str]) -> tuple[bytes, int]:
    """The sketch with these users too, and how many that makes. b"" is nobody."""
    if not users:
        return sketch, count(sketch)
    library = _library()
    found = (
        library.hll_sketch.deserialize(sketch)
        if sketch
        else library.hll_sketch(LOG_REGISTERS, library.tgt_hll_type.HLL_4)
    )
    for user in users:
        found.update(user)
    return found.serialize_compact(), _rounded(found)


def both(sketch: bytes, other: bytes) -> tuple[bytes, int]:
    """The users of either in one sketch, and how many that makes."""
    if not sketch or not other:
        return sketch or other, count(sketch or other)
    library = _library()
    union = library.hll_union(LOG_REGISTERS)
    union.update(library.hll_sketch.deserialize(sketch))
    union.update(library.hll_sketch.deserialize(other))
    found = union.get_result(library.tgt_hll_type.HLL_4)
    return found.serialize_compact(), _rounded(found)


def count(sketch: bytes) -> int:
    return _rounded(_library().hll_sketch.deserialize(sketch)) if sketch else 0


def count_all(sketches: Iterable[bytes]) -> int:
    """How many users are in any of them."""
    known = [sketch for sketch in sketches if sketch]
    if len(known) <= 1:
        return count(known[0]) if known else 0
    library = _library()
    union = library.hll_union(LOG_REGISTERS)
    for sketch in known:
        union.update(library.hll_sketch.deserialize(sketch))
    return _rounded(union)
