"""Arguments and options that many commands share, and the parsing of what people type into them."""

import json
import os
import re
import sys
from typing import Annotated, Any

import typer
import typer.core
from typer.exceptions import TyperException

from polyglotctl.failure import WrongUsage
from polyglotctl.render import Output

AppId = Annotated[str, typer.Argument(metavar="APP", help="The app (tenant). POLYGLOT_APP, where it is left out.")]
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="KIND:NAME, for example room:lobby.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The subject of the user's tokens.")]
OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="table (on a terminal), json (when piped) or ndjson.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_DURATION = re.compile(r"(\d+)\s*(s|m|h|d|w)?")
_UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class AppCommand(typer.core.TyperCommand):
    """A command whose first argument is the app, which POLYGLOT_APP may give."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        app_id = os.environ.get("POLYGLOT_APP")
        try:
            return super().parse_args(ctx, list(args))
        except TyperException as first:
            if not app_id:
                raise
            try:
                return super().parse_args(ctx, [app_id, *args])
            except TyperException:
                raise first from None  # the app was not what was missing


def seconds(text: str, option: str) -> int:
    """`90`, `30s`, `15m`, `1h`, `7d`, `2w` in seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise WrongUsage(f"{option} {text}: a time is a number and s, m, h, d or w, for example 1h.")
    return int(match[1]) * _UNIT_S[match[2]]


def json_value(text: str, option: str) -> Any:
    """JSON that somebody typed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUsage(
            f'{option} is not JSON: {error}. Quote it for the shell: {option} \'{{"text": "Hi"}}\'.'
        ) from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed. Without a terminal to ask at, `--yes` is required."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUsage(f"{question} Say so with --yes.")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
