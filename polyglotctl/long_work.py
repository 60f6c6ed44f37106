"""What long work shows while it runs, and says when somebody interrupts it. On standard error only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from polyglotctl.failure import CommandFailed
from polyglotctl.printable import printable


@contextmanager
def shown_progress(what: str, total: float | None = None) -> Iterator[Callable[[float, int], None]]:
    """A bar where standard error is a terminal. Give it how much of `total` is done, and how many events."""
    if not sys.stderr.isatty():
        yield lambda _done, _events: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.fields[events]:,} events"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, events=0)
        yield lambda done, events: progress.update(task, completed=done, events=events)


@contextmanager
def saying_how_to_go_on(how: Callable[[], str]) -> Iterator[None]:
    """Where the work is interrupted or fails, say what of it is done, if anything is."""
    try:
        yield
    except (KeyboardInterrupt, CommandFailed):
        if text := how():
            print(f"polyglotctl: {printable(text)}", file=sys.stderr)
        raise
