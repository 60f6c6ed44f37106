"""`polyglotctl kind`: what kinds of channels an app has, and their policies."""

from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, seconds
from polyglotctl.session import Session

app = typer.Typer(name="kind", help="Kinds of channels and their policies.", no_args_is_help=True)
Kind = Annotated[str, typer.Argument(metavar="KIND", help="room, ticker, match, post, or one of the app's own.")]


@app.command("list", cls=AppCommand, epilog="Example: polyglotctl kind list chat-app")
def list_(app_id: AppId, output: OutputOption = None) -> None:
    """Every kind with its policy."""
    session = Session(output)
    answer = session.call("GET", f"/admin/apps/{segment(app_id)}/kinds")
    if session.output == "json":
        session.show(answer)
    else:
        rows = [{"kind": name, **policy} for name, policy in answer["kinds"].items()]
        session.show({"kinds": rows}, rows="kinds")


@app.command("show", cls=AppCommand, epilog="Example: polyglotctl kind show chat-app room")
def show(app_id: AppId, kind: Kind, output: OutputOption = None) -> None:
    """One kind's policy."""
    session = Session(output)
    session.show(session.call("GET", f"/admin/apps/{segment(app_id)}/kinds/{segment(kind)}"))


@app.command(
    "set", cls=AppCommand, epilog="Example: polyglotctl kind set chat-app room --history-events 500 --join capability"
)
def set_(
    app_id: AppId,
    kind: Kind,
    join: Annotated[str | None, typer.Option("--join", help="any or capability.", show_default=False)] = None,
    publish: Annotated[
        str | None, typer.Option("--publish", help="any, capability or none.", show_default=False)
    ] = None,
    presence: Annotated[
        str | None, typer.Option("--presence", help="none, count or roster.", show_default=False)
    ] = None,
    presence_max: Annotated[
        int | None, typer.Option("--presence-max", help="Members up to which a roster is kept.", show_default=False)
    ] = None,
    history_events: Annotated[
        int | None, typer.Option("--history-events", help="Events kept for history.", show_default=False)
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history", metavar="TIME", help="How long: 24h, 30d.", show_default=False)
    ] = None,
    retention: Annotated[
        str | None, typer.Option("--retention", metavar="TIME", help="How long in the store.", show_default=False)
    ] = None,
    snapshot: Annotated[
        bool | None,
        typer.Option(
            "--snapshot/--no-snapshot", help="Send the newest event per type at a join.", show_default=False
        ),
    ] = None,
    overflow: Annotated[
        str | None, typer.Option("--overflow", help="queue, conflate or drop.", show_default=False)
    ] = None,
    durability: Annotated[
        str | None, typer.Option("--durability", help="logged or memory.", show_default=False)
    ] = None,
    route: Annotated[
        str | None, typer.Option("--route", help="log-first or local-first.", show_default=False)
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Drop what the app said of this kind.")] = False,
    output: OutputOption = None,
) -> None:
    """Change a kind's policy, or add a kind; fields not named stay as they are."""
    path = f"/admin/apps/{segment(app_id)}/kinds/{segment(kind)}"
    named: dict[str, object | None] = {
        "join": join,
        "publish": publish,
        "presence": presence,
        "presence_max": presence_max,
        "history_events": history_events,
        "history_s": seconds(history, "--history") if history is not None else None,
        "retention_s": seconds(retention, "--retention") if retention is not None else None,
        "snapshot": snapshot,
        "overflow": overflow,
        "durability": durability,
        "route": route,
    }
    body = {name: value for name, value in named.items() if value is not None}
    if bool(body) == reset:
        raise WrongUsage("name at least one field, for example --history-events 500, or --reset alone.")
    session = Session(output)
    if reset:
        session.call("DELETE", path)
        session.show({"kind": kind, "reset": True})
    else:
        session.show(session.call("PATCH", path, body))
