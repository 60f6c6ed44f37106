"""The table of live connections and of what they joined, with the indexes by which they are looked for.

Written by admission, joins and dispatch; read by everything that acts on somebody's connections. Decides nothing.
A connection joins a channel once: a second join to it takes the first one's place, here as in the plane.
"""

from collections import defaultdict
from collections.abc import Iterator
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
        "app_id",
        "by_channel",
        "conn",
        "counted",
        "credential",
        "is_stream",
        "joins",
        "pushes",
        "subs",
    )

    def __init__(self, conn: int, app_id: str, credential: Credential, limits: Limits, *, counted: bool) -> None:
        self.conn = conn
        self.app_id = app_id
        self.credential = credential
        self.counted = counted
        self.is_stream = False
        self.subs: dict[int, Subscription] = {}
        self.by_channel: dict[str, Subscription] = {}
        self.joins = Gcra(limits.joins_per_second, limits.channels_per_connection)
        self.pushes = Gcra(limits.publishes_per_connection, limits.publishes_per_connection)
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
            self.pushes.reconfigure(limits.publishes_per_connection, limits.publishes_per_connection, steady_us())

    def put(self, subscription: Subscription) -> None:
        self.subs[subscription.sub] = subscription
        self.by_channel[subscription.channel] = subscription

    def drop(self, sub: int) -> Subscription | None:
        """Forget a sub; the channel stays with whatever took its place meanwhile."""
        subscription = self.subs.pop(sub, None)
        if subscription is not None and self.by_channel.get(subscription.channel) is subscription:
            del self.by_channel[subscription.channel]
        return subscription

    def joined(self, channel: str) -> Subscription | None:
        subscription = self.by_channel.get(channel)
        return subscription if subscription is not None and subscription.joined else None


class Connections:
    def __init__(self, active: ActiveApps) -> None:
        self._active = active
        self._table: dict[int, Connection] = {}
        self._by_name: defaultdict[Name, dict[int, Connection]] = defaultdict(dict)
        self._empty = trio.Event()

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._table.values()))

    def add(self, connection: Connection) -> None:
        self._active.hold(connection.app_id)
        self._table[connection.conn] = connection
        self._index(connection)

    def remove(self, conn: int) -> Connection | None:
        connection = self._table.pop(conn, None)
        if connection is not None:
            self._unindex(connection)
            self._active.let_go(connection.app_id)
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
        return len(self._by_name.get((app_id, "app", app_id), ()))

    def of_user(self, app_id: str, user_id: str) -> list[Connection]:
        return self.named((app_id, "user", user_id))

    def named(self, name: Name) -> list[Connection]:
        return list(self._by_name.get(name, {}).values())

    def _index(self, connection: Connection) -> None:
        for name in _names(connection):
            self._by_name[name][connection.conn] = connection

    def _unindex(self, connection: Connection) -> None:
        for name in _names(connection):
            del self._by_name[name][connection.conn]
            if not self._by_name[name]:
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
