"""`polyglotctl tenant`: the apps that this server serves."""

import time
from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.options import AppCommand, AppId, OutputOption, Yes, confirm
from polyglotctl.session import Session

LOOK_EVERY_S = 0.5

app = typer.Typer(name="tenant", help="Apps: the customers of this server.", no_args_is_help=True)
Name = Annotated[str | None, typer.Option("--name", help="A name for people.", show_default=False)]


@app.command("create", cls=AppCommand, epilog="Example: polyglotctl tenant create chat-app --name 'Chat'")
def create(app_id: AppId, name: Name = None, output: OutputOption = None) -> None:
    """Create an app and print, once, all that its owner needs: app id, first API key, first signing secret."""
    session = Session(output)
    session.show(session.call("POST", "/admin/apps", {"app_id": app_id} | ({"name": name} if name else {})))


@app.command("list", epilog="Example: polyglotctl tenant list --output ndjson")
def list_(output: OutputOption = None) -> None:
    """All apps."""
    session = Session(output)
    apps: list[object] = []
    cursor: str | None = None
    with session.http() as client:
        while True:
            page = client.call("GET", "/admin/apps", query={"cursor": cursor, "limit": 500})
            apps.extend(_summary(item) if session.output == "table" else item for item in page["apps"])
            cursor = page["cursor"]
            if cursor is None:
                break
    session.show({"apps": apps}, rows="apps")


def _summary(item: dict[str, object]) -> dict[str, object]:
    return {name: item[name] for name in ("app_id", "name", "suspended", "created")}


@app.command("show", cls=AppCommand, epilog="Example: polyglotctl tenant show chat-app")
def show(app_id: AppId, output: OutputOption = None) -> None:
    """One app with its limits, its kinds and what it uses."""
    session = Session(output)
    with session.http() as client:
        answer = client.call("GET", f"/admin/apps/{segment(app_id)}")
        answer["usage"] = client.call("GET", f"/apps/{segment(app_id)}/usage")
    session.show(answer)


@app.command("set", cls=AppCommand, epilog="Example: polyglotctl tenant set chat-app --name 'Chat, EU'")
def set_(
    app_id: AppId,
    name: Annotated[str, typer.Option("--name", help="A name for people.")],
    output: OutputOption = None,
) -> None:
    """Change what is said of an app."""
    session = Session(output)
    session.show(session.call("PATCH", f"/admin/apps/{segment(app_id)}", {"name": name}))


@app.command("suspend", cls=AppCommand, epilog="Example: polyglotctl tenant suspend chat-app --yes")
def suspend(app_id: AppId, yes: Yes = False, output: OutputOption = None) -> None:
    """Refuse the app everything, and close its connections, until it is resumed. Nothing is deleted."""
    session = Session(output)
    confirm(f"Suspend {app_id} and close all its connections?", yes=yes)
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/suspend"))


@app.command("resume", cls=AppCommand, epilog="Example: polyglotctl tenant resume chat-app")
def resume(app_id: AppId, output: OutputOption = None) -> None:
    """Let a suspended app go on."""
    session = Session(output)
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/resume"))


@app.command("delete", cls=AppCommand, epilog="Example: polyglotctl tenant delete chat-app --yes")
def delete(
    app_id: AppId,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing of it is left in log and stores.")] = False,
    yes: Yes = False,
    output: OutputOption = None,
) -> None:
    """Delete an app with its keys, secrets and history. This can't be undone."""
    session = Session(output)
    confirm(f"Delete {app_id} with its keys, secrets and history? This can't be undone.", yes=yes)
    with session.http() as client:
        client.call("DELETE", f"/admin/apps/{segment(app_id)}")
        while wait and any(one["app_id"] == app_id for one in client.call("GET", "/admin/erasures")["apps"]):
            time.sleep(LOOK_EVERY_S)
    session.show({"app_id": app_id, "deleted": True})
