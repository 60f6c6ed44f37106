"""Copy an app's events into a file, a page at a time, so that it can be interrupted and gone on with.

Beside the file stands `FILE.state` until it is whole: up to which byte the file is good, and where the next page
begins.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from polyglotctl.api_path import segment
from polyglotctl.event_file import check_parquet, write_parquet
from polyglotctl.failure import WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.long_work import saying_how_to_go_on, shown_progress
from polyglotctl.retrying import retrying
from polyglotctl.session import Session


class Page(NamedTuple):
    """Lines of events as the server gave them, and where the next page begins."""

    text: bytes
    events: int
    cursor: str | None


class State(msgspec.Struct):
    """How far an export has come, and of what."""

    query: dict[str, str | None]
    cursor: str | None = None
    bytes: int = 0
    events: int = 0


def export_events(
    session: Session,
    app_id: str,
    *,
    channel: str | None,
    from_: str | None,
    to: str | None,
    parquet: bool,
    out: Path | None,
) -> dict[str, object] | None:
    """Export; the counts, or None where the events went to standard output."""
    query = {"app": app_id, "channel": channel, "from": from_, "to": to}
    path = f"/admin/apps/{segment(app_id)}/events"
    if out is None:
        if parquet:
            raise WrongUsage("Parquet needs a file: --out events.parquet")
        with session.http() as client:
            for page in pages(client, path, State(query)):
                sys.stdout.buffer.write(page.text)
        return None
    if parquet:
        check_parquet()
    lines = out.with_name(out.name + ".ndjson") if parquet else out
    state_path = out.with_name(out.name + ".state")
    state = _state(out, state_path, query)

    def how() -> str:
        return f"{state.events} events are in {lines}; the same command again goes on." if state.events else ""

    with saying_how_to_go_on(how):
        with (
            session.http() as client,
            shown_progress("exporting") as show,
            _opened(lines, state.bytes, state_path) as file,
        ):
            for page in pages(client, path, state):
                file.write(page.text)
                file.flush()
                os.fsync(file.fileno())
                state.bytes += len(page.text)
                state.events += page.events
                state.cursor = page.cursor
                _write(state_path, msgspec.json.encode(state))
                show(state.events, state.events)
        if parquet:
            write_parquet(lines, out)
            lines.unlink()
    state_path.unlink(missing_ok=True)
    return {"file": str(out), "events": state.events, "bytes": out.stat().st_size}


def pages(client: HttpClient, path: str, state: State) -> Iterator[Page]:
    """From the state's cursor on. What has come completely has a state without a cursor and with events."""
    query = {name: value for name, value in state.query.items() if name != "app"}
    cursor = state.cursor
    if cursor is None and state.bytes:
        return
    while True:
        page = _page(retrying(lambda: client.text(path, query={**query, "cursor": cursor})))  # noqa: B023
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def _page(text: bytes) -> Page:
    lines, _, last = text.removesuffix(b"\n").rpartition(b"\n")
    events = lines + b"\n" if lines else b""
    return Page(events, events.count(b"\n"), json.loads(last)["cursor"])


def _state(out: Path, state_path: Path, query: dict[str, str | None]) -> State:
    try:
        state = msgspec.json.decode(state_path.read_bytes(), type=State)
    except FileNotFoundError:
        if out.exists():
            raise WrongUsage(f"{out} is there already: remove it, or name another file.") from None
        return State(query)
    except (OSError, msgspec.MsgspecError) as error:
        raise WrongUsage(f"{state_path} can't be read ({error}): remove it to begin anew.") from None
    if state.query != query:
        raise WrongUsage(f"{out} was begun as another export: name another file, or remove it and {state_path}.")
    return state


@contextmanager
def _opened(path: Path, size: int, state_path: Path) -> Iterator[IO[bytes]]:
    """The file for writing behind its first `size` bytes; what a crash left there goes. One that stays empty, as
    nothing came of it, goes as well."""
    try:
        file = path.open("r+b" if size else "wb")
    except OSError as error:
        raise WrongUsage(f"can't write {path}: {error.strerror}") from None
    with file:
        file.truncate(size)
        file.seek(size)
        try:
            yield file
        finally:
            if not state_path.exists():
                path.unlink()


def _write(path: Path, text: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(text)
    temporary.replace(path)
