"""What nodes share: who is present, and how much of an app's limits each of them may spend.

On one node the makes in `memory` hold all of it. A node is named by a short random string.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class PresenceMeta(msgspec.Struct, frozen=True, array_like=True):
    """One connection of a user in a channel."""

    ref: str  # unique: the wire's phx_ref
    info: bytes | None  # JSON object; None where the token gives none
    prev_ref: str | None = None  # the ref that this one replaced, by an update


class PresenceChange(msgspec.Struct, frozen=True, array_like=True):
    """A member came (`joined`), went (`left`), or changed its meta (both)."""

    app_id: str
    channel: str
    user_id: str
    joined: PresenceMeta | None
    left: str | None  # the ref that is gone


class Broker(Protocol):
    """One cluster, seen from one node. Every method may raise `Unavailable` where the broker is lost."""

    async def present(self, changes: Sequence[PresenceChange]) -> None:
        """Make this node's changes known, in order. They come back through `presence_changes` too."""

    async def presence_changes(self) -> Sequence[PresenceChange]:
        """Wait for changes on any node, of channels that this node has asked for; oldest first. One caller."""

    async def roster(self, app_id: str, channel: str) -> Mapping[str, Sequence[PresenceMeta]]:
        """Who is present now, by user; consistent with the changes that follow."""

    async def lease_rate(self, app_id: str, limit: str, per_second: int) -> float:
        """This node's share of a rate of the app, per second, until it is asked for again."""

    async def take_connections(self, app_id: str, count: int, limit: int) -> bool:
        """Count connections of an app; False, with nothing taken, where `limit` would be passed."""

    def take_connections_at_once(self, app_id: str, count: int, limit: int) -> bool | None:
        """As `take_connections`, without waiting; None, with nothing taken, where that is not known here and now."""

    async def give_connections(self, app_id: str, count: int) -> None: ...

    async def connections(self, app_id: str) -> int:
        """At this moment, on all nodes."""
