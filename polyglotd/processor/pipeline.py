"""The processor: everything that reads the log and writes stores. In the gateway's process, or in its own.

The daemon runs one per data directory. Its stages and chores are tasks of one nursery, and none waits for another: a
stage that lags or can't go on holds up the log's end, and nothing else.
"""

from collections.abc import Mapping, Sequence

import msgspec
import trio

from polyglotd.processor.feed import Feed
from polyglotd.processor.retention import Retention
from polyglotd.processor.stage import Chore, Stage
from polyglotd.processor.webhooks.deliveries import Deliveries
from polyglotd.processor.webhooks.delivery_counts import DeliveriesHealth


class StageHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` and the metrics say of a stage. Totals count since its process started."""

    position: int
    events_total: int
    failures_total: int
    set_aside_total: int
    lag_events: int  # about: exact where another stage is further on
    lag_bytes: int  # of the log
    lag_s: float  # how long the oldest event waits that is read and not done
    waiting_for: str | None  # what it can't go on without


class ProcessorHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` and the metrics say of the processor."""

    stages: Mapping[str, StageHealth]
    pruned_total: int
    deliveries: DeliveriesHealth | None = None  # of a release that did not say so


class Processor:
    """`chores`: beside retention and deliveries, whose counts are shown."""

    def __init__(
        self,
        feed: Feed,
        stages: Sequence[Stage],
        retention: Retention,
        deliveries: Deliveries,
        chores: Sequence[Chore],
    ) -> None:
        self._feed = feed
        self._stages = stages
        self._retention = retention
        self._deliveries = deliveries
        self._chores: Sequence[Chore] = (retention, deliveries, *chores)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, which is safe at any await. Raises `LogFault` in a group."""
        async with trio.open_nursery() as processor:
            for service in (*self._stages, *self._chores):
                await processor.start(service.run)
            task_status.started()

    async def caught_up(self, position: int) -> None:
        """Return when every stage has done everything before `position`; for a drain, under the caller's deadline."""
        self._feed.hurry.set()
        while any(stage.position < position for stage in self._stages):
            await trio.sleep(0.02)

    def health(self) -> ProcessorHealth:
        """A snapshot."""
        return ProcessorHealth(
            stages={stage.name: self._health(stage) for stage in self._stages},
            pruned_total=self._retention.deleted_total,
            deliveries=self._deliveries.health(),
        )

    def _health(self, stage: Stage) -> StageHealth:
        end = max(self._feed.end, stage.position)
        return StageHealth(
            position=stage.position,
            events_total=stage.stats.events_total,
            failures_total=stage.stats.failures_total,
            set_aside_total=stage.stats.set_aside_total,
            lag_events=self._feed.counts.between(stage.position, end),
            lag_bytes=end - stage.position,
            lag_s=stage.lag_s(),
            waiting_for=stage.waiting_for,
        )
