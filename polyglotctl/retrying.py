"""Calls that long work makes again where trying again may help: a server that is away, or that says when to come
back."""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from polyglotctl.failure import RefusedByServer, Unreachable
from polyglotctl.printable import printable

TRIES = 8
RETRIED = frozenset({"rate_limited", "unavailable"})

T = TypeVar("T")


def retrying(call: Callable[[], T]) -> T:
    """What the call gives, at the latest the eighth time. Only for calls that may be made twice."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except RefusedByServer as error:
            if error.code not in RETRIED or attempt == TRIES:
                raise
            time.sleep(int(str(error.problem.get("retry_after_ms", 1000))) / 1000)
        except Unreachable as error:
            if attempt == TRIES:
                raise
            print(f"polyglotctl: {printable(str(error))} Trying again.", file=sys.stderr)
            time.sleep(min(5.0, 0.1 * 2**attempt))
    raise AssertionError("the last attempt returns or raises")
