"""The generic cell rate algorithm: a rate with a burst, exact, in constant memory.

Everything that section 8 of the contract limits per second is one of these. Held by the gateway and the planes, one
per connection, app or address. Time is an argument: µs of a clock that does not go back; an older time counts as the
last one seen. Not for two threads at once.

State is the debt, in billionths of a request ("nano"): what was taken and has not run off yet. It runs off at the
rate, and may never pass the burst. Rates are whole thousandths a second, so that rate times µs is a whole number of
nanos: nothing is ever rounded, in any order of calls.
"""

NANO = 1_000_000_000
RETRY_MAX_US = 3_600_000_000  # also the answer where waiting would not help


class Gcra:
    """Admits over any time t at most `rate_per_s` * t + `burst`; after `burst / rate_per_s` idle, all of `burst`."""

    __slots__ = ("_at_us", "_burst", "_debt", "_rate_milli")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_milli = _milli(rate_per_s)
        self._burst = _milli(burst) * 1_000_000
        self._debt = 0
        self._at_us = 0

    def take(self, n: int, now_us: int) -> int:
        """Take n at once, or nothing. 0 if taken, else after how many µs it may succeed.

        More than the burst never succeeds: a batch asks `take_up_to`.
        """
        self._advance(now_us)
        over = self._debt + n * NANO - self._burst
        if over > 0:
            return self._runs_off_after(over)
        self._debt += n * NANO
        return 0

    def take_up_to(self, n: int, now_us: int) -> int:
        """Take as many of n as there are; how many."""
        self._advance(now_us)
        taken = max(0, min(n, (self._burst - self._debt) // NANO))
        self._debt += taken * NANO
        return taken

    def peek(self, n: int, now_us: int) -> int:
        """What `take` would answer; nothing is taken."""
        return self._runs_off_after(self._debt_at(now_us) + n * NANO - self._burst)

    def remaining(self, now_us: int) -> int:
        """How many could be taken now."""
        return max(0, (self._burst - self._debt_at(now_us)) // NANO)

    def restored_after_us(self, now_us: int) -> int:
        """After how long the whole burst can be taken again. 0: this state equals a new one's."""
        return self._runs_off_after(self._debt_at(now_us))

    def reconfigure(self, rate_per_s: float, burst: float, now_us: int) -> None:
        """Go on at another rate. The debt stays: nobody gets a fresh burst by a change of limits."""
        self._advance(now_us)
        self._rate_milli = _milli(rate_per_s)
        self._burst = _milli(burst) * 1_000_000

    def _debt_at(self, now_us: int) -> int:
        return max(0, self._debt - self._rate_milli * max(0, now_us - self._at_us))

    def _advance(self, now_us: int) -> None:
        self._debt = self._debt_at(now_us)
        self._at_us = max(self._at_us, now_us)

    def _runs_off_after(self, nano: int) -> int:
        if nano <= 0:
            return 0
        if self._rate_milli == 0:
            return RETRY_MAX_US
        return min(RETRY_MAX_US, -(-nano // self._rate_milli))


def _milli(value: float) -> int:
    if not 0 <= value <= 1e12:
        raise ValueError(f"a rate or burst is a number of 0 to 1e12, not {value}")
    return round(value * 1000)
