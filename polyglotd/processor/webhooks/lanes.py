"""How many messages may be under way at once, and how many wait for that."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import trio


class LaneHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that are due: those that are being sent, and those that wait for others of the lane to end."""

    sending: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many may send at once. Endpoints that failed last have a lane of their own: however many hang in it, it
    holds up no other."""

    well: trio.CapacityLimiter
    failing: trio.CapacityLimiter

    def health(self) -> Mapping[str, LaneHealth]:
        return {"well": _health(self.well), "failing": _health(self.failing)}


def _health(lane: trio.CapacityLimiter) -> LaneHealth:
    found = lane.statistics()
    return LaneHealth(sending=found.borrowed_tokens, waiting=found.tasks_waiting)
