"""Publish a file of events in batches, at a rate, and survive what can be survived.

Every line gets an id where it has none, so that a batch whose answer was lost can be sent again without any event
being delivered twice. What the server refuses for its rate is sent again after the time that it names.
"""

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from polyglotctl.api_path import segment
from polyglotctl.failure import CommandFailed, WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.pacing import Pacer
from polyglotctl.printable import printable
from polyglotctl.retrying import RETRIED, retrying
from polyglotctl.session import Session

BATCH_EVENTS_MAX = 1000
BATCH_BYTES_MAX = 4 << 20  # half of what the server takes in one body
BATCHES_PER_SECOND = 10  # how finely a --rate is spread over a second
REFUSALS_SHOWN = 20


class Line(msgspec.Struct):
    """One line of the input. `data` is passed on as the same text."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    channel: str | None = None
    type: str | None = None
    id: str | None = None


@dataclass
class Outgoing:
    """One event on its way: where it came from, and its JSON."""

    line: int
    content: bytes


@dataclass
class Tally:
    """What became of the events."""

    published: int = 0
    duplicates: int = 0
    refused: int = 0
    retried: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class SomeRefused(CommandFailed):
    """The rest was published."""


def publish_lines(
    session: Session,
    app_id: str,
    file: str,
    *,
    channel: str | None,
    type_: str | None,
    user: str | None,
    rate: float | None,
) -> dict[str, object]:
    """Publish every line; the counts. Raises `SomeRefused` at the end where events were refused for good."""
    started = time.monotonic()
    tally = Tally()
    with _opened(file) as lines, session.http() as client, _progress(file) as advance:
        pacer = Pacer(rate)
        batch_max = (
            BATCH_EVENTS_MAX if rate is None else max(1, min(BATCH_EVENTS_MAX, int(rate / BATCHES_PER_SECOND)))
        )
        for batch in _batches(_outgoing(lines, channel, type_), batch_max):
            time.sleep(pacer.delay_s(len(batch)))
            send(client, app_id, batch, user, tally)
            advance(len(batch))
    elapsed = time.monotonic() - started
    result: dict[str, object] = {
        "published": tally.published,
        "duplicates": tally.duplicates,
        "refused": tally.refused,
        "sent_again": tally.retried,
        "seconds": round(elapsed, 3),
        "events_per_second": round((tally.published + tally.duplicates) / elapsed, 1) if elapsed else 0.0,
    }
    if tally.refused:
        session.show(result)
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.reasons.items())
        raise SomeRefused(f"{tally.refused} events were refused ({reasons}); the others were published.")
    return result


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  (closed below; only the opening may fail as wrong usage)
    except OSError as error:
        raise WrongUsage(f"can't read {file}: {error.strerror}") from None
    with stream:
        yield stream


def _outgoing(lines: IO[bytes], channel: str | None, type_: str | None) -> Iterator[Outgoing]:
    run = secrets.token_hex(6)
    decoder = msgspec.json.Decoder(Line)
    encode = msgspec.json.Encoder().encode
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text.decode())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WrongUsage(f"line {number} is no event: {error}. Lines before it were published.") from None
        line.channel = line.channel or channel
        line.type = line.type or type_
        line.id = line.id or f"cli-{run}-{number}"
        for name, value in (("channel", line.channel), ("type", line.type)):
            if not value:
                raise WrongUsage(f"line {number} names no {name}, and neither does the command line.")
        yield Outgoing(number, encode(line))


def _batches(events: Iterator[Outgoing], events_max: int) -> Iterator[list[Outgoing]]:
    batch: list[Outgoing] = []
    size = 0
    for event in events:
        if batch and (len(batch) >= events_max or size + len(event.content) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.content)
    if batch:
        yield batch


def send(client: HttpClient, app_id: str, batch: Sequence[Outgoing], user: str | None, tally: Tally) -> None:
    """Send until every event has an answer that is final."""
    waiting = list(batch)
    while waiting:
        results = _post(client, app_id, waiting, user)
        again: list[Outgoing] = []
        retry_after_ms = 0
        for event, result in zip(waiting, results, strict=True):
            code = result.get("code")
            if code is None:
                tally.duplicates += bool(result.get("duplicate"))
                tally.published += not result.get("duplicate")
            elif code in RETRIED:
                again.append(event)
                retry_after_ms = max(retry_after_ms, int(str(result.get("retry_after_ms", 1000))))
            else:
                _refused(event, str(code), str(result.get("message", "")), tally)
        tally.retried += len(again)
        waiting = again
        if waiting:
            time.sleep(retry_after_ms / 1000)


def _post(
    client: HttpClient, app_id: str, batch: Sequence[Outgoing], user: str | None
) -> Sequence[dict[str, object]]:
    body = b'{"events":[' + b",".join(event.content for event in batch) + b"]}"
    path = f"/apps/{segment(app_id)}/publish"
    answer = retrying(lambda: client.call("POST", path, content=body, user=user))
    results: Sequence[dict[str, object]] = answer["results"]
    return results


def _refused(event: Outgoing, code: str, message: str, tally: Tally) -> None:
    tally.refused += 1
    tally.reasons[code] = tally.reasons.get(code, 0) + 1
    if tally.refused <= REFUSALS_SHOWN:
        print(f"polyglotctl: line {event.line}: {code}: {printable(message)}", file=sys.stderr)


@contextmanager
def _progress(file: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error where that is a terminal: by lines of a file, else a counter."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    total = None
    if file != "-":
        with Path(file).open("rb") as lines:
            total = sum(1 for line in lines if line.strip())
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("publishing", total=total)
        yield lambda count: progress.advance(task, count)
