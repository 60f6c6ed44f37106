"""What all parts of the plane share: who is connected, which topics are open, what the apps' limits are.

Plain tables; the rules about them are in `admission`, `publishing` and the connections. One trio thread, so that
nothing here is locked: a change is whole between two awaits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import count
from typing import TYPE_CHECKING

import trio

from polyglotd.channels.outbox import OutboxTally
from polyglotd.limits.gcra import Gcra
from polyglotd.model import EventIds
from polyglotd.plane.asgi.records import RecordQueue
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.asgi.silence import SilenceWatch
from polyglotd.plane.interface import ConfigureApp, PlaneCounters

if TYPE_CHECKING:
    from polyglotd.plane.asgi.connection import Connection
    from polyglotd.plane.asgi.member import Member
    from polyglotd.plane.asgi.opening import Opening
    from polyglotd.plane.asgi.topic import Topic


def steady_us() -> int:
    """For rates: a clock that does not go back."""
    return int(trio.current_time() * 1_000_000)


class AppState:
    """An app's limits, its rate of publishes on this node, and which quotas leave it no room."""

    def __init__(self, command: ConfigureApp) -> None:
        self.publishes = Gcra(command.publish_rate, command.publish_rate)
        self._set(command)

    def configure(self, command: ConfigureApp) -> None:
        self.publishes.reconfigure(command.publish_rate, command.publish_rate, steady_us())
        self._set(command)

    def _set(self, command: ConfigureApp) -> None:
        self.limits = command.limits
        self.events_used_up = command.events_used_up
        self.bytes_used_up = command.bytes_used_up


class PlaneState:
    def __init__(self, settings: PlaneSettings) -> None:
        self.settings = settings
        self.records = RecordQueue(settings.records_unread_max)
        self.apps: dict[str, AppState] = {}
        self.topics: dict[int, Topic] = {}
        self.topics_of_app: defaultdict[str, set[Topic]] = defaultdict(set)
        self.connections: dict[int, Connection] = {}
        self.openings: dict[int, Opening] = {}  # handshakes that the gateway decides on
        self.asked: dict[int, Connection] = {}  # pushes that the gateway answers, by their handle
        self.event_ids = EventIds()
        self.tally = OutboxTally()
        self.silence = SilenceWatch(settings.silence_s)
        self.counters = PlaneCounters(refused_total={})
        self.refused: Counter[str] = Counter()
        self._conns = count(1)
        self._subs = count(1)
        self._handles = count(1)

    def new_conn(self) -> int:
        return next(self._conns)

    def new_sub(self) -> int:
        return next(self._subs)

    def new_handle(self) -> int:
        return next(self._handles)

    def open_connection(self, conn: int) -> Connection | None:
        """None also where its end has begun: nothing more is done for it."""
        connection = self.connections.get(conn)
        return connection if connection is not None and connection.closing is None else None

    def member(self, conn: int, sub: int) -> Member | None:
        connection = self.open_connection(conn)
        return None if connection is None else connection.members.get(sub)

    def snapshot(self) -> PlaneCounters:
        """The counters as they are now; the caller may keep it."""
        counted = {name: getattr(self.counters, name) for name in PlaneCounters.__struct_fields__}
        gauges = {
            "connections": len(self.connections),
            "topics": len(self.topics),
            "queued_bytes": self.tally.queued_bytes,
            "conflated_total": self.tally.conflated,
            "dropped_total": self.tally.dropped,
            "refused_total": dict(self.refused),
        }
        return PlaneCounters(**(counted | gauges))
