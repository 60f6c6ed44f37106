"""Who was there, as some bytes that can be counted and added up, and from which nobody's name comes back.

HyperLogLog of Apache DataSketches, in its own portable form: exact up to some hundred users (12 bytes for one, 4 more
for each other), beyond that 2 KiB and a standard error of 1.6 %. Called by the makes of `Rollups` and by whoever puts
their rows together, in worker threads. The library is loaded at the first use, since NumPy comes with it.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

LOG_REGISTERS = 12


@lru_cache(maxsize=1)
def _library() -> Any:
    import datasketches  # type: ignore[import-untyped]

    return datasketches


def _rounded(sketch: Any) -> int:
    estimate: float = sketch.get_estimate()
    return round(estimate)


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
