"""Which comings and goings of the log's presence records are news, and which only say again what was known.

A gateway that begins says `unconfirmed`, then who is there, and after a while `settled`: who was there before and has
not come back by then, went. So a restart tells nobody that everybody left and came. Used by `sink`. Pure: what a
batch changes stays apart until it is durable.
"""

from collections.abc import Iterator, Sequence

import msgspec

from polyglotd.log.interface import PresenceChanged
from polyglotd.model import WebhookType
from polyglotd.store.webhooks import Presences, PresentStep

Key = tuple[str, str, str]  # app, channel, user; an empty user: the channel

_ARRIVALS = ("occupied", "joined")
ALL_APPS = ""


class News(msgspec.Struct, frozen=True):
    type: WebhookType
    app_id: str
    channel: str
    user_id: str
    ts_us: int


class WhoIsWhere:
    def __init__(self, known: Presences) -> None:
        self._rows = dict(known.rows)
        self._generations = dict(known.generations)

    def batch(self) -> "PresenceBatch":
        return PresenceBatch(self._rows, self._generations)

    def apply(self, batch: "PresenceBatch") -> None:
        """The batch is durable."""
        for app_id in batch.forgotten:
            self._rows = {key: generation for key, generation in self._rows.items() if key[0] != app_id}
            self._generations.pop(app_id, None)
        self._generations |= batch.generations
        for step in batch.steps():
            key = (step.app_id, step.channel, step.user_id)
            if step.generation is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = step.generation


class PresenceBatch:
    """What the records of one batch come to, on top of what is known."""

    def __init__(self, rows: dict[Key, int], generations: dict[str, int]) -> None:
        self._rows = rows
        self._known = generations
        self._changed: dict[Key, int | None] = {}
        self.generations: dict[str, int] = {}
        self.forgotten: set[str] = set()

    def steps(self) -> Sequence[PresentStep]:
        return [PresentStep(*key, generation) for key, generation in self._changed.items()]

    def forget(self, app_id: str) -> None:
        self._changed = {key: generation for key, generation in self._changed.items() if key[0] != app_id}
        self.generations.pop(app_id, None)
        self.forgotten.add(app_id)

    def take(self, record: PresenceChanged) -> Sequence[News]:
        """What the record tells that was not known."""
        if record.what == "unconfirmed":
            values = (*self._known.values(), *self.generations.values())
            self.generations[record.app_id] = 1 + max(values, default=0)
            return []
        if record.what == "settled":
            gone = sorted(self._unconfirmed(record.app_id))
            self._changed |= dict.fromkeys(gone)
            return [_news(key, record.ts_us, came=False) for key in gone]
        key = (record.app_id, record.channel, record.user_id)
        known, came = self._row(key), record.what in _ARRIVALS
        if came:
            if known != (now := self._generation(record.app_id)):
                self._changed[key] = now
        elif known is not None:
            self._changed[key] = None
        return [_news(key, record.ts_us, came=came)] if came == (known is None) else []

    def _unconfirmed(self, app_id: str) -> Iterator[Key]:
        for key in {**self._rows, **self._changed}:
            generation = self._row(key)
            if app_id in (ALL_APPS, key[0]) and generation is not None and generation < self._generation(key[0]):
                yield key

    def _row(self, key: Key) -> int | None:
        if key in self._changed:
            return self._changed[key]
        return None if key[0] in self.forgotten else self._rows.get(key)

    def _generation(self, app_id: str) -> int:
        own = self._known if app_id not in self.forgotten else {}
        of_app = self.generations.get(app_id, own.get(app_id, 0))
        return max(of_app, self.generations.get(ALL_APPS, self._known.get(ALL_APPS, 0)))


def _news(key: Key, ts_us: int, *, came: bool) -> News:
    app_id, channel, user_id = key
    if user_id:
        return News("member.joined" if came else "member.left", app_id, channel, user_id, ts_us)
    return News("channel.occupied" if came else "channel.vacated", app_id, channel, user_id, ts_us)
