"""What apps do with memory kinds, which are in no log: counted per app, written into the log once a second.

So that usage and, later, analytics see them: whoever reads the log finds a `Meter` a second and active app. A second
that can't be written is added to the next.
"""

import logging
from dataclasses import dataclass

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.topics import Topic
from polyglotd.log.interface import LogAppender, Meter
from polyglotd.model import Unavailable
from polyglotd.plane.interface import Published

logger = logging.getLogger(__name__)

PERIOD_S = 1.0


@dataclass(slots=True, eq=False)
class Count:
    events: int = 0
    bytes: int = 0
    deliveries: int = 0
    connections_peak: int = 0


class Metering:
    def __init__(self, log: LogAppender, connections: Connections, wall: WallClock) -> None:
        self._log = log
        self._connections = connections
        self._wall = wall
        self._counts: dict[str, Count] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                await trio.sleep(PERIOD_S)
                self._write()
        finally:
            self._write()

    def on_published(self, record: Published, topic: Topic) -> None:
        if topic.policy.durability == "logged":
            return  # whoever reads the log counts the events themselves
        count = self._count(topic.app_id)
        count.events += record.last_seq - record.first_seq + 1
        count.bytes += record.size
        count.deliveries += record.deliveries

    def unwritten(self, app_id: str) -> Count:
        """What the log does not know yet."""
        return self._counts.get(app_id) or Count()

    def _count(self, app_id: str) -> Count:
        return self._counts.setdefault(app_id, Count())

    def _write(self) -> None:
        now_us = self._wall()
        meters = [
            Meter(
                app_id=app_id,
                ts_us=now_us,
                events=count.events,
                bytes=count.bytes,
                deliveries=count.deliveries,
                connections_peak=max(count.connections_peak, self._connections.count(app_id)),
            )
            for app_id, count in self._counts.items()
        ]
        if not meters:
            return
        try:
            self._log.append(meters)
        except Unavailable as error:
            logger.warning("meters wait for the log: %s", error)
        else:
            self._counts.clear()
