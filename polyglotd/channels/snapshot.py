"""The newest event of each type in a channel, for kinds with `snapshot`.

Kept by the plane beside the window and sent in join replies. Outlives the window's bounds: a price stays the newest
price however old it is. Bounded by the app's `types_per_ticker`.
"""

from collections import OrderedDict

from polyglotd.model import Event


class Snapshot:
    """Events of distinct types, in seq order."""

    def __init__(self, types_max: int) -> None:
        self._types_max = types_max
        self._newest: OrderedDict[str, Event] = OrderedDict()

    def __len__(self) -> int:
        return len(self._newest)

    def put(self, event: Event) -> None:
        """Take an event; its seq is above all before. Over the bound, the type that was silent longest goes."""
        self._newest[event.type] = event
        self._newest.move_to_end(event.type)
        self._fit()

    def remove(self, seq: int) -> None:
        """The event with this seq was erased: its type has none until its next. Does nothing where it is not held."""
        for event in self._newest.values():
            if event.seq == seq:
                del self._newest[event.type]
                return

    def events(self) -> list[Event]:
        return list(self._newest.values())

    def rebound(self, types_max: int) -> None:
        """A new bound, after a change of the app's limits."""
        self._types_max = types_max
        self._fit()

    def clear(self) -> None:
        """Begin again, in a new epoch."""
        self._newest.clear()

    def _fit(self) -> None:
        while len(self._newest) > self._types_max:
            self._newest.popitem(last=False)
