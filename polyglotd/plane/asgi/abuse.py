"""When a connection that is refused again and again is left alone, and when it is closed.

Pure: one a connection, told of each refusal. The contract: refused 100 messages within a second, it is not read for
a second; if it goes on, it is closed with 4008.
"""

from collections import deque
from enum import Enum, auto

REFUSALS_MAX = 100
WITHIN_US = 1_000_000
PAUSE_US = 1_000_000
FORGIVEN_AFTER_US = 10_000_000  # behaving for so long after its pause, a connection begins anew


class Verdict(Enum):
    READ_ON = auto()
    PAUSE = auto()  # until `paused_until_us`
    CLOSE = auto()


class Abuse:
    """Times are µs of a clock that does not go back."""

    __slots__ = ("_refusals", "_struck_us", "paused_until_us")

    def __init__(self) -> None:
        self._refusals: deque[int] | None = None  # the newest; most connections never have one
        self._struck_us: int | None = None
        self.paused_until_us = 0

    def refused(self, now_us: int) -> Verdict:
        """One more refusal."""
        if self._refusals is None:
            self._refusals = deque(maxlen=REFUSALS_MAX)
        self._refusals.append(now_us)
        if len(self._refusals) < REFUSALS_MAX or now_us - self._refusals[0] >= WITHIN_US:
            return Verdict.READ_ON
        self._refusals = None
        struck_us, self._struck_us = self._struck_us, now_us
        if struck_us is not None and now_us - struck_us < PAUSE_US + FORGIVEN_AFTER_US:
            return Verdict.CLOSE
        self.paused_until_us = now_us + PAUSE_US
        return Verdict.PAUSE
