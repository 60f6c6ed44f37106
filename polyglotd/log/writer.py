"""What `segments` needs of whoever writes to the newest segment, and what its two makes say of a disk that refuses.

`segment_writer` is the one in Python, `native_writer` the one that the driver shares. Both blocking, for the page
cache only, but for `sync`.
"""

import logging
from typing import Protocol

from polyglotd.log.segment_files import Segment
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)

RETRY_AFTER_MS = 1_000  # disks fill up and empty in seconds, not in milliseconds


class Writer(Protocol):
    limit: int
    """Bounded writes that would end beyond this position are refused."""

    @property
    def segments(self) -> list[Segment]:
        """Oldest first, at least one, which is appended to. The caller takes those away that it removes."""

    @property
    def end(self) -> int:
        """The position after the last record."""

    @property
    def known(self) -> int:
        """Every event before it was told to the channel table: what a checkpoint may claim. Not beyond the end."""

    @property
    def durable(self) -> int:
        """Everything before it is durable."""

    @property
    def acknowledged(self) -> int:
        """Everything before it is as durable as `[log] sync` says: readers go no further."""

    def write(self, data: bytes, *, bounded: bool) -> int:
        """Append the bytes, all or none, in one call; the position of the first. `bounded`: the limit counts.

        Raises `Unavailable`, with nothing appended.
        """

    def begin_segment(self, first: int, *, renewed: str = "") -> None:
        """Go on in a new segment, at `first` or further on than the end; where every channel's past ends there
        (`renewed`), it is durable when this returns. Raises OSError, with nothing changed."""

    async def sync(self) -> None:
        """Make durable what is there now, in a thread. Raises OSError, after which nothing may be written any more.
        Not twice at once."""

    def close(self) -> None:
        """Let go of every descriptor."""


class Refusals:
    """Says once that the log can't be written to, and once that it can again."""

    def __init__(self) -> None:
        self._said = False

    def by_disk(self, why: object) -> Unavailable:
        if not self._said:
            self._said = True
            logger.error("the event log can't be written to, events are refused until it can: %s", why)
        return Unavailable("the event log can't be written to", retry_after_ms=RETRY_AFTER_MS)

    def over(self) -> None:
        if self._said:
            self._said = False
            logger.warning("the event log takes events again")


def full() -> Unavailable:
    return Unavailable(
        "the event log is full: its readers are behind by [log] bytes_max", retry_after_ms=RETRY_AFTER_MS
    )
