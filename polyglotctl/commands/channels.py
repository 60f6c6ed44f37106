"""`polyglotctl channels`: which channels of an app are occupied."""

from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.options import AppCommand, AppId, OutputOption
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command("channels", cls=AppCommand, epilog="Example: polyglotctl channels chat-app --prefix room:")(channels)


def channels(
    app_id: AppId,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Only names that begin so.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Occupied channels with their number of members."""
    session = Session(output)
    found: list[object] = []
    cursor: str | None = None
    with session.http() as client:
        while True:
            page = client.call("GET", f"/apps/{segment(app_id)}/channels", query={"prefix": prefix, "cursor": cursor})
            found.extend(page["channels"])
            cursor = page.get("cursor")
            if cursor is None:
                break
    session.show({"channels": found}, rows="channels")
