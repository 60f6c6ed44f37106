"""Put things to a topic's members, and do what follows: counters, `Published`, the end of those who were too slow.

The only caller of a topic's fan-out, which is one step without an await. So that a burst does not make slow consumers
of clients whose writers only had no turn yet, whoever has many events at once waits for `room_for` between them.
"""

from collections.abc import Mapping
from time import perf_counter_ns

import trio

from polyglotd.model import Event
from polyglotd.model.latency import Latency, bucket_of
from polyglotd.plane.asgi.member import Member
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import FanOut, Publication, Topic

# What may be fanned out in one turn of the loop: half of what a member of a dropping kind keeps of a topic, and what
# its writer sends in a turn.
TURN_EVENTS = 32
TURN_BYTES = 64 * 1024
# Events that no member is there to get overwhelm no writer; they only keep others from their turn, for 2 ms or so.
UNHEARD_EVENTS = 256


class Delivery:
    def __init__(self, state: PlaneState) -> None:
        self._state = state
        self._events = 0  # in this turn, that somebody got
        self._unheard = 0  # … and that nobody did
        self._bytes = 0
        self._began = trio.Event()
        self._under_way: list[tuple[str, int]] = []  # app, and when the event was taken: put to members, not written
        self._latencies: dict[str, Latency] = {}

    async def run(self) -> None:
        """Notice that a turn is over: what is woken in one runs in the next, and so do the writers."""
        while True:
            await self._began.wait()
            self._began = trio.Event()
            self._events = self._unheard = self._bytes = 0
            under_way, self._under_way = self._under_way, []
            await trio.lowlevel.checkpoint()  # the writers run now; what comes next is behind them
            self._note(under_way)

    def take_latencies(self) -> Mapping[str, Latency]:
        taken, self._latencies = self._latencies, {}
        return taken

    def _note(self, under_way: list[tuple[str, int]]) -> None:
        now_ns = perf_counter_ns()
        for app_id, taken_ns in under_way:
            us = (now_ns - taken_ns) // 1000
            known = self._latencies.get(app_id)
            buckets = {} if known is None else known.buckets
            bucket = bucket_of(us)
            buckets[bucket] = buckets.get(bucket, 0) + 1
            self._latencies[app_id] = Latency(us if known is None else known.sum_us + us, buckets)

    def has_room_for(self, size: int) -> bool:
        """Whether so many bytes more may be fanned out in this turn."""
        if self._unheard >= UNHEARD_EVENTS:
            return False
        return self._events == 0 or (self._events < TURN_EVENTS and self._bytes + size <= TURN_BYTES)

    async def room_for(self, size: int) -> None:
        """Return at once, or in one of the next turns."""
        while not self.has_room_for(size):
            await trio.lowlevel.checkpoint()

    def event(self, publication: Publication, event: Event, position: int) -> None:
        """Publish the topic's next event. `position`: the log's end after it, 0 where it is not in the log."""
        topic = publication.topic
        result = topic.publish(event, publication.member)
        size = len(event.data)
        if result.deliveries:
            self._under_way.append((topic.app_id, publication.taken_ns))
        self._state.counters.events_total += 1
        self._state.records.put_published(topic.topic, event.seq, position, size, result.deliveries)
        self._finish(result, size)

    def signal(self, topic: Topic, type_: str, payload: bytes, origin: Member) -> None:
        self._state.counters.signals_total += 1
        self._finish(topic.signal(type_, payload, origin), len(payload))

    def broadcast(self, topic: Topic, event: str, payload: bytes, presence_only: bool) -> None:
        self._finish(topic.broadcast(event, payload, presence_only), len(payload))

    def _finish(self, result: FanOut, size: int) -> None:
        if not self._events and not self._unheard:
            self._began.set()
        if not result.deliveries:
            self._unheard += 1
            return
        self._events += 1
        self._bytes += size
        self._state.counters.deliveries_total += result.deliveries
        for member in result.overflowed:
            member.connection.overflow()
