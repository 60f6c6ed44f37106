"""Resumes that reach further back than a topic's window: what the plane asks for, a page at a time.

A resume is gap-free or it is none: a page with a hole, one that begins before the channel's history, or one of a kind
that keeps nothing beyond its window is answered with `gone`.
"""

from collections.abc import Sequence

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.past import Past
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.tasks import Tasks
from polyglotd.gateway.topics import Topic, Topics
from polyglotd.model import Event, Refusal, Unavailable
from polyglotd.plane.interface import Backfill, EndSubscription, NeedHistory
from polyglotd.store.interface import HistoryQuery

US = 1_000_000


class Resume:
    def __init__(self, port: PlanePort, topics: Topics, past: Past, tasks: Tasks, wall: WallClock) -> None:
        self._port = port
        self._topics = topics
        self._past = past
        self._tasks = tasks
        self._wall = wall

    def on_need(self, record: NeedHistory) -> None:
        def fail(_: Refusal) -> None:
            # The member rejoins by itself after a while and asks again: nothing is lost, nothing is claimed.
            self._port.send(EndSubscription(record.conn, record.sub, "error"))

        async def answer() -> None:
            try:
                events = await self._missed(record)
            except Unavailable as refusal:
                fail(refusal)
            else:
                self._port.send(Backfill(record.conn, record.sub, events or [], gone=events is None))

        if not self._tasks.start(answer, fail):
            fail(Unavailable("too much is waiting"))

    async def _missed(self, record: NeedHistory) -> list[Event] | None:
        """The page; None where it can't be had any more."""
        topic = self._topics.by_id(record.topic)
        if topic is None or topic.policy.durability == "memory":
            return None
        if record.after < record.until - topic.policy.history_events:
            return None
        page = await self._past.page(
            HistoryQuery(
                app_id=topic.app_id,
                channel=topic.channel,
                epoch=topic.epoch,
                after=record.after,
                before=record.until + 1,
                limit=record.limit,
                bytes_max=record.bytes_max,
            )
        )
        return list(page.events) if self._is_gap_free(page.events, topic, record) else None

    def _is_gap_free(self, events: Sequence[Event], topic: Topic, record: NeedHistory) -> bool:
        if not events:
            return record.after >= record.until
        oldest_us = self._wall() - topic.policy.history_s * US
        whole = all(event.seq == record.after + 1 + place for place, event in enumerate(events))
        return whole and events[0].ts_us >= oldest_us
