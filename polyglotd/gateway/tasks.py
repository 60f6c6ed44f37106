"""Decisions that take time: a bounded number of tasks beside the record pump, which itself never waits.

A fault of ours in one of them must not end the service for everybody: it is logged, and whoever asked is answered
with `internal` by the `faulted` that came with the task.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from polyglotd.model import InternalFault

logger = logging.getLogger(__name__)

FAULT = "something went wrong here; it has been logged"
TASKS_MAX = 20_000  # each a join, a connect or a push that waits; memory is some KiB each


class Tasks:
    """`run` owns the nursery; `start` before it or beyond the bound is refused."""

    def __init__(self, tasks_max: int = TASKS_MAX) -> None:
        self._tasks_max = tasks_max
        self._nursery: trio.Nursery | None = None
        self.running = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def start(self, work: Callable[[], Awaitable[None]], faulted: Callable[[InternalFault], None]) -> bool:
        """Run `work` in a task of its own; False where too many run."""
        if self._nursery is None or self.running >= self._tasks_max:
            return False
        self.running += 1
        self._nursery.start_soon(self._run, work, faulted)
        return True

    async def _run(self, work: Callable[[], Awaitable[None]], faulted: Callable[[InternalFault], None]) -> None:
        try:
            await work()
        except Exception:
            logger.exception("a decision failed")
            faulted(InternalFault(FAULT))
        finally:
            self.running -= 1
