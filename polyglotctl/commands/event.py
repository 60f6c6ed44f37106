"""`polyglotctl event`: what was published, one by one or all of it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from polyglotctl.api_path import channel_path, segment
from polyglotctl.failure import WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.options import AppCommand, AppId, OutputOption, Yes, confirm
from polyglotctl.session import Session

LOOK_EVERY_S = 0.2
STEPS = ("window", "log", "store", "webhooks")

app = typer.Typer(name="event", help="Events that were published.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Events that were published."""  # with one command alone, typer would take the group for it


@app.command(
    "erase",
    cls=AppCommand,
    epilog="""Example: polyglotctl event erase chat-app room:lobby evt_01jdabcdefghjkmnpqrstvwxyz --yes""",
)
def erase(
    app_id: AppId,
    channel: Annotated[str | None, typer.Argument(metavar="[CHANNEL]", show_default=False)] = None,
    event_id: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    seq: Annotated[
        int | None, typer.Option("--seq", min=1, help="Which, where several have this id.", show_default=False)
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="All events that the channel has now.")] = False,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="All events of a user, in every channel.", show_default=False),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until nothing of it is left anywhere.")] = True,
    yes: Yes = False,
    output: OutputOption = None,
) -> None:
    """Erase an event, a channel's history or a user's events. Tombstones take their place; this can't be undone."""
    if ":" in app_id and event_id is None and (own := os.environ.get("POLYGLOT_APP")):
        app_id, channel, event_id = own, app_id, channel  # a channel is no app: the app was left out
    path, query, what = _what(app_id, channel, event_id, seq, history, user)
    session = Session(output)
    confirm(f"Erase {what} of {app_id}? This can't be undone.", yes=yes)
    with session.http() as client:
        found = client.call("DELETE", path, query=query)
        if wait:
            found = _watched(client, app_id, found)
    session.show(found)


def _what(
    app_id: str, channel: str | None, event_id: str | None, seq: int | None, history: bool, user: str | None
) -> tuple[str, dict[str, str | int | None], str]:
    """Path and query of the call, and words for people."""
    named = [event_id is not None, history, user is not None]
    if named.count(True) != 1 or (user is None) == (channel is None):
        raise WrongUsage("Name one: APP CHANNEL ID, or APP CHANNEL --history, or APP --user USER.")
    if seq is not None and event_id is None:
        raise WrongUsage("--seq belongs to an ID.")
    if user is not None:
        return f"/apps/{segment(app_id)}/users/{segment(user)}/events", {}, f"all events of the user {user}"
    assert channel is not None
    if event_id is None:
        return f"{channel_path(app_id, channel)}/history", {}, f"the history of {channel}"
    where = f"{channel_path(app_id, channel)}/events/{segment(event_id)}"
    return where, {"seq": seq}, f"the event {event_id} in {channel}"


def _watched(client: HttpClient, app_id: str, found: Any) -> Any:
    """The erasure, once it is done."""
    path = f"/apps/{segment(app_id)}/erasures/{segment(found['erasure_id'])}"
    with _progress() as show:
        show(found["reached"])
        while not found["done"]:
            time.sleep(LOOK_EVERY_S)
            found = client.call("GET", path)
            show(found["reached"])
    return found


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, bool]], None]]:
    """A progress bar on standard error where that is a terminal: how many places have nothing left, and who waits."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("erasing"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(STEPS))

        def show(reached: dict[str, bool]) -> None:
            waiting = [step for step in STEPS if not reached.get(step)]
            words = f"waits for {', '.join(waiting)}" if waiting else "done"
            progress.update(task, completed=len(STEPS) - len(waiting), description=words)

        yield show
