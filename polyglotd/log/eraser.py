"""Have the segments rewritten for what was asked to be erased, soon after it was, and until it is done.

Run by `segments` as a service. Nothing waits for it: what it has not come to yet, the table hides. The work itself is
in `rewriting`, in a worker thread.
"""

import logging
from pathlib import Path

import trio

from polyglotd.log.durability import GroupSync
from polyglotd.log.erasures import Erasures
from polyglotd.log.rewriting import Work, rewrite
from polyglotd.log.segment_files import Segment
from polyglotd.log.steady import Rewrites
from polyglotd.log.writer import Writer

logger = logging.getLogger(__name__)

GATHER_S = 0.05  # who erases one event mostly erases some: each round looks through all segments
PAUSE_S = 0.5  # after each look through them
RETRY_S = 5.0


class Eraser:
    def __init__(
        self, directory: Path, erasures: Erasures, writer: Writer, sync: GroupSync, rewrites: Rewrites
    ) -> None:
        self._directory = directory
        self._erasures = erasures
        self._writer = writer
        self._sync = sync
        self._rewrites = rewrites
        self._asked = trio.Event()
        self._thread = trio.CapacityLimiter(1)
        self.records_total = 0  # that were overwritten

    def asked(self) -> None:
        """Something is to be erased."""
        self._asked.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; a round that has begun is finished first."""
        task_status.started()
        while True:
            if not self._work():
                await self._asked.wait()
            self._asked = trio.Event()
            await trio.sleep(GATHER_S)
            if self._sync.failed is not None:
                return  # the log is not written to any more; the next start goes on
            pause_s = PAUSE_S
            try:
                await self.erase()
            except OSError as error:
                logger.warning("what is to be erased stays in the event log, next try in %.0f s: %s", RETRY_S, error)
                pause_s = RETRY_S
            await trio.sleep(pause_s)

    async def erase(self) -> None:
        """Rewrite the segments for all that is asked for now. Raises OSError."""
        work = self._work()
        if not work:
            return
        segments = [Segment(s.path, s.first, s.size) for s in self._writer.segments]  # these sizes, in the thread
        done = await trio.to_thread.run_sync(
            rewrite, self._directory, segments, work, self._rewrites, limiter=self._thread
        )
        self.records_total += done
        self._erasures.rewritten(work.states, work.apps)

    def _work(self) -> Work:
        return Work(self._erasures.unwritten(), dict(self._erasures.apps))
