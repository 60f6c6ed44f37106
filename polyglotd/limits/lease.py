"""A rate of an app, of which this node may spend a share that the broker leases to it.

The gateway holds one per app and rate, asks the broker when `renewal_due`, and spends without asking anyone. While
the broker is lost the last share goes on. On one node the share is the whole rate. Does not talk to the broker.
"""

from polyglotd.limits.gcra import Gcra

RENEW_US = 1_000_000
BURST_S = 1.0  # "burst 1 s, as all rates"


class LeasedRate:
    """`burst_s`: how many seconds' worth may come at once (5 for `connects-per-second`)."""

    def __init__(self, share_per_s: float, *, burst_s: float = BURST_S, now_us: int) -> None:
        self._burst_s = burst_s
        self._share_per_s = share_per_s
        self._gcra = Gcra(share_per_s, share_per_s * burst_s)
        self._asked_us = now_us

    @property
    def share_per_s(self) -> float:
        """What this node may spend a second."""
        return self._share_per_s

    def renewal_due(self, now_us: int) -> bool:
        return now_us - self._asked_us >= RENEW_US

    def renewed(self, share_per_s: float, now_us: int) -> None:
        """The broker answered. What was spent stays spent."""
        self._asked_us = now_us
        self._share_per_s = share_per_s
        self._gcra.reconfigure(share_per_s, share_per_s * self._burst_s, now_us)

    def renewal_failed(self, now_us: int) -> None:
        """The broker did not answer: go on at the last share, ask again a turn later."""
        self._asked_us = now_us

    def take(self, n: int, now_us: int) -> int:
        """As `Gcra.take`."""
        return self._gcra.take(n, now_us)

    def take_up_to(self, n: int, now_us: int) -> int:
        """As `Gcra.take_up_to`: for batches, which may be larger than a burst."""
        return self._gcra.take_up_to(n, now_us)

    def peek(self, n: int, now_us: int) -> int:
        """As `Gcra.peek`."""
        return self._gcra.peek(n, now_us)

    def remaining(self, now_us: int) -> int:
        """As `Gcra.remaining`."""
        return self._gcra.remaining(now_us)
