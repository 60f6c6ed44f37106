"""`polyglotctl tail`: follow a channel as it happens."""

from typing import Annotated

import typer

from polyglotctl.options import AppCommand, AppId, Channel
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command("tail", cls=AppCommand, epilog="Example: polyglotctl tail chat-app room:lobby")(tail)


def tail(
    app_id: AppId,
    channel: Channel,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="EPOCH:SEQ", help="Begin after this event; see --cursors.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.", show_default=False)
    ] = None,
    cursors: Annotated[bool, typer.Option("--cursors", help="Print {event, cursor} instead of the event.")] = False,
) -> None:
    """Print a channel's events, one JSON object a line, until interrupted.

    Reconnects and resumes by itself, says so on standard error, and neither repeats nor skips an event; what could
    not be had any more is said too.
    """
    import trio

    from polyglotctl.channel_tail import ChannelTail

    session = Session(None)
    trio.run(ChannelTail(session.server, app_id, channel, since=since, count=count, cursors=cursors).run)
