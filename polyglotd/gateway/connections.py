"""The table of live connections and of what they joined, with the indexes by which they are looked for.

Written by admission, joins and dispatch; read by everything that acts on somebody's connections. Decides nothing.
A connection joins a channel once: a second join to it takes the first one's place, here as in the plane.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import trio

from polyglotd.access.capabilities import Access
from polyglotd.access.grant import UserGrant
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.callers import Credential
from polyglotd.gateway.clock import steady_us
from polyglotd.limits.gcra import Gcra
from polyglotd.model import ApiKey, Limits, RevocationSubject

Name = tuple[str, RevocationSubject, str]
"""What a revocation may hit: (app, sort, subject)."""


@dataclass(slots=True, eq=False)
class Subscription:
    """A join from the moment it was asked for. `topic` is None until it was admitted."""

    sub: int
    channel: str
    access: Access
    topic: int | None = None
    joined: bool = False
    presence_ref: str | None = None
    info: bytes | None = None


class Connection:
    """`counted`: against the app's `connections`. `is_stream`: it has one sub and ends with it."""

    __slots__ = (
        "_limits",
        "_pushes",
        "app_id",
        "conn",
        "counted",
        "credential",
        "is_stream",
        "joins",
        "subs",
    )

    def __init__(self, conn: int, app_id: str, credential: Credential, limits: Limits, *, counted: bool) -> None:
        self.conn = conn
        self.app_id = app_id
        self.credential = credential
        self.counted = counted
        self.is_stream = False
        self.subs: list[Subscription] = []  # few: looked through, since an index costs more memory than all of them
        self.joins = Gcra(limits.joins_per_second, limits.channels_per_connection)
        self._pushes: Gcra | None = None  # most connections never push anything to us
        self._limits = limits

    @property
    def user_id(self) -> str | None:
        return self.credential.user_id if isinstance(self.credential, UserGrant) else None

    @property
    def info(self) -> bytes | None:
        """What the token shows in presence."""
        return self.credential.info if isinstance(self.credential, UserGrant) else None

    def configure(self, limits: Limits) -> None:
        """Go on by these limits; does nothing where they are the same."""
        if limits is not self._limits:
            self._limits = limits
            self.joins.reconfigure(limits.joins_per_second, limits.channels_per_connection, steady_us())
            if self._pushes is not None:
                rate = limits.publishes_per_connection
                self._pushes.reconfigure(rate, rate, steady_us())

    @property
    def pushes(self) -> Gcra:
        if self._pushes is None:
            self._pushes = Gcra(self._limits.publishes_per_connection, self._limits.publishes_per_connection)
        return self._pushes

    def put(self, subscription: Subscription) -> None:
        """Of one channel the newest counts, though an older one may not be dropped yet."""
        self.subs.append(subscription)

    def drop(self, sub: int) -> Subscription | None:
        """Forget a sub; the channel stays with whatever took its place meanwhile."""
        subscription = self.find(sub)
        if subscription is not None:
            self.subs.remove(subscription)
        return subscription

    def find(self, sub: int) -> Subscription | None:
        return next((known for known in self.subs if known.sub == sub), None)

    def of_channel(self, channel: str) -> Subscription | None:
        return next((known for known in reversed(self.subs) if known.channel == channel), None)

    @property
    def channel_count(self) -> int:
        return len({known.channel for known in self.subs})

    def joined(self, channel: str) -> Subscription | None:
        subscription = self.of_channel(channel)
        return subscription if subscription is not None and subscription.joined else None


class Connections:
    def __init__(self, active: ActiveApps) -> None:
        self._active = active
        self._table: dict[int, Connection] = {}
        self._by_name: dict[Name, Connection | dict[int, Connection]] = {}  # most users have one
        self._counted: dict[str, int] = {}  # by app, those that are counted
        self._peaks: dict[str, int] = {}  # of apps where that has changed: the most since `take_peaks`
        self._empty = trio.Event()

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._table.values()))

    def add(self, connection: Connection) -> None:
        self._active.hold(connection.app_id)
        self._table[connection.conn] = connection
        self._index(connection)
        if connection.counted:
            self._set_counted(connection.app_id, self.counted(connection.app_id) + 1)

    def remove(self, conn: int) -> Connection | None:
        connection = self._table.pop(conn, None)
        if connection is not None:
            self._unindex(connection)
            self._active.let_go(connection.app_id)
            if connection.counted:
                self._set_counted(connection.app_id, self.counted(connection.app_id) - 1)
        if not self._table:
            self._empty.set()
            self._empty = trio.Event()
        return connection

    async def all_gone(self) -> None:
        """Return when there is none."""
        while self._table:
            await self._empty.wait()

    def replace_credential(self, connection: Connection, credential: Credential) -> None:
        """A new token for the same user, or the same key with other terms."""
        self._unindex(connection)
        connection.credential = credential
        self._index(connection)

    def get(self, conn: int) -> Connection | None:
        return self._table.get(conn)

    def of_app(self, app_id: str) -> list[Connection]:
        return self.named((app_id, "app", app_id))

    def count(self, app_id: str) -> int:
        found = self._by_name.get((app_id, "app", app_id))
        return 0 if found is None else 1 if isinstance(found, Connection) else len(found)

    def counted(self, app_id: str) -> int:
        """Of these, the ones that count against the app's `connections`."""
        return self._counted.get(app_id, 0)

    def apps(self) -> list[str]:
        """Those with connections that count."""
        return list(self._counted)

    def take_peaks(self) -> Mapping[str, int]:
        """Of the apps where `counted` has changed since the last call: the most that it was. One caller."""
        taken, self._peaks = self._peaks, {}
        return taken

    def of_user(self, app_id: str, user_id: str) -> list[Connection]:
        return self.named((app_id, "user", user_id))

    def has_user(self, app_id: str, user_id: str) -> bool:
        return (app_id, "user", user_id) in self._by_name

    def named(self, name: Name) -> list[Connection]:
        found = self._by_name.get(name)
        return [] if found is None else [found] if isinstance(found, Connection) else list(found.values())

    def _set_counted(self, app_id: str, now: int) -> None:
        self._peaks[app_id] = max(self._peaks.get(app_id, 0), now, self.counted(app_id))
        if now:
            self._counted[app_id] = now
        else:
            del self._counted[app_id]

    def _index(self, connection: Connection) -> None:
        for name in _names(connection):
            found = self._by_name.get(name)
            if found is None:
                self._by_name[name] = connection
            elif isinstance(found, Connection):
                self._by_name[name] = {found.conn: found, connection.conn: connection}
            else:
                found[connection.conn] = connection

    def _unindex(self, connection: Connection) -> None:
        for name in _names(connection):
            found = self._by_name[name]
            if not isinstance(found, Connection):
                del found[connection.conn]
            if isinstance(found, Connection) or not found:
                del self._by_name[name]


def _names(connection: Connection) -> list[Name]:
    app_id, credential = connection.app_id, connection.credential
    names: list[Name] = [(app_id, "app", app_id)]
    if isinstance(credential, UserGrant):
        names.append((app_id, "user", credential.user_id))
        if credential.jti is not None:
            names.append((app_id, "token", credential.jti))
    elif isinstance(credential, ApiKey):
        names.append((app_id, "key", credential.key_id))
    return names
