"""How many of something there may be at once: connections of an app, channels with state, channels of a connection.

Held by the gateway, one per app and quota. Counts on this node only; what counts over all nodes asks the broker.
"""

from polyglotd.model import QuotaExceeded


class CountQuota:
    """`name` as in section 8 of the contract (`channels`)."""

    __slots__ = ("limit", "name", "used")

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit  # may be lowered below `used`: then nothing more is taken until enough was given back
        self.used = 0

    def take(self, count: int = 1) -> None:
        """Take room for `count`. Raises `QuotaExceeded`, with nothing taken."""
        if self.used + count > self.limit:
            raise QuotaExceeded(f"the app has reached its limit of {self.limit} {self.name}", quota=self.name)
        self.used += count

    def give(self, count: int = 1) -> None:
        """Give room back. More than was taken is a bug of the caller."""
        if count > self.used:
            raise ValueError(f"{count} {self.name} given back, but only {self.used} taken")
        self.used -= count
