"""What waits for one connection's socket, and what gives way when the socket is slow.

Held by the plane, one a connection. Frames are shared between connections, never copied. Each overflow policy of the
contract is a way of putting a frame:

- `put_queued`: nothing is lost; beyond `bytes_max` the connection has to be closed with 4009.
- `put_conflated`: of a topic and type only the newest waits, at its own place in the order. A topic may have more
  types than fit: these bytes count with the queued ones.
- `put_droppable`: beyond a topic's bounds its oldest waiting frame goes. Never closes a connection.
- `put_control`: replies, states and pages that the member asked for. Never dropped, and apart from the events' bound,
  so that a member that comes back to many channels at once is not taken for a slow one. Beyond `control_bytes_max` it
  is a client that asks and does not read: 4009 as well.

A frame that is larger than its bound goes through where nothing of its sort waits. Order is the order of putting.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

QUEUED_BYTES_MAX = 1 << 20  # of waiting events, a connection
CONTROL_BYTES_MAX = 8 << 20  # eight full history pages that nobody reads
DROPPABLE_FRAMES_MAX = 64  # a topic: a second of a fast game
DROPPABLE_BYTES_MAX = 64 << 10  # a topic
LOW_WATER_BYTES = 256 << 10  # a catching-up member gets its next page below it


@dataclass(slots=True)
class OutboxTally:
    """Sums over all outboxes that share it, those closed long ago too (not in `queued_bytes`, which is of now)."""

    queued_bytes: int = 0
    conflated: int = 0
    dropped: int = 0


class _Waiting:
    __slots__ = ("frame", "key", "sort")

    def __init__(self, frame: bytes, sort: int, key: Hashable) -> None:
        self.frame = frame
        self.sort = sort
        self.key = key  # droppable: the topic; conflated: topic and type


_CONTROL, _QUEUED, _CONFLATED, _DROPPABLE = range(4)


class _TopicDrops:
    """A topic's droppable frames, by place."""

    __slots__ = ("places", "size")

    def __init__(self) -> None:
        self.places: deque[int] = deque()
        self.size = 0


class Outbox:
    """Frames that wait, in order. `overflowed` stays once it is so: nothing more is taken until `clear`."""

    def __init__(
        self,
        tally: OutboxTally | None = None,
        *,
        bytes_max: int = QUEUED_BYTES_MAX,
        control_bytes_max: int = CONTROL_BYTES_MAX,
        topic_frames_max: int = DROPPABLE_FRAMES_MAX,
        topic_bytes_max: int = DROPPABLE_BYTES_MAX,
        low_water: int = LOW_WATER_BYTES,
    ) -> None:
        self._tally = OutboxTally() if tally is None else tally
        self._bytes_max = bytes_max
        self._control_bytes_max = control_bytes_max
        self._topic_frames_max = topic_frames_max
        self._topic_bytes_max = topic_bytes_max
        self._low_water = low_water
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()  # by place; the places of a connection only grow
        self._place = 0
        self._newest: dict[Hashable, int] = {}  # conflated: (topic, type) -> place
        self._drops: dict[Hashable, _TopicDrops] = {}
        self._event_bytes = 0  # queued and conflated
        self._control_bytes = 0
        self.queued_bytes = 0  # all
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def below_low_water(self) -> bool:
        return self.queued_bytes < self._low_water

    @property
    def control_bytes(self) -> int:
        """Of replies and the like: a client with many of them had better not be read."""
        return self._control_bytes

    @property
    def room(self) -> int:
        """Bytes that the events' bound leaves; what a page to this connection had best fit in."""
        return max(0, self._bytes_max - self.queued_bytes)

    def put_control(self, frame: bytes) -> bool:
        """False: overflowed."""
        if self.overflowed or (self._control_bytes and self._control_bytes + len(frame) > self._control_bytes_max):
            self.overflowed = True
            return False
        self._control_bytes += len(frame)
        self._add(_Waiting(frame, _CONTROL, None))
        return True

    def put_queued(self, frame: bytes) -> bool:
        """False: overflowed."""
        if not self._admits_event(len(frame)):
            return False
        self._event_bytes += len(frame)
        self._add(_Waiting(frame, _QUEUED, None))
        return True

    def put_conflated(self, topic: Hashable, type_: str, frame: bytes) -> bool:
        """False: overflowed."""
        key = (topic, type_)
        if not self.overflowed and (place := self._newest.get(key)) is not None:
            self._remove(place)
            self._tally.conflated += 1
        if not self._admits_event(len(frame)):
            return False
        self._event_bytes += len(frame)
        self._newest[key] = self._add(_Waiting(frame, _CONFLATED, key))
        return True

    def put_droppable(self, topic: Hashable, frame: bytes) -> bool:
        """False only where another put had overflowed before."""
        if self.overflowed:
            return False
        drops = self._drops.get(topic)
        if drops is None:
            drops = self._drops[topic] = _TopicDrops()
        while drops.places and (
            len(drops.places) >= self._topic_frames_max or drops.size + len(frame) > self._topic_bytes_max
        ):
            self._remove(drops.places[0])
            self._tally.dropped += 1
        self._drops[topic] = drops  # the last removal forgot it
        drops.places.append(self._add(_Waiting(frame, _DROPPABLE, topic)))
        drops.size += len(frame)
        return True

    def take(self, bytes_max: int) -> list[bytes]:
        """The oldest frames, at most so many bytes but at least one where any waits."""
        frames: list[bytes] = []
        size = 0
        while self._waiting:
            place, waiting = next(iter(self._waiting.items()))
            size += len(waiting.frame)
            if frames and size > bytes_max:
                break
            frames.append(waiting.frame)
            self._remove(place)
        return frames

    def clear(self) -> None:
        """Throw away what waits: the connection is gone, or its last words follow."""
        self._tally.queued_bytes -= self.queued_bytes
        self._waiting.clear()
        self._newest.clear()
        self._drops.clear()
        self._event_bytes = self._control_bytes = self.queued_bytes = 0
        self.overflowed = False

    def _admits_event(self, size: int) -> bool:
        if self.overflowed or (self._event_bytes and self._event_bytes + size > self._bytes_max):
            self.overflowed = True
        return not self.overflowed

    def _add(self, waiting: _Waiting) -> int:
        self._place += 1
        self._waiting[self._place] = waiting
        self.queued_bytes += len(waiting.frame)
        self._tally.queued_bytes += len(waiting.frame)
        return self._place

    def _remove(self, place: int) -> None:
        waiting = self._waiting.pop(place)
        size = len(waiting.frame)
        self.queued_bytes -= size
        self._tally.queued_bytes -= size
        if waiting.sort == _CONTROL:
            self._control_bytes -= size
            return
        if waiting.sort == _DROPPABLE:
            drops = self._drops[waiting.key]
            drops.places.popleft()  # the topic's oldest goes first, whether it is sent or dropped
            drops.size -= size
            if not drops.places:
                del self._drops[waiting.key]
            return
        self._event_bytes -= size
        if waiting.sort == _CONFLATED:
            del self._newest[waiting.key]
