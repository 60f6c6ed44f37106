"""`polyglotctl tail`: follow a channel, or many, as it happens."""

import os
from typing import Annotated

import typer

from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId
from polyglotctl.session import Session

WHOLE_APP = "*"
_EXAMPLES = """Example: polyglotctl tail chat-app room:lobby

Example: polyglotctl tail chat-app 'room:*'"""


def register(app: typer.Typer) -> None:
    app.command("tail", cls=AppCommand, epilog=_EXAMPLES)(tail)


def tail(
    app_id: AppId,
    channel: Annotated[
        str | None,
        typer.Argument(
            metavar="CHANNEL|PATTERN",
            help="KIND:NAME, or a prefix and a *: 'room:*'. Quote it for the shell.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All channels of the app.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="CURSOR",
            help="Begin after the event that had it; see --cursors. Of one channel also EPOCH:SEQ.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.", show_default=False)
    ] = None,
    cursors: Annotated[bool, typer.Option("--cursors", help="Print {event, cursor} instead of the event.")] = False,
) -> None:
    """Print events of a channel, a pattern or the app as they come, one JSON object a line, until interrupted.

    Reconnects and resumes by itself, says so on standard error, and neither repeats nor skips an event; what could
    not be had any more is said too. Events of memory kinds (ticker, match) can be resumed for one channel alone.
    """
    import trio

    from polyglotctl.channel_tail import ChannelTail

    if channel is None and not everything and (default := os.environ.get("POLYGLOT_APP")) and ":" in app_id:
        app_id, channel = default, app_id  # the one argument was the channel
    if (channel is None) is not everything:
        raise WrongUsage(f"name a channel or a pattern, or all of the app: polyglotctl tail {app_id} --all")
    session = Session(None)
    trio.run(ChannelTail(session.server, app_id, channel or WHOLE_APP, since=since, count=count, cursors=cursors).run)
