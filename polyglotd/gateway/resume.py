"""Resumes that reach further back than a topic's window: what the plane asks for, a page at a time.

The plane knows how many events a channel's history holds, and whether a page has a hole; here is only what is too
old, and what a kind that keeps nothing beyond its window answers.
"""

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.past import Past
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.tasks import Tasks
from polyglotd.gateway.topics import Topics
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
                self._port.send(Backfill(record.conn, record.sub, events, gone=not events))

        if not self._tasks.start(answer, fail):
            fail(Unavailable("too much is waiting"))

    async def _missed(self, record: NeedHistory) -> list[Event]:
        topic = self._topics.by_id(record.topic)
        if topic is None or topic.policy.durability == "memory":
            return []
        await self._topics.heard(topic, record.until)  # what a busy channel's window let go at once
        page = await self._past.page(
            HistoryQuery(
                app_id=topic.app_id,
                channel=topic.channel,
                epoch=topic.epoch,
                after=record.after,
                before=record.until + 1,
                from_us=self._wall() - topic.policy.history_s * US,
                limit=record.limit,
                bytes_max=record.bytes_max,
            )
        )
        return page.events
