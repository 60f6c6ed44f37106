"""`polyglotctl history`: what was published in a channel."""

from typing import Annotated

import typer

from polyglotctl.api_path import channel_path
from polyglotctl.options import AppCommand, AppId, Channel, OutputOption
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command("history", cls=AppCommand, epilog="Example: polyglotctl history chat-app room:lobby --limit 20")(
        history
    )


def history(
    app_id: AppId,
    channel: Channel,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many events.")] = 100,
    before: Annotated[int | None, typer.Option("--before", metavar="SEQ", show_default=False)] = None,
    after: Annotated[int | None, typer.Option("--after", metavar="SEQ", show_default=False)] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only events of this type.", show_default=False)] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="RFC 3339: 2026-11-23T08:00:00Z.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", show_default=False)] = None,
    output: OutputOption = None,
) -> None:
    """Events of a channel in seq order: the newest, or with --after the oldest that follow."""
    session = Session(output)
    query = {"limit": limit, "before": before, "after": after, "type": type_, "from": from_, "to": to}
    answer = session.call("GET", f"{channel_path(app_id, channel)}/history", query=query)
    if session.output == "table":
        rows = [
            {
                "seq": event["seq"],
                "time": event["meta"]["ts"],
                "user": event["meta"]["user_id"],
                "type": event["type"],
                "data": event["data"],
            }
            for event in answer["events"]
        ]
        session.show({"events": rows}, rows="events")
    else:
        session.show(answer, rows="events")
