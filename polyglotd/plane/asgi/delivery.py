"""Put things to a topic's members, and do what follows: counters, `Published`, the end of those who were too slow.

The only caller of a topic's fan-out. One step, no await.
"""

from polyglotd.model import Event
from polyglotd.plane.asgi.member import Member
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import FanOut, Topic
from polyglotd.plane.interface import Published


class Delivery:
    def __init__(self, state: PlaneState) -> None:
        self._state = state

    def event(self, topic: Topic, event: Event, origin: Member | None, position: int) -> None:
        """Publish the topic's next event. `position`: the log's end after it, 0 where it is not in the log."""
        result = topic.publish(event, origin)
        self._state.counters.events_total += 1
        self._state.records.put_published(
            Published(
                topic=topic.topic,
                first_seq=event.seq,
                last_seq=event.seq,
                position=position,
                size=len(event.data),
                deliveries=result.deliveries,
            )
        )
        self._finish(result)

    def signal(self, topic: Topic, type_: str, payload: bytes, origin: Member) -> None:
        self._state.counters.signals_total += 1
        self._finish(topic.signal(type_, payload, origin))

    def broadcast(self, topic: Topic, event: str, payload: bytes, presence_only: bool) -> None:
        self._finish(topic.broadcast(event, payload, presence_only))

    def _finish(self, result: FanOut) -> None:
        self._state.counters.deliveries_total += result.deliveries
        for member in result.overflowed:
            member.connection.overflow()
