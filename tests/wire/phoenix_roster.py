"""Who is on a channel, put together from `presence_state` and `presence_diff` as phoenix.js does it."""

import json
from typing import Any

_Metas = dict[str, dict[str, Any]]  # user -> phx_ref -> meta


class Roster:
    """Takes frames of either serializer."""

    def __init__(self) -> None:
        self._people: _Metas | None = None
        self._early: list[Any] = []  # diffs that came before the state

    def take(self, text: str) -> bool:
        """Whether the frame told presence."""
        frame = json.loads(text)
        event, payload = (frame["event"], frame["payload"]) if isinstance(frame, dict) else frame[3:]
        match event:
            case "presence_state":
                self._people = {user: _by_ref(entry) for user, entry in payload.items()}
                for diff in self._early:
                    self._apply(diff)
                self._early = []
            case "presence_diff" if self._people is None:
                self._early.append(payload)
            case "presence_diff":
                self._apply(payload)
            case _:
                return False
        return True

    def same_people(self, other: "Roster") -> bool:
        """The same users, each with as many devices."""
        return self._counts() == other._counts()

    def _counts(self) -> dict[str, int]:
        return {user: len(metas) for user, metas in (self._people or {}).items()}

    def _apply(self, diff: Any) -> None:
        assert self._people is not None
        for user, entry in diff["joins"].items():
            self._people.setdefault(user, {}).update(_by_ref(entry))
        for user, entry in diff["leaves"].items():
            left = self._people.get(user, {})
            for ref in _by_ref(entry):
                left.pop(ref, None)
            if not left:
                self._people.pop(user, None)


def _by_ref(entry: Any) -> dict[str, Any]:
    return {meta["phx_ref"]: meta for meta in entry["metas"]}
