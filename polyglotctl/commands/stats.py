"""`polyglotctl stats`: what an app or a channel did, step by step."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, seconds
from polyglotctl.render import Output
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command(
        "stats", cls=AppCommand, epilog="Example: polyglotctl stats chat-app --from 24h --step 15m --plot day.png"
    )(stats)


def stats(
    app_id: AppId,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="RFC 3339, or how long ago: 24h. The last hour without it.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="As --from; now.", show_default=False)
    ] = None,
    step: Annotated[
        str | None,
        typer.Option("--step", help="second, minute, hour, day, week, month, or as 15m.", show_default=False),
    ] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", help="This channel alone, of a logged kind.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw it as well.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Events, deliveries, connections, latency and users of an app over time; --channel for one channel."""
    session = Session(output)
    if plot is not None:
        from polyglotctl.stats_plot import check_can_plot

        check_can_plot(plot)
    query = {"from": _time(from_, "--from"), "to": _time(to, "--to"), "step": step, "channel": channel}
    answer = session.call("GET", f"/apps/{segment(app_id)}/analytics", query=query)
    if plot is not None:
        from polyglotctl.stats_plot import draw

        draw(answer, plot)
    if session.output is Output.TABLE:
        from polyglotctl.stats_table import show_stats

        show_stats(answer)
    else:
        session.show(answer, rows="series")


def _time(text: str | None, option: str) -> str | None:
    """As the server takes it: a time, or seconds since 1970."""
    if text is None or "T" in text or " " in text or text.isdigit():
        return text
    try:
        return datetime.fromtimestamp(time.time() - seconds(text, option), UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, WrongUsage):
        raise WrongUsage(f"{option} {text}: a time as 2026-11-23T08:00:00Z, or how long ago, as 24h.") from None
