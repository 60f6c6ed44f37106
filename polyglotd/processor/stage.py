"""What a stage of the processor is: something that makes of the log what outlives it, at a pace of its own.

`pipeline` runs stages and says how they are; `log_stage` is how all of them that write into a database read the log.
Each has its own cursor, in its own store's transaction: none waits for another.
"""

from typing import Protocol

import msgspec
import trio


class StageStats(msgspec.Struct, kw_only=True):
    """Counts since the start of the process."""

    events_total: int = 0  # that it has done
    batches_total: int = 0
    failures_total: int = 0  # writes that its store did not take, repeated or not
    set_aside_total: int = 0  # records that its store refused for good


class Stage(Protocol):
    """A service; cancelled, it goes on at its cursor when it is started again."""

    @property
    def name(self) -> str:
        """Also its reader's, in the log's `cursors/` and in metrics."""

    @property
    def position(self) -> int:
        """Everything in the log before it is done, durably."""

    @property
    def stats(self) -> StageStats: ...

    @property
    def waiting_for(self) -> str | None:
        """What it can't go on without, and why, in words for the operator; None where it goes on."""

    def lag_s(self) -> float:
        """How long the oldest event waits that it has read, or could have, and not done; 0 where none waits."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await. Raises `LogFault` where the log can't be read: nothing
        else, lest a fault of one stage ends the others."""


class Chore(Protocol):
    """Work of the processor that reads no log: retention, erasing, deliveries."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...
