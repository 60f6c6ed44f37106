"""One rate for each of many keys (addresses, users), in bounded memory.

The gateway counts handshakes by address with it, before any credential is looked at, so the keys are the attacker's
choice. A key that has been idle until its burst was whole again equals one never seen and is let go. Where all are
busy and there is no room, the key that was used longest ago is let go early: it gets its burst back, which helps only
someone who has `keys_max` addresses at hand anyway. The other policy, to refuse new keys, would let him lock out all.
"""

from collections import OrderedDict

from polyglotd.limits.gcra import Gcra

KEYS_MAX = 65_536  # about 16 MiB at worst
_SWEPT_A_CALL = 2  # more than can be added by one: the table shrinks by itself


class KeyedGcra:
    """A `Gcra` per key, all with the same rate and burst."""

    def __init__(self, rate_per_s: float, burst: float, *, keys_max: int = KEYS_MAX) -> None:
        if keys_max < 1:
            raise ValueError("keys_max is at least 1")
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._keys_max = keys_max
        self._by_key: OrderedDict[str, Gcra] = OrderedDict()  # longest unused first
        self.evicted_early = 0  # busy keys that were let go for want of room: a metric

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, key: str, n: int, now_us: int) -> int:
        """As `Gcra.take`, for this key."""
        self._sweep(now_us)
        gcra = self._by_key.get(key)
        if gcra is None:
            if len(self._by_key) >= self._keys_max:
                self._by_key.popitem(last=False)
                self.evicted_early += 1
            gcra = self._by_key[key] = Gcra(self._rate_per_s, self._burst)
        else:
            self._by_key.move_to_end(key)
        return gcra.take(n, now_us)

    def reconfigure(self, rate_per_s: float, burst: float, now_us: int) -> None:
        """Another rate for every key; what each has taken stays taken."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        for gcra in self._by_key.values():
            gcra.reconfigure(rate_per_s, burst, now_us)

    def _sweep(self, now_us: int) -> None:
        for _ in range(_SWEPT_A_CALL):
            oldest = next(iter(self._by_key), None)
            if oldest is None or self._by_key[oldest].restored_after_us(now_us) > 0:
                return
            del self._by_key[oldest]
