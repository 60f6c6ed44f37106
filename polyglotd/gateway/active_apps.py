"""Which apps have something alive on this node: connections, open topics, or a decision under way.

Whoever makes such a thing holds its app and lets it go when the thing ends. What is kept per app is kept for these.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class ActiveApps:
    def __init__(self) -> None:
        self._holds: Counter[str] = Counter()

    def __contains__(self, app_id: object) -> bool:
        return app_id in self._holds

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._holds))

    def __len__(self) -> int:
        return len(self._holds)

    def hold(self, app_id: str) -> None:
        self._holds[app_id] += 1

    def let_go(self, app_id: str) -> None:
        self._holds[app_id] -= 1
        if not self._holds[app_id]:
            del self._holds[app_id]

    @contextmanager
    def held(self, app_id: str) -> Iterator[None]:
        self.hold(app_id)
        try:
            yield
        finally:
            self.let_go(app_id)
