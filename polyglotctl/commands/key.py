"""`polyglotctl key`: the API keys of an app."""

from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.options import AppCommand, AppId, OutputOption, Yes, confirm, seconds
from polyglotctl.session import Session

app = typer.Typer(name="key", help="API keys of an app. A key is shown once.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `key list` shows it; not the key itself.")]


@app.command("create", cls=AppCommand, epilog="Example: polyglotctl key create chat-app --scope publish --name feed")
def create(
    app_id: AppId,
    name: Annotated[str | None, typer.Option("--name", help="What it is for.", show_default=False)] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="publish, read, presence or admin:app; repeat it. All where none is named."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Create a key and print it, this once."""
    body: dict[str, object] = {}
    if name is not None:
        body["name"] = name
    if scope:
        body["scopes"] = scope
    session = Session(output)
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/keys", body))


@app.command("list", cls=AppCommand, epilog="Example: polyglotctl key list chat-app")
def list_(app_id: AppId, output: OutputOption = None) -> None:
    """Keys with their scopes, newest first; revoked and expired ones too."""
    session = Session(output)
    session.show(session.call("GET", f"/admin/apps/{segment(app_id)}/keys"), rows="keys")


@app.command("rotate", cls=AppCommand, epilog="Example: polyglotctl key rotate chat-app key_8f3a --grace 24h")
def rotate(
    app_id: AppId,
    key_id: KeyId,
    grace: Annotated[
        str, typer.Option("--grace", help="How long the old key stays valid beside the new one.")
    ] = "24h",
    output: OutputOption = None,
) -> None:
    """Create a key with the same scopes; the old one stays valid for the grace time."""
    session = Session(output)
    body = {"grace_s": seconds(grace, "--grace")}
    session.show(session.call("POST", f"/admin/apps/{segment(app_id)}/keys/{segment(key_id)}/rotate", body))


@app.command("revoke", cls=AppCommand, epilog="Example: polyglotctl key revoke chat-app key_8f3a --yes")
def revoke(app_id: AppId, key_id: KeyId, yes: Yes = False, output: OutputOption = None) -> None:
    """Make a key invalid at once, and close what was opened with it."""
    session = Session(output)
    confirm(f"Revoke key {key_id} of {app_id}?", yes=yes)
    session.call("DELETE", f"/admin/apps/{segment(app_id)}/keys/{segment(key_id)}")
    session.show({"key_id": key_id, "revoked": True})
