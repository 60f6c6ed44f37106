"""What the log's owner does beside appending: cursors in and out, checkpoints, removal, the alert at half.

Run by `segments.open_segments` as a service. Nothing here is on the path of an append, and nothing is urgent: it
looks four times a second, and once a second where nothing moves. A segment goes when every reader has let it go, no
publisher's own id in it is within the dedupe window, and a checkpoint says where its channels stand.
"""

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import trio

from polyglotd.log.channel_table import ChannelTable
from polyglotd.log.checkpoint import write_checkpoint
from polyglotd.log.cursors import read_cursors, write_cursor
from polyglotd.log.durability import GroupSync
from polyglotd.log.interface import STORE_READER
from polyglotd.log.opening import DEDUPE_WINDOW_US
from polyglotd.log.segment_files import Segment
from polyglotd.log.writer import Writer
from polyglotd.model import Unavailable

logger = logging.getLogger(__name__)

TICK_S = 0.25
SLOW_TICKS = 4  # once a second: our readers' cursor files, and marks of time
RETRY_TICKS = 20  # after a file could not be read or written
ALERT_OVER, ALERT_BELOW = 0.5, 0.4  # of bytes_max: said once, until it was well below again


class Cursors:
    """How far each reader has let the log go, and so how far all have."""

    def __init__(self, known: dict[str, int]) -> None:
        self.positions = dict(known)
        self.own: set[str] = set()  # readers in this process; the others are known by their files

    def floor(self, default: int) -> int:
        """Every reader has let go what is before it; `default` where there is no reader."""
        return min(self.positions.values(), default=default)

    def set_others(self, positions: dict[str, int]) -> None:
        self.positions = {n: p for n, p in self.positions.items() if n in self.own} | {
            n: p for n, p in positions.items() if n not in self.own
        }


class Upkeep:
    def __init__(
        self,
        directory: Path,
        log_id: str,
        table: ChannelTable,
        writer: Writer,
        sync: GroupSync,
        cursors: Cursors,
        *,
        checkpoint: int,
        bytes_max: int,
        clock: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._log_id = log_id
        self._table = table
        self._writer = writer
        self._sync = sync
        self._cursors = cursors
        self._checkpoint = checkpoint  # position of the last one
        self._bytes_max = bytes_max
        self._clock = clock
        self._thread = trio.CapacityLimiter(1)
        self._written: dict[str, int] = {}  # what our readers' cursor files say
        self._moments: deque[tuple[int, int]] = deque()  # (when, the log's end then), within the dedupe window
        self._not_before_tick = 0
        self._alerted = False
        self.cursors_moved()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await."""
        task_status.started()
        tick = 0
        seen = (-1, -1)
        while True:
            now = (self._writer.end, self._floor())
            ticks = SLOW_TICKS - tick % SLOW_TICKS if now == seen else 1
            seen = now
            await trio.sleep(ticks * TICK_S)
            tick += ticks
            if self._sync.failed is not None or tick < self._not_before_tick:
                continue
            try:
                await self._read_cursors()
                if tick % SLOW_TICKS == 0:
                    await self._write_cursors()
                    self._forget_old_ids()
                self._alert()
                await self._tidy()
            except (OSError, Unavailable) as error:
                logger.warning("upkeep of the event log failed, next try in %.0f s: %s", RETRY_TICKS * TICK_S, error)
                self._not_before_tick = tick + RETRY_TICKS

    async def write_checkpoint(self) -> None:
        """Raises OSError, or `Unavailable` where the log has failed."""
        position = self._writer.known
        await self._sync.reach(position)
        await trio.to_thread.run_sync(
            write_checkpoint, self._directory, self._log_id, position, self._table, limiter=self._thread
        )
        self._checkpoint = position

    async def close(self) -> None:
        """The last checkpoint and cursors, and all is durable. Raises as `write_checkpoint`."""
        await self._sync.reach(self._writer.end)
        await self.write_checkpoint()
        await self._write_cursors()

    def cursors_moved(self) -> None:
        """Events may go on to `bytes_max` beyond what every reader has let go, and the store has some more."""
        self._writer.limit = self._floor() + self._bytes_max
        self._table.trim(self._cursors.positions.get(STORE_READER, 0))

    def unread_bytes(self) -> int:
        return self._writer.end - self._floor()

    def _floor(self) -> int:
        first = self._writer.segments[0].first
        return max(first, self._cursors.floor(first))

    async def _read_cursors(self) -> None:
        if self.unread_bytes() == 0 and len(self._writer.segments) == 1:
            return  # nothing to let go
        others = await trio.to_thread.run_sync(self._others, limiter=self._thread)
        self._cursors.set_others(others)
        self.cursors_moved()

    def _others(self) -> dict[str, int]:
        return read_cursors(self._directory, self._log_id, but=tuple(self._cursors.own))

    async def _write_cursors(self) -> None:
        for name in sorted(self._cursors.own):
            position = self._cursors.positions[name]
            if self._written.get(name) != position:
                await trio.to_thread.run_sync(
                    write_cursor, self._directory, name, self._log_id, position, limiter=self._thread
                )
                self._written[name] = position

    def _forget_old_ids(self) -> None:
        now, end = self._clock(), self._writer.end
        if not self._moments or self._moments[-1][1] != end:
            self._moments.append((now, end))
        floor = 0
        while self._moments and self._moments[0][0] < now - DEDUPE_WINDOW_US:
            floor = self._moments.popleft()[1]
        if floor:
            self._table.trim_ids(floor)

    def _alert(self) -> None:
        used = self.unread_bytes() / self._bytes_max
        if used >= ALERT_OVER and not self._alerted:
            self._alerted = True
            logger.warning(
                "the event log holds %d bytes that %s has not read yet, %.0f %% of [log] bytes_max; "
                "at 100 %% events are refused",
                self.unread_bytes(),
                min(self._cursors.positions, key=lambda name: self._cursors.positions[name], default="no reader"),
                used * 100,
                extra={"unread_bytes": self.unread_bytes(), "bytes_max": self._bytes_max},
            )
        elif used < ALERT_BELOW:
            self._alerted = False

    async def _tidy(self) -> None:
        """A checkpoint for each segment that became full; then remove what nobody needs."""
        removable = self._removable()
        full = min(self._writer.segments[-1].first, self._writer.known)
        if full > self._checkpoint or (removable and removable[-1].end > self._checkpoint):
            await self.write_checkpoint()
            removable = self._removable()
        if removable:
            del self._writer.segments[: len(removable)]  # nobody looks there any more
            await trio.to_thread.run_sync(_unlink, removable, limiter=self._thread)

    def _removable(self) -> list[Segment]:
        floor = min(self._cursors.floor(0), self._writer.known)
        ids_since = self._clock() - DEDUPE_WINDOW_US
        removable = []
        for segment in self._writer.segments[:-1]:
            if segment.end > floor or segment.ids_until_us >= ids_since:
                break
            removable.append(segment)
        return removable


def _unlink(segments: list[Segment]) -> None:
    """What can't be removed now is found by the next start, which tries again."""
    for segment in segments:
        segment.path.unlink(missing_ok=True)
