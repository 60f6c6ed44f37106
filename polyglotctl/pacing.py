"""Spread events over time, for those who publish many."""

import time


class Pacer:
    """The n-th event may go n / rate seconds after the first; without a rate, at once."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._begin: float | None = None
        self._sent = 0

    def delay_s(self, count: int) -> float:
        """How long to wait before these events go, which are the next."""
        if self._rate is None:
            return 0.0
        now = time.monotonic()
        if self._begin is None:
            self._begin = now
        due = self._begin + self._sent / self._rate
        self._sent += count
        return max(0.0, due - now)
