"""What apps do that their events in the log do not say: counted per app, written into the log once a second.

So that usage and analytics see it: whoever reads the log finds a `Meter` a second for each app that did anything,
with the events of memory kinds, which are in no log, and of all kinds the deliveries and what they took. A second
that can't be written is added to the next.

An app that only holds connections gets one when their number changes, and one a minute. One without connections and
traffic costs nothing.
"""

import logging
from dataclasses import dataclass, field

import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.quotas import Quotas
from polyglotd.gateway.topics import Topic
from polyglotd.log.interface import LogAppender, Meter
from polyglotd.model import Unavailable
from polyglotd.model.latency import Latency, merged
from polyglotd.plane.interface import Plane, Published

logger = logging.getLogger(__name__)

PERIOD_US = 1_000_000
REMINDER_US = 60_000_000  # a minute's rollup has to find the connections that were there all the time
GRACE_S = 0.02  # records of the last events are that late


@dataclass(slots=True, eq=False)
class Count:
    events: int = 0
    bytes: int = 0
    deliveries: int = 0
    connections_peak: int = 0
    latencies: list[Latency] = field(default_factory=list)


class Metering:
    def __init__(
        self, log: LogAppender, plane: Plane, connections: Connections, quotas: Quotas, wall: WallClock
    ) -> None:
        self._log = log
        self._quotas = quotas
        self._plane = plane
        self._connections = connections
        self._wall = wall
        self._began_us = wall()
        self._reminded = self._began_us // REMINDER_US  # the minute, counted since 1970
        self._counts: dict[str, Count] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                await trio.sleep((PERIOD_US - self._wall() % PERIOD_US) / PERIOD_US + GRACE_S)
                self._write()
        finally:
            self._write()

    def on_published(self, record: Published, topic: Topic) -> None:
        logged = topic.policy.durability == "logged"
        self._quotas.on_published(record, topic.app_id, logged=logged)
        count = self._count(topic.app_id)
        count.deliveries += record.deliveries
        if not logged:  # of the others, whoever reads the log counts the events themselves
            count.events += record.last_seq - record.first_seq + 1
            count.bytes += record.size

    def unwritten(self, app_id: str) -> Count:
        """What the log does not know yet."""
        return self._counts.get(app_id) or Count()

    def _count(self, app_id: str) -> Count:
        return self._counts.setdefault(app_id, Count())

    def _write(self) -> None:
        now_us = self._wall()
        self._gather(now_us)
        began_us = min(max(self._began_us, now_us - PERIOD_US), now_us)
        meters = [
            Meter(
                app_id=app_id,
                ts_us=began_us,
                events=count.events,
                bytes=count.bytes,
                deliveries=count.deliveries,
                connections_peak=count.connections_peak,
                latency=merged(count.latencies),
            )
            for app_id, count in self._counts.items()
        ]
        self._began_us = now_us
        if not meters:
            return
        try:
            end = self._log.append(meters)
        except Unavailable as error:
            logger.warning("meters wait for the log: %s", error)
            return
        self._quotas.on_meters_written(end)
        written, self._counts = self._counts, {}
        for app_id, count in written.items():
            if count.connections_peak != self._connections.counted(app_id):
                self._count(app_id)  # there were more than there are: the next second says so

    def _gather(self, now_us: int) -> None:
        """Add what others have counted."""
        for app_id, latency in self._plane.take_latencies().items():
            self._count(app_id).latencies.append(latency)
        peaks = self._connections.take_peaks()
        for app_id in peaks:
            self._count(app_id)
        if now_us // REMINDER_US != self._reminded:
            self._reminded = now_us // REMINDER_US
            for app_id in self._connections.apps():
                self._count(app_id)
        for app_id, count in self._counts.items():
            now = peaks.get(app_id, self._connections.counted(app_id))
            count.connections_peak = max(count.connections_peak, now)
