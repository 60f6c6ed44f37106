"""Analytics for people: each number with a small picture of it, then the steps in which something happened.

Called by `commands.stats`. A picture has as many columns as fit; where there are more steps, each column stands for
several of them, by their sum, or by the most of them where a sum means nothing.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from polyglotctl.printable import printable

BARS = "▁▂▃▄▅▆▇█"
PICTURE_MIN, PICTURE_MAX = 12, 72
WIDE = 110  # columns of a terminal in which steps can show every number
WIDE_ALONE = ("bytes", "latency p50", "publishers")

Point = Mapping[str, Any]
Read = Callable[[Point], float]


def _latency(name: str) -> Read:
    return lambda point: float((point.get("latency") or {}).get(name, 0.0))


def _plain(name: str) -> Read:
    return lambda point: float(point.get(name, 0))


# Name, what is read, how some steps become a column, how a number is written, whether a channel has it.
Number = tuple[str, Read, Callable[[Sequence[float]], float], Callable[[float], str], bool]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value else "-"


NUMBERS: tuple[Number, ...] = (
    ("events", _plain("events"), sum, _whole, True),
    ("bytes", _plain("bytes"), sum, _bytes, True),
    ("deliveries", _plain("deliveries"), sum, _whole, False),
    ("connections", _plain("connections_peak"), max, _whole, False),
    ("latency p50", _latency("p50_ms"), max, _ms, False),
    ("latency p99", _latency("p99_ms"), max, _ms, False),
    ("publishers", _plain("publishers"), max, _whole, True),
    ("unique users", _plain("unique_users"), max, _whole, True),
)


def sparkline(values: Sequence[float], width: int, together: Callable[[Sequence[float]], float]) -> str:
    """A column a step, or for several of them. What is not zero is never shown as nothing."""
    if len(values) > width:
        borders = [at * len(values) // width for at in range(width + 1)]
        values = [together(values[begin:end]) for begin, end in pairwise(borders)]
    most = max(values, default=0.0)
    if most <= 0:
        return " " * len(values)
    top = len(BARS) - 1
    return "".join(" " if value <= 0 else BARS[min(top, int(value / most * top + 0.5))] for value in values)


def show_stats(answer: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    of_channel = "channel" in answer
    numbers = [number for number in NUMBERS if number[4] or not of_channel]
    series, total = answer["series"], answer["total"]
    title = printable(f"{answer['app_id']} {answer.get('channel', '')}".strip())
    until = _short(answer["counted_until"]) if answer["counted_until"] else "nothing yet"
    console.print(Text(f"{title}   {_short(answer['from'])} to {_short(answer['to'])}, steps of {answer['step']}"))
    width = max(PICTURE_MIN, min(PICTURE_MAX, console.width - 32))
    summary = Table(box=None, show_header=False, pad_edge=False)
    summary.add_column(style="bold", no_wrap=True)
    summary.add_column(justify="right", no_wrap=True)
    summary.add_column(no_wrap=True, style="cyan")
    for name, read, together, write, _ in numbers:
        summary.add_row(name, write(read(total)), sparkline([read(point) for point in series], width, together))
    console.print(summary)
    busy = [point for point in series if any(read(point) for _, read, _, _, _ in numbers)]
    if busy:
        shown = [number for number in numbers if console.width >= WIDE or number[0] not in WIDE_ALONE]
        console.print(_steps(busy, shown))
    empty = len(series) - len(busy)
    print(
        f"counted until {until}" + (f"; {empty} steps without anything are left out" if empty else ""),
        file=sys.stderr,
    )


def _steps(busy: Sequence[Point], numbers: Sequence[Number]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("from", no_wrap=True)
    for name, *_ in numbers:
        table.add_column(name, justify="right")
    for point in busy:
        table.add_row(_short(point["ts"]), *(write(read(point)) for _, read, _, write, _ in numbers))
    return table


def _short(ts: str) -> str:
    """Without a fraction of a second that is none."""
    return ts.replace("T", " ").partition(".")[0] + "Z"
