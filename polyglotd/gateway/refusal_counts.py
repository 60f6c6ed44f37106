"""How often what was refused, by the contract's reason: for metrics."""

from collections import Counter
from collections.abc import Mapping

from polyglotd.model import Refusal


class RefusalCounts:
    def __init__(self) -> None:
        self._by_reason: Counter[str] = Counter()

    def count(self, refusal: Refusal) -> None:
        self._by_reason[refusal.reason] += 1

    def snapshot(self) -> Mapping[str, int]:
        return dict(self._by_reason)
