"""Analytics as a picture: a PNG with a panel for each question. Called by `commands.stats` for `--plot`.

matplotlib is loaded for it alone, and need not be installed otherwise.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polyglotctl.failure import WrongUsage
from polyglotctl.printable import printable

INSTALL = "pip install 'polyglot-realtime[plot]'"
BLUE, ORANGE, GREEN, GREY = "#3b6fb6", "#d9822b", "#3f9a62", "#9aa5b1"


def check_can_plot(path: Path) -> None:
    """Before the server is asked. Raises WrongUsage."""
    if path.suffix.lower() != ".png":
        raise WrongUsage(f"--plot {path}: name a file that ends in .png.")
    if not path.absolute().parent.is_dir():
        raise WrongUsage(f"--plot {path}: there is no directory {path.absolute().parent}.")
    if find_spec("matplotlib") is None:
        raise WrongUsage(f"--plot needs matplotlib, which is not installed: {INSTALL}")


def draw(answer: Mapping[str, Any], path: Path) -> None:
    """Raises WrongUsage where the file can't be written."""
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times: Any = dates  # it has no types

    series = answer["series"]
    edges = [_time(point["ts"]) for point in series] + [_time(answer["to"])]
    of_channel = "channel" in answer
    panels = 2 if of_channel else 4
    figure = Figure(figsize=(10, 1.2 + 1.9 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Any] = figure.subplots(panels, 1, sharex=True)
    _steps(axes[0], edges, series, "events", BLUE, fill=True)
    _label(axes[0], "events")
    if not of_channel:
        _steps(axes[1], edges, series, "deliveries", GREEN, fill=True)
        _label(axes[1], "deliveries")
        _latency(axes[2], edges, series)
        _steps(axes[3], edges, series, "connections_peak", GREY, name="connections, most")
    users = axes[-1]
    _steps(users, edges, series, "publishers", ORANGE)
    _steps(users, edges, series, "unique_users", BLUE, name="unique users")
    users.legend(loc="upper left", frameon=False, fontsize=8)
    _label(users, "users" if of_channel else "users, connections")
    locator = times.AutoDateLocator()
    users.xaxis.set_major_locator(locator)
    users.xaxis.set_major_formatter(times.ConciseDateFormatter(locator))
    users.set_xlim(edges[0], edges[-1])
    what = " ".join(filter(None, (answer["app_id"], answer.get("channel"))))
    figure.suptitle(f"{printable(what)}, steps of {answer['step']} (UTC)".replace("$", r"\$"), fontsize=11)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise WrongUsage(f"--plot {path}: {error.strerror or error}") from error


def _time(ts: str) -> datetime:
    return datetime.fromisoformat(ts.replace("Z", "+00:00")).replace(tzinfo=None)


def _steps(
    axis: Any,
    edges: Sequence[datetime],
    series: Sequence[Mapping[str, Any]],
    member: str,
    color: str,
    *,
    name: str = "",
    fill: bool = False,
) -> None:
    values = [point[member] for point in series]
    axis.stairs(values, edges, color=color, fill=fill, alpha=0.8 if fill else 1.0, label=name or member)


def _latency(axis: Any, edges: Sequence[datetime], series: Sequence[Mapping[str, Any]]) -> None:
    """Steps without a delivery have a gap: nothing is not fast."""
    for member, color in (("p50_ms", BLUE), ("p99_ms", ORANGE)):
        values = [point["latency"][member] if point["latency"] else float("nan") for point in series]
        axis.stairs(values, edges, color=color, baseline=None, label=member.removesuffix("_ms"))
    axis.legend(loc="upper left", frameon=False, fontsize=8)
    _label(axis, "latency, ms")


def _label(axis: Any, text: str) -> None:
    axis.set_ylabel(text, fontsize=9)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
