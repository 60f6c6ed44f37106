"""Bring exported events into an app: in order, as they were, each once.

The server knows an event by its channel, epoch and seq, so what is sent again is not there twice. `FILE.APP.state`
only spares a second run what the first has done. A channel's seqs begin at 1 again: where its oldest events are not
in the file (retention), all are numbered anew, in an epoch that follows from the old one.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from polyglotctl.api_path import segment
from polyglotctl.event_file import Envelope, check_parquet, is_parquet, read_lines, read_parquet
from polyglotctl.failure import CommandFailed, WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.long_work import saying_how_to_go_on, shown_progress
from polyglotctl.printable import printable
from polyglotctl.retrying import retrying
from polyglotctl.session import Session
from polyglotd.model import imported_epoch

BATCH_EVENTS_MAX = 1000
BATCH_BYTES_MAX = 8 << 20  # of data: half of what the server takes in one body
REFUSALS_SHOWN = 20


class OutgoingEvent(msgspec.Struct):
    id: str
    type: str
    ts: str
    data: str
    user_id: str | None


class Run(msgspec.Struct):
    """Events of a channel's epoch that follow each other."""

    channel: str
    epoch: str
    first_seq: int
    events: list[OutgoingEvent]
    follows: str | None


@dataclass
class Batch:
    """`read`: how many events of the file were read up to its end."""

    runs: list[Run] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    read: int = 0


@dataclass
class Tally:
    imported: int = 0
    duplicates: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class SomeRefused(CommandFailed):
    """The rest was imported."""


def import_events(session: Session, app_id: str, file: str) -> dict[str, object]:
    """Import; the counts. Raises `SomeRefused` at the end where channels were refused."""
    tally = Tally()
    path = None if file == "-" else Path(file)
    state_path = None if path is None else path.with_name(f"{path.name}.{app_id}.state")
    done = _done(state_path)
    total = None if path is None else _size(path)
    sent = done

    def how() -> str:
        return f"{sent} events are dealt with; the same command again goes on behind them." if sent else ""

    with saying_how_to_go_on(how), session.http() as client, shown_progress("importing", total) as show:
        reading = _Reading(path)
        for batch in _batches(reading.events(), done):
            _send(client, app_id, batch, tally)
            sent = batch.read
            if state_path is not None:
                with contextlib.suppress(OSError):  # it only saves time
                    state_path.write_text(str(sent))
            show(reading.position, tally.imported + tally.duplicates)
    if state_path is not None:
        state_path.unlink(missing_ok=True)
    result: dict[str, object] = {
        "imported": tally.imported,
        "duplicates": tally.duplicates,
        "refused": tally.refused,
        "skipped": done,
    }
    if tally.refused:
        session.show(result)
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.reasons.items())
        raise SomeRefused(f"{tally.refused} events were refused ({reasons}); the others were imported.")
    return result


class _Reading:
    """The file, and up to which byte it was read."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.position = 0

    def events(self) -> Iterator[Envelope]:
        if self._path is None:
            yield from read_lines(sys.stdin.buffer)
        elif is_parquet(self._path):
            check_parquet()
            yield from read_parquet(self._path)
        else:
            with self._path.open("rb") as lines:
                for event in read_lines(lines):
                    self.position = lines.tell()
                    yield event


def _batches(events: Iterator[Envelope], done: int) -> Iterator[Batch]:
    """What follows the first `done` events, in batches."""
    epochs: dict[
        str, tuple[str, int, str, str | None]
    ] = {}  # channel: its epoch, first seq, the new epoch, the one before
    batch = Batch()
    for read, event in enumerate(events, 1):
        known = epochs.get(event.channel)
        if known is None or known[0] != event.epoch:
            follows = None if known is None else known[2]
            known = (event.epoch, event.seq, imported_epoch(event.epoch, event.seq), follows)
            epochs[event.channel] = known
        if read <= done:
            continue
        _, first_seq, epoch, follows = known
        text = event.text
        if batch.events >= BATCH_EVENTS_MAX or (batch.events and batch.bytes + len(text) > BATCH_BYTES_MAX):
            yield batch
            batch = Batch()
        run = batch.runs[-1] if batch.runs else None
        seq = event.seq - first_seq + 1
        if (
            run is None
            or (run.channel, run.epoch) != (event.channel, epoch)
            or run.first_seq + len(run.events) != seq
        ):
            run = Run(event.channel, epoch, seq, [], follows)
            batch.runs.append(run)
        run.events.append(OutgoingEvent(event.id, event.type, event.meta.ts, text.decode(), event.meta.user_id))
        batch.events += 1
        batch.bytes += len(text)
        batch.read = read
    if batch.events:
        yield batch


def _send(client: HttpClient, app_id: str, batch: Batch, tally: Tally) -> None:
    content = msgspec.json.encode({"runs": batch.runs})
    path = f"/admin/apps/{segment(app_id)}/events/import"
    answer = retrying(lambda: client.call("POST", path, content=content))
    for run, result in zip(batch.runs, answer["results"], strict=True):
        if "code" not in result:
            tally.imported += result["imported"]
            tally.duplicates += result["duplicates"]
            continue
        code = str(result["code"])
        if not tally.refused or sum(tally.reasons.values()) < REFUSALS_SHOWN:
            print(
                f"polyglotctl: {printable(run.channel)}: {code}: {printable(str(result['message']))}", file=sys.stderr
            )
        tally.refused += len(run.events)
        tally.reasons[code] = tally.reasons.get(code, 0) + len(run.events)


def _done(state_path: Path | None) -> int:
    try:
        return int(state_path.read_text()) if state_path is not None else 0
    except (FileNotFoundError, ValueError):
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise WrongUsage(f"can't read {path}: {error.strerror}") from None
