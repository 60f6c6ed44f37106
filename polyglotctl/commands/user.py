"""`polyglotctl user`: act on a user's connections."""

from typing import Annotated

import typer

from polyglotctl.api_path import channel_path, segment
from polyglotctl.options import AppCommand, AppId, Channel, OutputOption, User, Yes, confirm, json_value
from polyglotctl.session import Session

app = typer.Typer(name="user", help="Users of an app.", no_args_is_help=True)


@app.command(
    "signal", cls=AppCommand, epilog="""Example: polyglotctl user signal chat-app alice room:lobby --type nudge"""
)
def signal(
    app_id: AppId,
    user: User,
    channel: Channel,
    type_: Annotated[str, typer.Option("--type", help="The signal's type.")],
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="Its data.")] = "null",
    output: OutputOption = None,
) -> None:
    """Send a signal to each device of the user that joined the channel."""
    session = Session(output)
    body = {"channel": channel, "type": type_, "data": json_value(data, "--data")}
    session.show(session.call("POST", f"/apps/{segment(app_id)}/users/{segment(user)}/signal", body))


@app.command("kick", cls=AppCommand, epilog="Example: polyglotctl user kick chat-app alice room:lobby")
def kick(app_id: AppId, user: User, channel: Channel, output: OutputOption = None) -> None:
    """End the user's subscriptions to a channel. It may join again."""
    session = Session(output)
    session.show(session.call("POST", f"{channel_path(app_id, channel)}/kick", {"user": user}))


@app.command("disconnect", cls=AppCommand, epilog="Example: polyglotctl user disconnect chat-app alice")
def disconnect(app_id: AppId, user: User, output: OutputOption = None) -> None:
    """Close all connections of the user. It may connect again."""
    session = Session(output)
    session.show(session.call("POST", f"/apps/{segment(app_id)}/users/{segment(user)}/disconnect", {}))


@app.command("revoke", cls=AppCommand, epilog="Example: polyglotctl user revoke chat-app alice --yes")
def revoke(app_id: AppId, user: User, yes: Yes = False, output: OutputOption = None) -> None:
    """Make every token that the user has now invalid, and close its connections."""
    session = Session(output)
    confirm(f"Revoke every token that {user} of {app_id} has now?", yes=yes)
    session.show(session.call("POST", f"/apps/{segment(app_id)}/users/{segment(user)}/revoke", {}))
