"""Whole numbers as one array in PostgreSQL's binary form: as a list each would be written as text, in Python.

Used where a statement takes a column of thousands (`rollup_tables`). NumPy is loaded with the first of them.
"""

import struct
from collections.abc import Sequence

from psycopg import adapters
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_BIGINT = adapters.types["int8"]
_HEAD = struct.Struct(">5i").pack  # dimensions, has nulls, type; of the dimension: its length, and where it begins


class BigintArray(bytes):
    """Its binary form."""

    __slots__ = ()

    @classmethod
    def of(cls, values: Sequence[int]) -> "BigintArray":
        import numpy as np

        elements = np.empty(len(values), dtype=[("size", ">i4"), ("value", ">i8")])
        elements["size"] = 8
        elements["value"] = values
        return cls(_HEAD(1, 0, _BIGINT.oid, len(values), 1) + elements.tobytes())


class BigintArrayDumper(Dumper):
    """Registered on each connection by the pool."""

    format = Format.BINARY
    oid = _BIGINT.array_oid

    def dump(self, obj: BigintArray) -> Buffer:
        return bytes(obj)
