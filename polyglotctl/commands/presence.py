"""`polyglotctl presence`: who is in a channel."""

import typer

from polyglotctl.api_path import channel_path
from polyglotctl.options import AppCommand, AppId, Channel, OutputOption
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command("presence", cls=AppCommand, epilog="Example: polyglotctl presence chat-app room:lobby")(presence)


def presence(app_id: AppId, channel: Channel, output: OutputOption = None) -> None:
    """Who is present, or how many where the channel only counts."""
    session = Session(output)
    answer = session.call("GET", f"{channel_path(app_id, channel)}/presence")
    if session.output == "json":
        session.show(answer)
    else:
        session.show({"members": [_row(user, entry) for user, entry in answer["presence"].items()]}, rows="members")


def _row(user: str, entry: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    metas = entry["metas"]
    if user == "":  # count-only: no user has the empty name
        return {"user": None, "connections": metas[0].get("count"), "info": None}
    return {"user": user, "connections": len(metas), "info": metas[-1].get("info")}
