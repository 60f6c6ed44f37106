"""`polyglotctl publish`: one event, or a stream of them from standard input or a file."""

import sys
from typing import Annotated

import typer

from polyglotctl.failure import WrongUsage
from polyglotctl.options import AppCommand, AppId, OutputOption, json_value
from polyglotctl.session import Session

_EXAMPLES = """Example: polyglotctl publish chat-app room:lobby --type message --data '{"text": "Hello"}'

Example: polyglotctl publish chat-app ticker:BTC --type price --file prices.ndjson --rate 100"""


def register(app: typer.Typer) -> None:
    app.command("publish", cls=AppCommand, epilog=_EXAMPLES)(publish)


def publish(
    app_id: AppId,
    channel: Annotated[
        str | None,
        typer.Argument(metavar="[CHANNEL]", help="KIND:NAME. May be left out where every line names its own."),
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="The type, of lines that name none too.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="JSON", help="One event's data; - reads it from standard input.", show_default=False
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", help="The event's id: repeated within 5 minutes, it is delivered once.", show_default=False
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Publish in the name of this user.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="F.ndjson",
            help='A line an event: {"channel"?, "type"?, "data", "id"?}; - is standard input, which is also read'
            " where neither --data nor --file is given and it is no terminal.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.001, help="Events a second, at most.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Publish one event, or many."""
    session = Session(output)
    if data is not None and file is not None:
        raise WrongUsage("--data is one event, --file is many: give one of them.")
    if data is None and file is None and not sys.stdin.isatty():
        file = "-"
    if file is not None:
        from polyglotctl.bulk_publish import publish_lines

        if id_ is not None:
            raise WrongUsage("--id is for one event. Lines carry their own `id`.")
        session.show(publish_lines(session, app_id, file, channel=channel, type_=type_, user=user, rate=rate))
        return
    if channel is None or type_ is None or data is None:
        raise WrongUsage(
            "name the channel, --type and --data: polyglotctl publish chat-app room:lobby --type message"
            """ --data '{"text": "Hello"}'"""
        )
    text = sys.stdin.read() if data == "-" else data
    json_value(text, "--data")  # refused here with a hint; what is sent is the text as it was typed
    session.show(_publish_one(session, app_id, channel, type_, text, id_, user))


def _publish_one(
    session: Session, app_id: str, channel: str, type_: str, data: str, id_: str | None, user: str | None
) -> object:
    import json

    from polyglotctl.api_path import channel_path

    id_member = "" if id_ is None else f', "id": {json.dumps(id_)}'
    body = f'{{"type": {json.dumps(type_)}, "data": {data}{id_member}}}'
    with session.http() as client:
        return client.call(
            "POST", f"{channel_path(app_id, channel)}/publish", content=body.encode(errors="surrogatepass"), user=user
        )
