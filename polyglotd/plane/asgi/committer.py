"""Events of logged kinds: into the log first, and only then to anyone.

One task, run by the plane, and the only place that gives out their seqs. It takes what gathered while the last batch
was under way, gives seqs and times, appends all topics' events with one write, waits until they are as durable as the
log is set to, fans out, and answers the publishers after that: on one connection the event stands before its `ok`.
Where the log takes nothing, no seq is used up. Memory kinds never wait here.
"""

from collections import deque

import trio

from polyglotd.log.interface import LogAppender
from polyglotd.model import Event, Unavailable
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import Publication, Topic

WAITING_BYTES_MAX = 64 * 1024 * 1024  # over all apps: some seconds of a disk that does not answer
BATCH_BYTES_MAX = 8 * 1024 * 1024  # in one write: it blocks the loop for as long as the kernel copies


class Committer:
    def __init__(self, state: PlaneState, log: LogAppender, delivery: Delivery) -> None:
        self._state = state
        self._log = log
        self._delivery = delivery
        self._waiting: deque[Publication] = deque()
        self._waiting_bytes = 0
        self._kick = trio.Event()

    def put(self, publication: Publication) -> None:
        """Let an event wait for its turn. Its answer comes in any case. Raises `Unavailable` where too much waits."""
        size = publication.size
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise Unavailable("too many events wait for the log")
        publication.wait(for_log=True)
        self._waiting.append(publication)
        self._waiting_bytes += size
        self._kick.set()

    async def run(self) -> None:
        while True:
            await self._kick.wait()
            batch = self._next_batch()
            if batch:
                await self._commit(batch)
            else:
                self._kick = trio.Event()

    def _next_batch(self) -> list[Publication]:
        batch: list[Publication] = []
        taken = 0
        while self._waiting:
            size = self._waiting[0].size
            if batch and taken + size > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
            taken += size
        self._waiting_bytes -= taken
        return batch

    async def _commit(self, batch: list[Publication]) -> None:
        events = self._stamp(batch)
        try:
            position = self._log.append(events)
            await self._log.synced(position)  # has no deadline: to answer before the disk has would be a guess
        except Unavailable as refusal:
            for publication in batch:
                publication.refuse(refusal)
            return
        for publication, event in zip(batch, events, strict=True):
            size = publication.size
            if not self._delivery.has_room_for(size):
                await self._delivery.room_for(size)
            if publication.topic.epoch != event.epoch:
                publication.refuse(Unavailable("the channel began a new epoch meanwhile"))
            else:
                self._delivery.event(publication, event, position)
                publication.accept(event)

    def _stamp(self, batch: list[Publication]) -> list[Event]:
        places: dict[Topic, tuple[int, int]] = {}
        events: list[Event] = []
        for publication in batch:
            topic = publication.topic
            seq, ts_us = places.get(topic) or (topic.seq, topic.next_ts_us())
            seq += 1
            places[topic] = (seq, ts_us)
            events.append(publication.stamped(self._state.event_ids, seq, ts_us))
        return events
