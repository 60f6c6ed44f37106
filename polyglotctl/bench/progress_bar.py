"""What is going on, on standard error, where somebody looks at it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from polyglotctl.bench.plan import Connect, Plan, Progress, Publish


@contextmanager
def shown_progress(plan: Plan) -> Iterator[Callable[[Progress], None]]:
    """Gives what `run_plan` reports to. Without a terminal it says nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[int, TaskID] = {}
        rates = _Rates()

        def show(progress: Progress) -> None:
            if progress.step not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=bars.tasks[task].total)
                description, total = _described(plan, progress)
                tasks[progress.step] = bars.add_task(description, total=total, said="")
            step = plan.steps[progress.step]
            done: float = progress.joined if isinstance(step, Connect) else progress.elapsed_s
            bars.update(tasks[progress.step], completed=done, said=rates.said(plan, progress))

        yield show


def _described(plan: Plan, progress: Progress) -> tuple[str, float]:
    step = plan.steps[progress.step]
    if isinstance(step, Connect):
        before = sum(one.rooms * one.members for one in plan.steps[: progress.step] if isinstance(one, Connect))
        return "joining", before + step.rooms * step.members
    return ("publishing" if isinstance(step, Publish) else "idling"), progress.total_s


class _Rates:
    """Counts as rates since a moment ago."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._before: Progress | None = None
        self._said = ""

    def said(self, plan: Plan, progress: Progress) -> str:
        now = time.monotonic()
        before, elapsed = self._before, now - self._at
        if before is not None and elapsed < 0.4:  # faster than people read
            return self._said
        self._before, self._at = progress, now
        if isinstance(plan.steps[progress.step], Connect):
            self._said = f"{progress.joined:,} joined"
        elif before is not None and before.step == progress.step:
            acknowledged = (progress.acknowledged - before.acknowledged) / elapsed
            delivered = (progress.delivered - before.delivered) / elapsed
            self._said = f"{acknowledged:,.0f} publishes/s, {delivered:,.0f} deliveries/s"
        return self._said
