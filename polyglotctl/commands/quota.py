"""`polyglotctl quota`: the limits of an app."""

from typing import Annotated, Any

import typer

from polyglotctl.api_path import segment
from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption
from polyglotctl.session import Session

app = typer.Typer(name="quota", help="Limits of an app.", no_args_is_help=True)


def _limit(name: str, help_: str) -> Any:
    return typer.Option(f"--{name}", metavar="N", help=help_, show_default=False)


Limit = str | None

USED = {
    "connections": "connections",
    "channels": "channels",
    "events_per_month": "events",
    "stored_bytes": "stored_bytes",
}
"""Limits to what `usage` calls what is used of them."""


@app.command("show", cls=AppCommand, epilog="Example: polyglotctl quota show chat-app")
def show(app_id: AppId, output: OutputOption = None) -> None:
    """Every limit, its default, and what is used of it now or in this month."""
    session = Session(output)
    with session.http() as client:
        answer = client.call("GET", f"/admin/apps/{segment(app_id)}/quota")
        usage = client.call("GET", f"/apps/{segment(app_id)}/usage")
    answer["used"] = {limit: usage[name] for limit, name in USED.items()}
    if session.output == "table":
        _table(session, answer)
    else:
        session.show(answer)


def _table(session: Session, answer: dict[str, dict[str, object]]) -> None:
    rows = [
        {
            "limit": name.replace("_", "-"),
            "value": _amount(value),
            "default": _amount(answer["defaults"].get(name)),
            "used": answer.get("used", {}).get(name, ""),
        }
        for name, value in answer["limits"].items()
    ]
    session.show({"limits": rows}, rows="limits")


def _amount(limit: object) -> object:
    return "unlimited" if limit is None else limit


@app.command("set", cls=AppCommand, epilog="Example: polyglotctl quota set chat-app --connections 50000")
def set_(
    app_id: AppId,
    connections: Annotated[Limit, _limit("connections", "Connections at once.")] = None,
    connects_per_second: Annotated[Limit, _limit("connects-per-second", "New connections a second.")] = None,
    channels_per_connection: Annotated[Limit, _limit("channels-per-connection", "Channels per connection.")] = None,
    joins_per_second: Annotated[Limit, _limit("joins-per-second", "Joins a second per connection.")] = None,
    publishes_per_connection: Annotated[
        Limit, _limit("publishes-per-connection", "Client publishes and signals a second per connection.")
    ] = None,
    publishes_per_app: Annotated[
        Limit, _limit("publishes-per-app", "Client publishes and signals a second in all.")
    ] = None,
    api_publishes: Annotated[Limit, _limit("api-publishes", "Events a second over HTTP.")] = None,
    payload_bytes: Annotated[Limit, _limit("payload-bytes", "Bytes of one event's data.")] = None,
    channels: Annotated[Limit, _limit("channels", "Channels with state.")] = None,
    types_per_ticker: Annotated[Limit, _limit("types-per-ticker", "Types kept for a snapshot.")] = None,
    events_per_month: Annotated[Limit, _limit("events-per-month", "Events a month (UTC), of all kinds.")] = None,
    stored_bytes: Annotated[Limit, _limit("stored-bytes", "Bytes of data in the store.")] = None,
    output: OutputOption = None,
) -> None:
    """Change limits; those not named stay as they are. `default` as N puts a limit's default back."""
    named: dict[str, str | None] = {
        "connections": connections,
        "connects_per_second": connects_per_second,
        "channels_per_connection": channels_per_connection,
        "joins_per_second": joins_per_second,
        "publishes_per_connection": publishes_per_connection,
        "publishes_per_app": publishes_per_app,
        "api_publishes": api_publishes,
        "payload_bytes": payload_bytes,
        "channels": channels,
        "types_per_ticker": types_per_ticker,
        "events_per_month": events_per_month,
        "stored_bytes": stored_bytes,
    }
    body = {name: _number(value, name) for name, value in named.items() if value is not None}
    if not body:
        raise WrongUsage("name at least one limit, for example --connections 50000.")
    session = Session(output)
    answer = session.call("PATCH", f"/admin/apps/{segment(app_id)}/quota", body)
    if session.output == "table":
        _table(session, answer)
    else:
        session.show(answer)


def _number(text: str, name: str) -> int | None:
    if text == "default":
        return None
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise WrongUsage(f"--{name.replace('_', '-')} {text}: a limit is a whole number, or `default`.") from None
