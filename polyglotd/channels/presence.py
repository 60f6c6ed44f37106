"""Who is in a channel, as Phoenix Presence shows it: rosters, count-only, and diffs that are gathered.

Held by the gateway, one a channel with members. It applies changes as the broker reports them, and after
`gather_delay_s` takes what has gathered and broadcasts it. A member that joins gets `state()` first, and everything
that is taken from then on: a diff that comes before its state would be applied on top of it, as phoenix.js does, and
where the channel went count-only in between leave a ghost. A client that applies what it gets (`syncState`,
`syncDiff`) ends with the roster as it is.

A member is one connection of a user: `presence_max` and the count mean those. Above `presence_max` a roster shows
only the count, and names again below 0.8 times that, so that a channel at the border does not flap. No clock, no I/O;
`info` is JSON that was checked before and passes through byte for byte.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import msgspec

from polyglotd.model import PresenceMode

NAMES_AGAIN_PERCENT = 80  # of presence_max: below it a crowded roster shows names again
GATHER_S = 0.1
GATHER_CROWD_S = 1.0
CROWD_MEMBERS = 100  # above it, diffs are gathered for longer

_encode = msgspec.json.Encoder().encode
_REF_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def gather_delay_s(members: int) -> float:
    """How long a first change waits for company."""
    return GATHER_CROWD_S if members > CROWD_MEMBERS else GATHER_S


class Refs:
    """`phx_ref`s: base32 of a counter that starts anywhere in 60 bits, so that no two nodes give the same."""

    def __init__(self) -> None:
        self._next = secrets.randbits(60)

    def new(self) -> str:
        value = self._next
        self._next += 1
        digits = ""
        while value:
            value, digit = divmod(value, 32)
            digits = _REF_DIGITS[digit] + digits
        return digits or _REF_DIGITS[0]


class Meta(Protocol):
    """One connection of a user: the broker's record, or anything of its shape."""

    @property
    def ref(self) -> str: ...
    @property
    def info(self) -> bytes | None: ...
    @property
    def prev_ref(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class State:
    """To every member that sees presence: the channel's presence from here on, whatever was before."""

    event: ClassVar[str] = "presence_state"
    payload: bytes


@dataclass(frozen=True, slots=True)
class Diff:
    """To every member that sees presence: what changed since the last."""

    event: ClassVar[str] = "presence_diff"
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Shown:
    """A meta as clients see it: encoded, and the ref that it replaced *for them*."""

    ref: str
    json: bytes
    prev_ref: str | None


def _shown(ref: str, info: bytes | None, prev_ref: str | None) -> _Shown:
    json = b'{"phx_ref":%b' % _encode(ref)
    if prev_ref is not None:
        json += b',"phx_ref_prev":%b' % _encode(prev_ref)
    if info is not None:
        json += b',"info":%b' % info
    return _Shown(ref, json + b"}", prev_ref)


class Roster:
    """A channel's presence. In mode `none` it tracks members and shows nothing."""

    def __init__(self, mode: PresenceMode, presence_max: int, refs: Refs) -> None:
        self._mode = mode
        self._presence_max = presence_max
        self._refs = refs
        self._metas: dict[str, tuple[_Shown, ...]] = {}  # by user, oldest first; most have one
        self._joins: dict[tuple[str, str], _Shown] = {}  # gathered, by (user, ref)
        self._leaves: dict[tuple[str, str], _Shown] = {}
        self._unseen: set[tuple[str, str]] = set()  # of the gathered joins, those that no state has shown either
        self._restate = False  # everyone needs a new state; what was gathered is in it
        self._crowded = False
        self._count_ref = refs.new()
        self._count_shown = 0
        self._count_astray = False  # a state has shown another count under count_ref
        self._watched = False  # somebody has been shown something
        self._state: bytes | None = None  # encoded, until the next change
        self.members = 0  # connections

    @property
    def users(self) -> int:
        return len(self._metas)

    @property
    def count_only(self) -> bool:
        return self._mode == "count" or self._crowded

    @property
    def pending(self) -> bool:
        """Whether `take` has something to give."""
        if self.count_only and (self._count_astray or self.members != self._count_shown):
            return True
        return self._restate or bool(self._joins or self._leaves)

    def load(self, members: Mapping[str, Iterable[Meta]]) -> None:
        """Replace everybody, as when a roster is read from the broker. Who saw the channel before needs a state."""
        self._metas = {
            user: tuple(_shown(meta.ref, meta.info, meta.prev_ref) for meta in metas)
            for user, metas in members.items()
        }
        self._metas = {user: metas for user, metas in self._metas.items() if metas}
        self.members = sum(len(metas) for metas in self._metas.values())
        self._crowded = self._mode == "roster" and self.members > self._presence_max
        if self._watched and self._mode != "none":
            self._begin_again()
        else:
            self._forget_gathered()
            self._state = None

    def reconfigure(self, mode: PresenceMode, presence_max: int) -> None:
        """The kind's policy changed."""
        if (mode, presence_max) == (self._mode, self._presence_max):
            return
        was = self._mode, self._crowded
        self._mode = mode
        self._presence_max = presence_max
        self._crowded = mode == "roster" and self._is_crowd()
        if was != (self._mode, self._crowded):
            self._begin_again()

    def apply(self, user_id: str, joined: Meta | None, left: str | None) -> None:
        """One change as the broker reports it: a join, a leave, or both for an update."""
        if joined is None:
            if left is not None:
                self.leave(user_id, left)
        elif left is None:
            self.join(user_id, joined)
        else:
            self.update(user_id, left, joined)

    def join(self, user_id: str, meta: Meta) -> None:
        """A connection came. Does nothing where it is there: a ref names one meta, which never changes."""
        if not self._has(user_id, meta.ref):
            self._add(user_id, meta.ref, _shown(meta.ref, meta.info, meta.prev_ref))
            self._changed()

    def leave(self, user_id: str, ref: str) -> None:
        """A connection went. Does nothing where it is not there."""
        if self._remove(user_id, ref) is not None:
            self._changed()

    def update(self, user_id: str, old_ref: str, meta: Meta) -> None:
        """A connection's info changed. Where the old ref is not there it is a join.

        `phx_ref_prev` becomes the last ref that a client may have seen: of a chain of updates within one gathering
        the steps between are nobody's business.
        """
        unseen = (user_id, old_ref) in self._unseen
        old = self._remove(user_id, old_ref)
        if old is None:
            self.join(user_id, meta)
            return
        prev_ref = old.prev_ref if unseen else old_ref
        if not self._has(user_id, meta.ref):
            self._add(user_id, meta.ref, _shown(meta.ref, meta.info, prev_ref))
        self._changed()

    def state(self) -> bytes:
        """What a member gets that joins now, and what `presence` answers: the payload of `presence_state`."""
        if self._state is None:
            self._state = self._encode_state()
        # Somebody sees what is still gathering: if it goes again, that has to be said.
        self._unseen.clear()
        self._count_astray = self._count_astray or self.members != self._count_shown
        self._watched = True
        return self._state

    def take(self) -> State | Diff | None:
        """What has gathered, for everyone; None where nothing did, or it came to nothing."""
        if not self.pending:
            return None
        restate = self._restate
        if self.count_only:
            left = self._count_meta(self._count_shown)
            self._count_ref = self._refs.new()
            self._count_shown = self.members
            self._state = None
            joined = self._count_meta(self.members)
            diff = b'{"joins":{"":{"metas":[%b]}},"leaves":{"":{"metas":[%b]}}}' % (joined, left)
        else:
            diff = b'{"joins":%b,"leaves":%b}' % (_by_user(self._joins), _by_user(self._leaves))
        self._forget_gathered()
        return State(self.state()) if restate else Diff(diff)

    def _has(self, user_id: str, ref: str) -> bool:
        return any(shown.ref == ref for shown in self._metas.get(user_id, ()))

    def _add(self, user_id: str, ref: str, shown: _Shown) -> None:
        if self._gathers_names:
            key = (user_id, ref)
            # Clients apply joins before leaves, so a ref that went and comes again must not seem to go. It is a join
            # all the same: who came in between does not have it.
            if self._leaves.pop(key, None) is None:
                self._unseen.add(key)
            self._joins[key] = shown
        self._metas[user_id] = (*self._metas.get(user_id, ()), shown)
        self.members += 1

    def _remove(self, user_id: str, ref: str) -> _Shown | None:
        metas = self._metas.get(user_id, ())
        shown = next((shown for shown in metas if shown.ref == ref), None)
        if shown is None:
            return None
        self.members -= 1
        if len(metas) > 1:
            self._metas[user_id] = tuple(other for other in metas if other is not shown)
        else:
            del self._metas[user_id]
        if self._gathers_names:
            key = (user_id, ref)
            self._joins.pop(key, None)
            if key in self._unseen:
                self._unseen.remove(key)
            else:
                self._leaves[key] = shown
        return shown

    @property
    def _gathers_names(self) -> bool:
        return self._mode == "roster" and not self._crowded

    def _changed(self) -> None:
        self._state = None
        if self._mode == "roster" and self._crowded != self._is_crowd():
            self._crowded = not self._crowded
            self._begin_again()

    def _is_crowd(self) -> bool:
        if self._crowded:
            return self.members * 100 >= self._presence_max * NAMES_AGAIN_PERCENT
        return self.members > self._presence_max

    def _begin_again(self) -> None:
        self._forget_gathered()
        self._state = None
        self._restate = True

    def _forget_gathered(self) -> None:
        self._joins.clear()
        self._leaves.clear()
        self._unseen.clear()
        self._restate = False
        self._count_astray = False

    def _count_meta(self, count: int) -> bytes:
        return b'{"phx_ref":%b,"count":%d}' % (_encode(self._count_ref), count)

    def _encode_state(self) -> bytes:
        if self._mode == "none":
            return b"{}"
        if self.count_only:
            # The count of now under the ref that all have: the next diff takes that ref from everyone.
            return b'{"":{"metas":[%b]}}' % self._count_meta(self.members)
        metas = {(user, shown.ref): shown for user, all_shown in self._metas.items() for shown in all_shown}
        return _by_user(metas)


def _by_user(metas: Mapping[tuple[str, str], _Shown]) -> bytes:
    users: dict[str, list[bytes]] = {}
    for (user, _), shown in metas.items():
        users.setdefault(user, []).append(shown.json)
    return b"{%b}" % b",".join(
        b'%b:{"metas":[%b]}' % (_encode(user), b",".join(jsons)) for user, jsons in users.items()
    )
