"""Identifiers that the server makes: event ids, epochs, and the random parts of keys and sessions."""

import hashlib
import secrets

EVENT_ID_PREFIX = "evt_"
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1


_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]  # 10 bits a step: every event has an id


def _base32(value: int, digits: int) -> str:
    """`digits` is even."""
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(5 * (digits - 2), -1, -10)])


class EventIds:
    """Time-ordered event ids: `evt_` and the 26 characters of a ULID (48 bits of ms, 80 random), in lower case.

    Ids of one instance rise even within a millisecond or when the clock steps back.
    """

    def __init__(self) -> None:
        self._ms = 0
        self._random = 0
        self._most = ""  # all of the last id but its last four characters, which alone change within a ms

    def new(self, ts_us: int) -> str:
        ms = ts_us // 1000
        if ms > self._ms:
            self._ms = ms
            self._random = secrets.randbits(_RANDOM_BITS - 1)  # a spare bit: room to count up in this ms
            self._most = ""
        else:
            self._random = (self._random + 1) & _RANDOM_MASK
        last = self._random & 0xFFFFF
        if not last or not self._most:
            self._most = EVENT_ID_PREFIX + _base32(((self._ms << _RANDOM_BITS) | self._random) >> 20, 22)
        return f"{self._most}{_PAIRS[last >> 10]}{_PAIRS[last & 1023]}"


def event_id_ms(event_id: str) -> int | None:
    """The time in an id that the server made, in ms since 1970: its event's, or a little later. None: another id."""
    digits = event_id.removeprefix(EVENT_ID_PREFIX)
    if len(digits) != 26 or len(event_id) != 30 or not set(digits) <= set(_CROCKFORD):
        return None
    value = 0
    for digit in digits:
        value = value * 32 + _CROCKFORD.index(digit)
    return value >> _RANDOM_BITS


def new_epoch() -> str:
    """A channel's new epoch: 10 random characters, enough that no two of a channel's epochs ever meet."""
    return _base32(secrets.randbits(50), 10)


def new_secret(prefix: str) -> str:
    """A credential shown once: `prefix` and 160 random bits."""
    return prefix + _base32(secrets.randbits(160), 32)


def new_handle(prefix: str) -> str:
    """A short public name for a record (a key, a secret, a token's jti)."""
    return prefix + _base32(secrets.randbits(60), 12)


def imported_epoch(epoch: str, first_seq: int) -> str:
    """The epoch in which a channel's exported epoch is imported, whose events begin at this seq and are numbered anew
    from 1. The same one where nothing is missing: who has a cursor of it can resume."""
    if first_seq == 1:
        return epoch
    digest = hashlib.blake2b(f"{epoch}:{first_seq}".encode(), digest_size=7).digest()
    return _base32(int.from_bytes(digest, "big") >> 6, 10)
