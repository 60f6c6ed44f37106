"""Records on their way up to the gateway: a bound, one wake-up for many, published events merged by topic.

Filled by every part of the plane, emptied by `AsgiPlane.receive`. It drops nothing: who reads from sockets waits
for `room` first, so what is unread stays near the bound.
"""

import msgspec
import trio

from polyglotd.plane.interface import AnyRecord, Published

# What is only bookkeeping may gather for this long; waking the gateway for each event would cost as much as
# delivering it.
BOOKKEEPING_S = 0.005


class _Tally(msgspec.Struct, gc=False):
    """A `Published` in the making."""

    first_seq: int
    last_seq: int
    position: int
    size: int
    deliveries: int

    def record(self, topic: int) -> Published:
        return Published(topic, self.first_seq, self.last_seq, self.position, self.size, self.deliveries)


class RecordQueue:
    """Oldest first. `Published` records come last of a batch, or before a record of their topic's end."""

    def __init__(self, unread_max: int) -> None:
        self._unread_max = unread_max
        self._records: list[AnyRecord] = []
        self._published: dict[int, _Tally] = {}  # by topic
        self._urgent = trio.Event()
        self._any = trio.Event()
        self._room = trio.Event()
        self._room.set()

    def put(self, record: AnyRecord) -> None:
        self._records.append(record)
        self._urgent.set()
        self._any.set()
        if len(self._records) >= self._unread_max and self._room.is_set():
            self._room = trio.Event()

    def put_published(self, topic: int, seq: int, position: int, size: int, deliveries: int) -> None:
        """Tell of one event, in the record of what was published on the topic since the last batch."""
        tally = self._published.get(topic)
        if tally is None:
            self._published[topic] = _Tally(seq, seq, position, size, deliveries)
            self._any.set()
            return
        tally.last_seq = seq
        tally.position = position
        tally.size += size
        tally.deliveries += deliveries

    def flush_published(self, topic: int) -> None:
        """Put what was published on the topic before what comes next: its seqs end here."""
        tally = self._published.pop(topic, None)
        if tally is not None:
            self.put(tally.record(topic))

    @property
    def has_unread(self) -> bool:
        return self._any.is_set()

    @property
    def has_room(self) -> bool:
        return self._room.is_set()

    async def room(self) -> None:
        """Return at once while there is room, else when the gateway has drained."""
        await self._room.wait()

    async def take(self) -> list[AnyRecord]:
        """Wait for records and take all. Cancelled: nothing was taken."""
        await self._any.wait()
        if not self._records:
            with trio.move_on_after(BOOKKEEPING_S):
                await self._urgent.wait()
        batch = [*self._records, *(tally.record(topic) for topic, tally in self._published.items())]
        self._records.clear()
        self._published.clear()
        self._urgent = trio.Event()
        self._any = trio.Event()
        self._room.set()
        return batch
