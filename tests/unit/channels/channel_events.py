"""Events and counts that the suites of this room share."""

import os

from hypothesis import settings

from polyglotd.model import Event

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
SECOND_US = 1_000_000

STATEFUL = settings(max_examples=600 if FULL else 150, stateful_step_count=50 if FULL else 30, deadline=None)
PROPERTY = settings(max_examples=5000 if FULL else 100, deadline=None)


def event(seq: int, *, ts_us: int = 0, type_: str = "message", epoch: str = "e1") -> Event:
    return Event(f"evt_{seq}", "app", "room:lobby", epoch, seq, type_, b"null", "user", ts_us)
