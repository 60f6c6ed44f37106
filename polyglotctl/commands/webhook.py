"""`polyglotctl webhook`: where an app's events are posted to, and what became of it."""

from typing import Annotated

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, Yes, confirm, seconds
from polyglotctl.session import Session

app = typer.Typer(name="webhook", help="Webhooks of an app: where events are posted to.", no_args_is_help=True)
WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="As `webhook list` shows it.")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="event.published, channel.occupied, channel.vacated, member.joined, member.left or quota.reached; "
        "repeat it. event.published where none is named.",
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", help="A pattern, room:*; repeat it. Every channel where none is named."),
]
EventTypes = Annotated[
    list[str] | None, typer.Option("--event-type", help="Of events; repeat it. Every type where none is named.")
]
Name = Annotated[str | None, typer.Option("--name", help="What it is for.", show_default=False)]


def _path(app_id: str, webhook_id: str | None = None, what: str = "") -> str:
    path = f"/admin/apps/{segment(app_id)}/webhooks"
    return path if webhook_id is None else f"{path}/{segment(webhook_id)}{what}"


@app.command(
    "add",
    cls=AppCommand,
    epilog="Example: polyglotctl webhook add chat-app https://example.com/hook --channel 'room:*'",
)
def add(
    app_id: AppId,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://HOST/PATH")],
    types: Types = None,
    channels: Channels = None,
    event_types: EventTypes = None,
    name: Name = None,
    secret: Annotated[
        str | None, typer.Option("--secret", help="One of your own: whsec_ and base64.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Add a webhook and print its secret, this once."""
    named: dict[str, object | None] = {
        "types": types,
        "channels": channels,
        "event_types": event_types,
        "name": name,
        "secret": secret,
    }
    body = {"url": url} | {key: value for key, value in named.items() if value}
    session = Session(output)
    session.show(session.call("POST", _path(app_id), body))


@app.command("list", cls=AppCommand, epilog="Example: polyglotctl webhook list chat-app")
def list_(app_id: AppId, output: OutputOption = None) -> None:
    """Webhooks, and how they do."""
    session = Session(output)
    answer = session.call("GET", _path(app_id))
    if session.output != "table":
        session.show(answer, rows="webhooks")
        return
    rows = [
        {name: one[name] for name in ("webhook_id", "url", "types", "channels", "enabled")} | (one["state"] or {})
        for one in answer["webhooks"]
    ]
    session.show({"webhooks": rows}, rows="webhooks")


@app.command("show", cls=AppCommand, epilog="Example: polyglotctl webhook show chat-app whe_8f3a")
def show(app_id: AppId, webhook_id: WebhookId, output: OutputOption = None) -> None:
    """One webhook, and how it does."""
    session = Session(output)
    session.show(session.call("GET", _path(app_id, webhook_id)))


@app.command("set", cls=AppCommand, epilog="Example: polyglotctl webhook set chat-app whe_8f3a --disable")
def set_(
    app_id: AppId,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="https://HOST/PATH", show_default=False)] = None,
    types: Types = None,
    channels: Channels = None,
    event_types: EventTypes = None,
    name: Name = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it gets anything.", show_default=False)
    ] = None,
    all_channels: Annotated[bool, typer.Option("--all-channels", help="Drop what --channel said.")] = False,
    all_event_types: Annotated[bool, typer.Option("--all-event-types", help="Drop what --event-type said.")] = False,
    output: OutputOption = None,
) -> None:
    """Change a webhook; what is not named stays as it is."""
    named: dict[str, object | None] = {
        "url": url,
        "types": types or None,
        "channels": [] if all_channels else channels or None,
        "event_types": [] if all_event_types else event_types or None,
        "name": name,
        "enabled": enabled,
    }
    body = {key: value for key, value in named.items() if value is not None}
    if not body:
        raise WrongUsage("name at least one thing to change, for example --disable.")
    session = Session(output)
    session.show(session.call("PATCH", _path(app_id, webhook_id), body))


@app.command("remove", cls=AppCommand, epilog="Example: polyglotctl webhook remove chat-app whe_8f3a --yes")
def remove(app_id: AppId, webhook_id: WebhookId, yes: Yes = False, output: OutputOption = None) -> None:
    """Remove a webhook and all that waits for it."""
    session = Session(output)
    confirm(f"Remove webhook {webhook_id} of {app_id} and all that waits for it?", yes=yes)
    session.call("DELETE", _path(app_id, webhook_id))
    session.show({"webhook_id": webhook_id, "removed": True})


@app.command("test", cls=AppCommand, epilog="Example: polyglotctl webhook test chat-app whe_8f3a")
def test(app_id: AppId, webhook_id: WebhookId, output: OutputOption = None) -> None:  # noqa: PT028
    """Send a test message and tell what came of it; exit code 1 where it was not taken."""
    session = Session(output)
    answer = session.call("POST", _path(app_id, webhook_id, "/test"), {})
    session.show(answer)
    if not answer["delivered"]:
        raise typer.Exit(1)


@app.command("deliveries", cls=AppCommand, epilog="Example: polyglotctl webhook deliveries chat-app whe_8f3a")
def deliveries(
    app_id: AppId,
    webhook_id: WebhookId,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 50,
    dead: Annotated[bool, typer.Option("--dead", help="The messages that were given up instead.")] = False,
    output: OutputOption = None,
) -> None:
    """The newest tries with status, duration and error; or the dead letters."""
    session = Session(output)
    what, rows = ("/dead-letters", "dead_letters") if dead else ("/deliveries", "deliveries")
    session.show(session.call("GET", _path(app_id, webhook_id, what), query={"limit": limit}), rows=rows)


@app.command("replay", cls=AppCommand, epilog="Example: polyglotctl webhook replay chat-app whe_8f3a --all")
def replay(
    app_id: AppId,
    webhook_id: WebhookId,
    message: Annotated[
        list[str] | None, typer.Option("--message", help="A dead letter's id; repeat it.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter, at most 1,000 at once.")] = False,
    output: OutputOption = None,
) -> None:
    """Send dead letters again, under their own ids."""
    if bool(message) == every:
        raise WrongUsage("name dead letters with --message ID (`webhook deliveries --dead` shows them), or --all.")
    session = Session(output)
    body = {} if every else {"messages": message}
    session.show(session.call("POST", _path(app_id, webhook_id, "/replay"), body))


@app.command("rotate", cls=AppCommand, epilog="Example: polyglotctl webhook rotate chat-app whe_8f3a --grace 24h")
def rotate(
    app_id: AppId,
    webhook_id: WebhookId,
    grace: Annotated[str, typer.Option("--grace", help="How long messages are signed with both secrets.")] = "24h",
    output: OutputOption = None,
) -> None:
    """Make a new secret and print it, this once; for the grace time messages are signed with both."""
    session = Session(output)
    body = {"grace_s": seconds(grace, "--grace")}
    session.show(session.call("POST", _path(app_id, webhook_id, "/rotate"), body))
