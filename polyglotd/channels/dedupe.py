"""The ids that publishers of one channel gave, so that a repeat gets the first answer again.

Held by the plane, one a topic. An id belongs to its publisher: the key is (user_id, id), and None, API keys that name
no user, is one publisher. Ids that the server made are not kept here: nobody can repeat them.

While the first publish of an id waits (for the disk), the id is held with a ticket of the caller's, by which a repeat
finds what it has to wait for. `hold` -> `settle` or `release`; where nothing waits, `remember` at once.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

REMEMBERED_S = 300
REMEMBERED_IDS_MAX = 10_000  # the newest, a channel

Ticket = TypeVar("Ticket")


class Known(NamedTuple):
    """The first answer."""

    seq: int
    ts_us: int


class Held(NamedTuple, Generic[Ticket]):
    """The first publish is still under way."""

    ticket: Ticket


class Recent(Protocol):
    """An id as the log gives it back after a restart."""

    @property
    def id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def seq(self) -> int: ...
    @property
    def ts_us(self) -> int: ...


class Dedupe(Generic[Ticket]):
    """Remembers for `window_s` after the event's own time, at most the newest `ids_max`.

    Held ids have no bound of their own: they are as many as publishes under way.
    """

    def __init__(self, *, window_s: int = REMEMBERED_S, ids_max: int = REMEMBERED_IDS_MAX) -> None:
        self._window_us = window_s * 1_000_000
        self._ids_max = ids_max
        self._known: OrderedDict[tuple[str | None, str], Known] = OrderedDict()  # oldest first
        self._held: dict[tuple[str | None, str], Ticket] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._held)

    def lookup(self, user_id: str | None, event_id: str, now_us: int) -> Known | Held[Ticket] | None:
        """What is known of an id; None: it is new."""
        key = (user_id, event_id)
        if key in self._held:
            return Held(self._held[key])
        known = self._known.get(key)
        if known is None or now_us - known.ts_us >= self._window_us:
            return None
        return known

    def hold(self, user_id: str | None, event_id: str, ticket: Ticket) -> None:
        """The first publish of this id is under way. Only after `lookup` said None."""
        self._held[user_id, event_id] = ticket

    def settle(self, user_id: str | None, event_id: str, seq: int, ts_us: int) -> None:
        """It was admitted. Does nothing where the id is held no more (`clear` came between)."""
        if (user_id, event_id) in self._held:
            del self._held[user_id, event_id]
            self.remember(user_id, event_id, seq, ts_us)

    def release(self, user_id: str | None, event_id: str) -> None:
        """It was refused: the id is new again."""
        self._held.pop((user_id, event_id), None)

    def remember(self, user_id: str | None, event_id: str, seq: int, ts_us: int) -> None:
        """Keep an answer; `ts_us` is taken as now."""
        key = (user_id, event_id)
        self._known[key] = Known(seq, ts_us)
        self._known.move_to_end(key)
        if len(self._known) > self._ids_max:
            self._known.popitem(last=False)
        self.expire(ts_us)

    def restore(self, recent: Iterable[Recent]) -> None:
        """Take what the log remembers, oldest first."""
        for known in recent:
            self.remember(known.user_id, known.id, known.seq, known.ts_us)

    def expire(self, now_us: int) -> None:
        """Let go of ids that are too old. `lookup` does not need it; it frees an idle topic's memory."""
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if now_us - oldest.ts_us < self._window_us:
                break
            del self._known[key]

    def clear(self) -> None:
        """Forget everything, in a new epoch."""
        self._known.clear()
        self._held.clear()
