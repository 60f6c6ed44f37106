"""Publish a channel's past again, into another channel, with the spacing of then or quicker.

Each event is published by its user, with its type and data as they were, under an id that says that it is a replay:
`replay_` and its old seq and id. So the same part replayed again within five minutes is delivered once, and a
consumer that must not take it for news can tell. What was erased stays erased: tombstones are not replayed.
"""

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby

import msgspec

from polyglotctl.api_path import segment
from polyglotctl.bulk_publish import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Outgoing, SomeRefused, Tally, send
from polyglotctl.event_export import State, pages
from polyglotctl.event_file import Envelope, event_of
from polyglotctl.failure import WrongUsage
from polyglotctl.http_client import HttpClient
from polyglotctl.long_work import saying_how_to_go_on, shown_progress
from polyglotctl.session import Session

PREFIX = "replay_"
ERASED = "erased"
ID_BYTES_MAX = 64
LOOK_S = 0.2  # the longest sleep: so often the bar moves
_MAY_BE_IN_ID = re.compile(r"[A-Za-z0-9_\-.:]+")


@dataclass(frozen=True)
class Replay:
    """What was asked for. `speed` 0: as fast as the limits allow. `after`: the id of the last event that is done."""

    app_id: str
    channel: str
    into: str
    from_: str | None
    to: str | None
    speed: float
    after: str | None


@dataclass
class _Done:
    """How far it has come."""

    event: Envelope | None = None
    skipped: int = 0


def default_target(channel: str) -> str:
    """A channel of the same kind, which has the same policy."""
    kind, _, name = channel.partition(":")
    return f"{kind}:replay-{name}"


def replay_id(event: Envelope) -> str:
    """The same for the same event, another for every other of the channel and its user."""
    named = f"{PREFIX}{event.seq}-{event.id}"
    if len(named) <= ID_BYTES_MAX and _MAY_BE_IN_ID.fullmatch(named):
        return named
    digest = hashlib.blake2b(f"{event.epoch}:{event.seq}:{event.id}".encode(), digest_size=16).hexdigest()
    return f"{PREFIX}{digest}"


def replay_channel(session: Session, wanted: Replay) -> dict[str, object]:
    """Replay; the counts. Raises `SomeRefused` at the end where events were refused for good."""
    if wanted.into == wanted.channel:
        raise WrongUsage("a replay goes into another channel: --into KIND:NAME")
    tally, done, started = Tally(), _Done(), time.monotonic()
    with saying_how_to_go_on(lambda: _how(wanted, done.event)), session.http() as client:
        events = _events(client, wanted, done)
        with shown_progress("replaying") as show:
            shown = partial(_show, show, tally)
            if wanted.speed:
                _spaced(client, wanted, events, tally, done, shown)
            else:
                for batch in _batches(events):
                    _publish(client, wanted, batch, tally, done)
                    shown()
    result: dict[str, object] = {
        "into": wanted.into,
        "published": tally.published,
        "duplicates": tally.duplicates,
        "refused": tally.refused,
        "tombstones": done.skipped,
        "seconds": round(time.monotonic() - started, 3),
    }
    if tally.refused:
        session.show(result)
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.reasons.items())
        raise SomeRefused(f"{tally.refused} events were refused ({reasons}); the others were published.")
    return result


def _show(show: Callable[[float, int], None], tally: Tally) -> None:
    show(0, tally.published + tally.duplicates)


def _events(client: HttpClient, wanted: Replay, done: _Done) -> Iterator[Envelope]:
    """What is to be replayed, in order."""
    query = {"app": wanted.app_id, "channel": wanted.channel, "from": wanted.from_, "to": wanted.to}
    waits = wanted.after is not None
    for page in pages(client, f"/admin/apps/{segment(wanted.app_id)}/events", State(query)):
        for line in page.text.splitlines():
            event = event_of(line)
            if waits:
                waits = event.id != wanted.after
            elif event.type == ERASED and event.text == b"null":
                done.skipped += 1
            else:
                yield event
    if waits:
        raise WrongUsage(f"--after {wanted.after}: there is no such event in the part that is to be replayed.")


def _spaced(
    client: HttpClient,
    wanted: Replay,
    events: Iterator[Envelope],
    tally: Tally,
    done: _Done,
    shown: Callable[[], None],
) -> None:
    """Each event when it is due: its distance from the first, divided by the speed."""
    first: float | None = None
    begun = time.monotonic()
    batch: list[Envelope] = []
    for event in events:
        at = datetime.fromisoformat(event.meta.ts).timestamp()
        first = at if first is None else first
        due = begun + (at - first) / wanted.speed
        if batch and (due > time.monotonic() or len(batch) >= BATCH_EVENTS_MAX):
            _publish(client, wanted, batch, tally, done)
            batch = []
        _wait_until(due, shown)
        batch.append(event)
    if batch:
        _publish(client, wanted, batch, tally, done)


def _wait_until(due: float, shown: Callable[[], None]) -> None:
    shown()
    while (left := due - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))
        shown()


def _batches(events: Iterator[Envelope]) -> Iterator[list[Envelope]]:
    batch: list[Envelope] = []
    size = 0
    for event in events:
        if batch and (len(batch) >= BATCH_EVENTS_MAX or size + len(event.text) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.text)
    if batch:
        yield batch


def _publish(client: HttpClient, wanted: Replay, batch: list[Envelope], tally: Tally, done: _Done) -> None:
    """In order: a call names one user, so neighbours of one user go together."""
    for user, events in groupby(batch, key=lambda event: event.meta.user_id):
        together = list(events)
        send(client, wanted.app_id, [_outgoing(event, wanted.into) for event in together], user, tally)
        done.event = together[-1]


def _outgoing(event: Envelope, into: str) -> Outgoing:
    head = msgspec.json.encode({"channel": into, "type": event.type, "id": replay_id(event)})
    return Outgoing(event.seq, head[:-1] + b',"data":' + event.text + b"}")


def _how(wanted: Replay, event: Envelope | None) -> str:
    if event is None:
        return ""
    command = ["polyglotctl", "replay", wanted.app_id, wanted.channel, "--into", wanted.into]
    command += ["--speed", f"{wanted.speed:g}", "--from", event.meta.ts, "--after", event.id]
    command += [] if wanted.to is None else ["--to", wanted.to]
    return f"replayed up to seq {event.seq} ({event.meta.ts}); go on with: {shlex.join(command)}"
