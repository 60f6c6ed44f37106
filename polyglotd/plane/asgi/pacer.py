"""Events of memory kinds that come faster than a turn of the loop can fan out: batches of the HTTP API, mostly.

One task, run by the plane. Without it a batch would be put to members whose writers had no turn in between, and the
quickest of them would lose events, or be closed, for being slow.
"""

from collections import deque

import trio

from polyglotd.model import Unavailable
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import Publication

WAITING_BYTES_MAX = 64 * 1024 * 1024  # over all apps: eight of the largest batches


class Pacer:
    def __init__(self, state: PlaneState, delivery: Delivery) -> None:
        self._state = state
        self._delivery = delivery
        self._waiting: deque[Publication] = deque()
        self._waiting_bytes = 0
        self._kick = trio.Event()

    def put(self, publication: Publication) -> None:
        """Let an event wait for its turn. Its answer comes in any case. Raises `Unavailable` where too much waits."""
        if self._waiting_bytes + publication.size > WAITING_BYTES_MAX:
            raise Unavailable("too many events wait for their turn")
        publication.wait(for_log=False)
        self._waiting.append(publication)
        self._waiting_bytes += publication.size
        self._kick.set()

    async def run(self) -> None:
        while True:
            await self._kick.wait()
            self._kick = trio.Event()
            while self._waiting:
                await self._delivery.room_for(self._waiting[0].size)
                publication = self._waiting.popleft()
                self._waiting_bytes -= publication.size
                topic = publication.topic
                event = publication.stamped(self._state.event_ids, topic.seq + 1, topic.next_ts_us())
                self._delivery.event(publication, event, 0)
                publication.accept(event)
