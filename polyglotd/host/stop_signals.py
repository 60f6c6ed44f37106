"""SIGTERM and SIGINT: the first asks the daemon to drain, the second ends the process on the spot.

Used by the composition root for as long as trio runs. The handlers are Python's own and not trio's, so that a second
signal works even where the event loop is stuck.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(before_exit: Callable[[str], None]) -> Iterator[trio.Event]:
    """The event is set by the first signal. A second one exits with 128 + its number, as a shell counts signals;
    `before_exit` may leave a last word and must not block for long."""
    stop = trio.Event()
    token = trio.lowlevel.current_trio_token()
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            before_exit(signal.Signals(number).name)
            os._exit(128 + number)
        asked = True
        token.run_sync_soon(stop.set)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
