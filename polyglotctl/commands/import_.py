"""`polyglotctl import`: events of a file into an app."""

from typing import Annotated

import typer

from polyglotctl.options import AppCommand, AppId, OutputOption
from polyglotctl.session import Session


def register(app: typer.Typer) -> None:
    app.command("import", cls=AppCommand, epilog="Example: polyglotctl import chat-app chat-app.ndjson")(import_)


def import_(
    app_id: AppId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="NDJSON or Parquet of `export`; - is standard input.")],
    output: OutputOption = None,
) -> None:
    """Bring exported events into channels that have no past in this app: ids, users, times and data stay.

    Nothing comes twice: run it again where it was interrupted.
    """
    from polyglotctl.event_import import import_events

    session = Session(output)
    session.show(import_events(session, app_id, file))
