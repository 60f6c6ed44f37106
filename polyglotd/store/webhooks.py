"""The webhooks' queue: what happened to apps and is still to be sent, durable, with the state of its sending.

The processor's stage appends items, an app's items once however many endpoints want them; each gets the next number
of its app. An endpoint has a cursor over them. What it is to get leaves as messages: a message names its items and
is kept before it is first sent, so that every try of it, also after a crash, has the same id and the same content.
Items go when no cursor, message or dead letter needs them, and where an app's items pass a bound in bytes, the oldest
first: what was still to be sent of those is lost, and counted. Erasure reaches items wherever they wait.

One processor appends and delivers; other processes read, replay and erase, which `changes` tells it of.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from polyglotd.log.interface import Erasure
from polyglotd.store.interface import SetAside

Runs = tuple[tuple[int, int], ...]
"""Item numbers, as first and last of those that follow each other."""


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened. `body` is its JSON, as it is sent."""

    app_id: str
    type: str  # a `WebhookType`
    ts_us: int
    body: str
    channel: str | None = None
    event_type: str | None = None  # of an event, as the three that follow
    epoch: str | None = None
    seq: int | None = None
    user_id: str | None = None


class QueuedItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    n: int  # of its app: they rise, with gaps
    type: str
    channel: str | None
    event_type: str | None
    ts_us: int
    at_us: int  # when it was queued
    body: str


class PresentStep(msgspec.Struct, frozen=True, array_like=True):
    """A change of who is where: the row is put (with the generation it was said in) or, with None, removed."""

    app_id: str
    channel: str
    user_id: str  # empty: the channel itself is occupied
    generation: int | None


class Presences(msgspec.Struct, frozen=True, kw_only=True):
    """Who is where, as the log said up to the cursor. Who is of an older generation than the app's is unconfirmed."""

    rows: Mapping[tuple[str, str, str], int]  # (app, channel, user) to its generation
    generations: Mapping[str, int]  # by app; the empty one holds for all


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of log records comes to. `forgotten` apps lose all that they had, and `erasures` take hold of what
    was there, before the items come."""

    items: Sequence[Item] = ()
    forgotten: Collection[str] = ()
    erasures: Sequence[Erasure] = ()
    present: Sequence[PresentStep] = ()
    generations: Mapping[str, int] = {}
    set_aside: Sequence[SetAside] = ()  # records that can't be queued: for people to look at


class EndpointState(msgspec.Struct, frozen=True, kw_only=True):
    cursor: int  # items up to here are in messages, or were not wanted
    failures: int = 0  # tries in a row that failed
    resume_us: int = 0  # no try before
    lost: int = 0  # items that gave way to the bound before they were sent
    waiting: int = 0  # messages that were formed and are not through
    dead: int = 0  # dead letters
    behind: int = 0  # items behind the cursor, wanted or not


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Some items on their way to one endpoint."""

    message_id: str
    endpoint_id: str
    app_id: str
    runs: Runs
    count: int
    created_us: int  # the body's own time
    until_us: int  # tried no more from here on
    attempts: int = 0
    answered: bool = False  # its last try failed by an HTTP status: the endpoint is alive
    replayed: bool = False  # by an operator, from the dead letters
    next_us: int = 0


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One POST. Without status no answer came, and `error` says why."""

    message_id: str
    at_us: int
    attempt: int
    items: int
    duration_ms: int
    status: int | None = None
    error: str | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    message_id: str
    items: int
    created_us: int
    ended_us: int
    attempts: int
    why: str


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    behind: int  # items behind the endpoints' cursors, each once an endpoint
    item_bytes: int
    waiting: int  # messages that were formed and are not through
    dead: int  # dead letters
    lost: int  # items that gave way to the bound


class WebhookQueue(Protocol):
    """Methods run in worker threads and raise `Unavailable` where the database is lost. Cancelled: it is done or it
    is not; repeat it."""

    # --- from the log ---

    async def cursor(self, log_id: str) -> int:
        """The position after the last record that was queued from this log; 0 for a new one."""

    async def presences(self) -> Presences: ...

    async def append(self, log_id: str, end: int, batch: Appended) -> None:
        """Queue the items and move this log's cursor to `end`, in one transaction. A batch that ends at or before the
        cursor changes nothing."""

    # --- to the endpoints ---

    async def begin(self, app_id: str, endpoint_id: str) -> EndpointState:
        """Where the endpoint stands. One that is new, or was paused, begins behind the app's newest item."""

    async def pause(self, endpoint_id: str, why: str, at_us: int) -> int:
        """It gets nothing more until it begins again; what was on its way becomes dead letters: how many."""

    async def retain(self, endpoint_ids: Collection[str]) -> None:
        """Drop all that is kept for others: they were removed."""

    async def items(self, app_id: str, after: int, limit: int, bytes_max: int) -> Sequence[QueuedItem]:
        """Items with a number above `after`, in order: at most `limit`, and of `bytes_max`, but at least one."""

    async def contents(self, app_id: str, runs: Runs) -> Sequence[QueuedItem] | None:
        """A message's items in order; None where one of them is gone."""

    async def pending(self, endpoint_id: str) -> Sequence[Message]:
        """What was formed and is not through, oldest first."""

    async def formed(self, endpoint_id: str, cursor: int, messages: Sequence[Message]) -> None:
        """Keep the messages and move the endpoint's cursor."""

    async def sent(self, endpoint_id: str, one: Try) -> None:
        """The message is through; the endpoint's failures are over."""

    async def failed(self, message: Message, one: Try, failures: int, resume_us: int) -> None:
        """Keep the message as it is now, and how the endpoint does."""

    async def died(self, message_id: str, why: str, at_us: int) -> None:
        """The message becomes a dead letter."""

    async def drop(self, message_id: str) -> None:
        """The message's items are gone: so is it."""

    async def sweep(self, now_us: int) -> bool:
        """Remove items that nobody needs and dead letters that are too old, some thousands at once; whether there may
        be more."""

    # --- for operators ---

    async def changes(self) -> int:
        """Rises when somebody replays or erases."""

    async def states(self, app_id: str) -> Mapping[str, EndpointState]:
        """By endpoint, as far as they began."""

    async def tries(self, endpoint_id: str, limit: int) -> Sequence[Try]:
        """The newest first; some hundreds an endpoint are kept."""

    async def dead_letters(self, endpoint_id: str, before: str | None, limit: int) -> Sequence[DeadLetter]:
        """The newest first, and before the one of this id."""

    async def dead_letter(self, endpoint_id: str, message_id: str) -> bytes | None:
        """The content of one, as it would be sent."""

    async def replay(self, endpoint_id: str, message_ids: Collection[str] | None, now_us: int, until_us: int) -> int:
        """Send these dead letters again, or all (None), under their ids; how many, at most 1,000 at once."""

    async def stats(self) -> QueueStats: ...

    # --- erasure ---

    async def erase(self, erasure: Erasure) -> int:
        """Tombstones take the place of the events that it covers wherever they wait to be sent, in dead letters too,
        and items about an erased user's own coming and going go on without the name; how many."""

    async def forget_app(self, app_id: str) -> None:
        """Remove everything of the app."""
