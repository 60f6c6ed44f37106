"""The two clocks of the gateway: one for what is measured here, one for what others see.

Rates and deadlines are measured on trio's clock, which never steps; tokens and events carry the wall clock's time,
which the composition root may replace.
"""

from collections.abc import Callable

import trio

WallClock = Callable[[], int]
"""Microseconds since 1970."""


def steady_us() -> int:
    """Microseconds of a clock that does not go back."""
    return int(trio.current_time() * 1_000_000)
