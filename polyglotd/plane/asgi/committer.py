"""Events of logged kinds: into the log first, and only then to anyone.

One task, run by the plane, and the only place that gives out their seqs. It takes what gathered while the last batch
was under way, gives seqs and times, appends all topics' events with one write, waits until they are as durable as the
log is set to, fans out, and answers the publishers after that: on one connection the event stands before its `ok`.
Where the log takes nothing, no seq is used up. Memory kinds never wait here.
"""

from collections import deque

import trio

from polyglotd.log.interface import LogAppender
from polyglotd.model import Event, Refusal, Unavailable
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import Publication, Topic
from polyglotd.plane.interface import Accepted

WAITING_BYTES_MAX = 64 * 1024 * 1024  # of `data`, over all apps: some seconds of a disk that does not answer
BATCH_BYTES_MAX = 8 * 1024 * 1024  # in one write: it blocks the loop for as long as the kernel copies
EVENT_BYTES = 512  # counted for an event beside its data


class Committer:
    def __init__(self, state: PlaneState, log: LogAppender, delivery: Delivery) -> None:
        self._state = state
        self._log = log
        self._delivery = delivery
        self._waiting: deque[Publication] = deque()
        self._waiting_bytes = 0
        self._kick = trio.Event()

    def put(self, publication: Publication) -> None:
        """Let an event wait for its turn. Its answer comes in any case; at once where too much waits."""
        size = _size(publication)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            publication.answer(Unavailable("too many events wait for the log"))
            return
        publication.topic.waiting += 1
        if publication.id is not None:
            publication.topic.dedupe.hold(publication.user_id, publication.id, publication)
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
        size = 0
        while self._waiting:
            size += _size(self._waiting[0])
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        self._waiting_bytes -= sum(map(_size, batch))
        return batch

    async def _commit(self, batch: list[Publication]) -> None:
        events = self._stamp(batch)
        try:
            position = self._log.append(events)
            await self._log.synced(position)  # has no deadline: to answer before the disk has would be a guess
        except Unavailable as refusal:
            for publication in batch:
                self._refuse(publication, refusal)
            return
        for publication, event in zip(batch, events, strict=True):
            if publication.topic.epoch != event.epoch:
                self._refuse(publication, Unavailable("the channel began a new epoch meanwhile"))
            else:
                self._delivery.event(publication.topic, event, publication.member, position)
                self._accept(publication, event)

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

    def _accept(self, publication: Publication, event: Event) -> None:
        topic = publication.topic
        topic.waiting -= 1
        if publication.id is not None:
            topic.dedupe.settle(publication.user_id, publication.id, event.seq, event.ts_us)
        publication.answer(Accepted(event.id, event.seq, event.ts_us, False))
        for answer in publication.repeats:
            self._state.counters.duplicates_total += 1
            answer(Accepted(event.id, event.seq, event.ts_us, True))

    def _refuse(self, publication: Publication, refusal: Refusal) -> None:
        topic = publication.topic
        topic.waiting -= 1
        if publication.id is not None:
            topic.dedupe.release(publication.user_id, publication.id)
        for answer in (publication.answer, *publication.repeats):
            answer(refusal)


def _size(publication: Publication) -> int:
    return len(publication.data) + EVENT_BYTES
