"""The gateway's end of the border to the plane: commands in order, and conversations over them.

Used by every module of the gateway that commands the plane. What one turn of the loop sends crosses as one batch.
Does not interpret records: `gateway.dispatch` hands the answers in.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import trio

from polyglotd.model import Unavailable
from polyglotd.plane.interface import (
    Accepted,
    AnyCommand,
    AnyRecord,
    Plane,
    Publish,
    PublishItem,
    PublishResults,
    ReadWindow,
    Refused,
    WindowPage,
)

ANSWER_DEADLINE_S = 10.0  # the plane answers within a turn, or after the log's fsync; more is a fault
REQUESTS_MAX = 10_000  # waiting for an answer at once; HTTP holds one a request

Answer = TypeVar("Answer", PublishResults, WindowPage)


class _Slot(Generic[Answer]):
    """Where one request waits. A slot that was given up is forgotten, and its late answer dropped."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: Answer | None = None


class PlanePort:
    """`run` sends what other tasks queued; whoever has just queued in a loop of its own may `flush`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._queue: list[AnyCommand] = []
        self._kick = trio.Event()
        self._slots: dict[int, _Slot[PublishResults] | _Slot[WindowPage]] = {}
        self._next_request = 1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                await self._kick.wait()
                self.flush()
        finally:
            self.flush()

    def send(self, *commands: AnyCommand) -> None:
        """Queue commands; they cross in this order, by the end of the turn."""
        self._queue.extend(commands)
        self._kick.set()

    def flush(self) -> None:
        """Let what is queued cross now."""
        if self._queue:
            batch, self._queue = self._queue, []
            self._plane.submit(batch)
        if self._kick.is_set():
            self._kick = trio.Event()

    async def receive(self) -> Sequence[AnyRecord]:
        self.flush()
        return await self._plane.receive()

    async def publish(self, items: list[PublishItem]) -> list[Accepted | Refused]:
        """One crossing for the batch. Raises `Unavailable` where no answer came: then the outcome is unknown.
        Cancelled: the events are published all the same."""
        slot: _Slot[PublishResults] = _Slot()
        request = self._open(slot)
        self.send(Publish(request, items))
        return (await self._answer(request, slot)).results

    async def read_window(
        self, topic: int, *, after: int | None, before: int | None, limit: int, bytes_max: int
    ) -> WindowPage:
        """The topic must be open. Raises `Unavailable` where no answer came."""
        slot: _Slot[WindowPage] = _Slot()
        request = self._open(slot)
        self.send(ReadWindow(request, topic, after, before, limit, bytes_max))
        return await self._answer(request, slot)

    def answered(self, record: PublishResults | WindowPage) -> None:
        """An answer came up. Nobody may be waiting for it any more."""
        slot = self._slots.get(record.request)
        if slot is not None:
            slot.answer = record
            slot.done.set()

    def _open(self, slot: "_Slot[PublishResults] | _Slot[WindowPage]") -> int:
        if len(self._slots) >= REQUESTS_MAX:
            raise Unavailable("too many requests wait for an answer")
        request = self._next_request
        self._next_request += 1
        self._slots[request] = slot
        return request

    async def _answer(self, request: int, slot: "_Slot[Answer]") -> Answer:
        try:
            with trio.move_on_after(ANSWER_DEADLINE_S):
                await slot.done.wait()
            if slot.answer is None:
                raise Unavailable("no answer in time: the outcome is unknown")
            return slot.answer
        finally:
            del self._slots[request]
