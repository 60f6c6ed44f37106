"""`polyglotctl export`: an app's events as a file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from polyglotctl.options import AppCommand, AppId
from polyglotctl.render import Output
from polyglotctl.session import Session

_EXAMPLES = """Example: polyglotctl export chat-app --out chat-app.ndjson

Example: polyglotctl export chat-app --channel 'room:*' --format parquet --out a.parquet"""


class Format(StrEnum):
    NDJSON = "ndjson"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    app.command("export", cls=AppCommand, epilog=_EXAMPLES)(export)


def export(
    app_id: AppId,
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="PATTERN", help="Of these alone: 'room:*'.", show_default=False)
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="RFC 3339: 2026-11-23T08:00:00Z.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", show_default=False)] = None,
    format_: Annotated[Format, typer.Option("--format", help="Parquet needs pyarrow.")] = Format.NDJSON,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Absent: standard output, as NDJSON.", show_default=False),
    ] = None,
) -> None:
    """Copy the stored events of an app, by channel and seq. With --out it goes on where it was interrupted."""
    from polyglotctl.event_export import export_events

    session = Session(Output.JSON if out is None else None)
    result = export_events(
        session, app_id, channel=channel, from_=from_, to=to, parquet=format_ is Format.PARQUET, out=out
    )
    if result is not None:
        session.show(result)
