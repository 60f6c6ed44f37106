"""What is to be erased and may not be erased everywhere yet: events that nobody may be shown meanwhile.

Part of the channel table, filled by `segments` and by `replay` at the start, kept in the checkpoint. An erasure hides
its events until it is settled: until the log's segments hold nothing of them and the gateway has heard the same of
everybody else. Settled ones are remembered for a while, for who asks what became of them. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from polyglotd.log.interface import Erasure, ErasureState
from polyglotd.model import Event, tombstone

UNDER_WAY_MAX = 10_000  # at once: a store that is away for days must not cost all memory
SETTLED_MAX = 1_000  # the newest are remembered

_Key = TypeVar("_Key")
_Place = tuple[str, str, str, int]  # app, channel, epoch, seq


class Erasures:
    def __init__(self) -> None:
        self._states: dict[str, ErasureState] = {}
        self._under_way = 0
        # What is hidden: single events, which moderation is made of, by their place; all others by where to look.
        self._places: Counter[_Place] = Counter()
        self._of_channel: dict[tuple[str, str], list[Erasure]] = {}
        self._of_user: dict[tuple[str, str | None], list[Erasure]] = {}
        self.apps: dict[str, int] = {}  # that were forgotten: where their records end, until the log is rewritten

    @property
    def under_way(self) -> int:
        return self._under_way

    def add(self, erasure: Erasure, position: int) -> None:
        """Its record ends at `position`. A replay may say it twice."""
        if erasure.erasure_id not in self._states:
            self._put(ErasureState(erasure, position))

    def forget_app(self, app_id: str, position: int) -> None:
        self.apps[app_id] = max(position, self.apps.get(app_id, 0))

    def states(self) -> list[ErasureState]:
        """Oldest first."""
        return list(self._states.values())

    def restore(self, states: Sequence[ErasureState], apps: Mapping[str, int]) -> None:
        for state in states:
            self._put(state)
        self.apps.update(apps)

    def shown(self, event: Event) -> Event:
        """The event, or its tombstone."""
        if not self._under_way:
            return event
        if (event.app_id, event.channel, event.epoch, event.seq) in self._places:
            return tombstone(event)
        of_channel = self._of_channel.get((event.app_id, event.channel), ())
        of_user = self._of_user.get((event.app_id, event.user_id), ())
        if any(erasure.covers(event) for erasure in (*of_channel, *of_user)):
            return tombstone(event)
        return event

    # --- the segments ---

    def unwritten(self) -> list[ErasureState]:
        """Those for which the segments are still to be rewritten."""
        return [state for state in self._states.values() if not state.in_log]

    def rewritten(self, states: Sequence[ErasureState], apps: Mapping[str, int]) -> None:
        """The segments hold nothing of these any more."""
        for state in states:
            self._states[state.erasure.erasure_id] = msgspec.structs.replace(state, in_log=True)
        for app_id, position in apps.items():
            if self.apps.get(app_id) == position:
                del self.apps[app_id]

    def settle(self, erasure_id: str, now_us: int) -> None:
        state = self._states.get(erasure_id)
        if state is None or not state.in_log or state.settled_us:
            return
        self._hide(state.erasure, -1)
        anonymous = msgspec.structs.replace(state.erasure, user_id=None)
        self._states[erasure_id] = msgspec.structs.replace(state, erasure=anonymous, settled_us=now_us)
        if len(self._states) - self._under_way > SETTLED_MAX:
            del self._states[next(key for key, state in self._states.items() if state.settled_us)]

    def _put(self, state: ErasureState) -> None:
        self._states[state.erasure.erasure_id] = state
        if not state.settled_us:
            self._hide(state.erasure, 1)

    def _hide(self, erasure: Erasure, step: int) -> None:
        """`step`: 1 hides what it covers, -1 ends that."""
        self._under_way += step
        if erasure.what == "event" and erasure.first_seq == erasure.last_seq:
            place = (erasure.app_id, erasure.channel, erasure.epoch, erasure.first_seq)
            self._places[place] += step
            if not self._places[place]:
                del self._places[place]
        elif erasure.what == "user":
            _move(self._of_user, (erasure.app_id, erasure.user_id), erasure, step)
        else:
            _move(self._of_channel, (erasure.app_id, erasure.channel), erasure, step)


def _move(lists: dict[_Key, list[Erasure]], key: _Key, erasure: Erasure, step: int) -> None:
    if step > 0:
        lists.setdefault(key, []).append(erasure)
        return
    lists[key].remove(erasure)
    if not lists[key]:
        del lists[key]
