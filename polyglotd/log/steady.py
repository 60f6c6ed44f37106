"""Reads of segments while somebody rewrites records in them: taken again until nobody did.

A count beside the segments is odd while records are being overwritten in place, and higher after it. The log's owner
counts in memory and in the mark, where readers in other processes look.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from polyglotd.log.interface import LogCorrupt

T = TypeVar("T")

PAUSE_S = 0.001  # a round of rewriting takes some ms


class Rewrites:
    """The owner's count. One thread writes; any reads."""

    def __init__(self, count: int, write: Callable[[int], None]) -> None:
        """`count`: even. `write` says it to others."""
        self.count = count
        self._write = write

    def begin(self) -> None:
        """Raises OSError, with nothing begun."""
        self._write(self.count + 1)
        self.count += 1

    def end(self) -> None:
        self.count += 1
        self._write(self.count)

    def steady(self, read: Callable[[], T]) -> T:
        """What `read` gives where nothing was overwritten meanwhile. Blocks while something is."""
        while True:
            before = self.count
            if before % 2 == 0:
                try:
                    result = read()
                except LogCorrupt:
                    if self.count == before:
                        raise
                else:
                    if self.count == before:
                        return result
            time.sleep(PAUSE_S)
