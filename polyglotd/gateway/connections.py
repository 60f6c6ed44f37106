"""The table of live connections and of what they joined, with the indexes by which they are looked for.

Written by admission, joins and dispatch; read by everything that acts on somebody's connections. Decides nothing.
A connection joins a channel once: a second join to it takes the first one's place, here as in the plane.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from polyglotd.access.capabilities import Access
from polyglotd.access.grant import UserGrant
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.callers import Credential
from polyglotd.gateway.clock import steady_us
from polyglotd.limits.gcra import Gcra
from polyglotd.model import Limits

_Key = TypeVar("_Key", str, tuple[str, str])


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
    """`counted`: against the app's `connections`."""

    __slots__ = ("_limits", "app_id", "by_channel", "conn", "counted", "credential", "joins", "pushes", "subs")

    def __init__(self, conn: int, app_id: str, credential: Credential, limits: Limits, *, counted: bool) -> None:
        self.conn = conn
        self.app_id = app_id
        self.credential = credential
        self.counted = counted
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
        self._by_app: defaultdict[str, dict[int, Connection]] = defaultdict(dict)
        self._by_user: defaultdict[tuple[str, str], dict[int, Connection]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._table.values()))

    def add(self, connection: Connection) -> None:
        self._active.hold(connection.app_id)
        self._table[connection.conn] = connection
        self._by_app[connection.app_id][connection.conn] = connection
        if connection.user_id is not None:
            self._by_user[connection.app_id, connection.user_id][connection.conn] = connection

    def remove(self, conn: int) -> Connection | None:
        connection = self._table.pop(conn, None)
        if connection is None:
            return None
        _unindex(self._by_app, connection.app_id, conn)
        if connection.user_id is not None:
            _unindex(self._by_user, (connection.app_id, connection.user_id), conn)
        self._active.let_go(connection.app_id)
        return connection

    def get(self, conn: int) -> Connection | None:
        return self._table.get(conn)

    def of_app(self, app_id: str) -> list[Connection]:
        return list(self._by_app.get(app_id, {}).values())

    def count(self, app_id: str) -> int:
        return len(self._by_app.get(app_id, {}))

    def of_user(self, app_id: str, user_id: str) -> list[Connection]:
        return list(self._by_user.get((app_id, user_id), {}).values())

    def members(self, app_id: str, channel: str, user_ids: Iterable[str]) -> list[tuple[Connection, Subscription]]:
        """The live subscriptions of these users to a channel."""
        return [
            (connection, subscription)
            for user_id in user_ids
            for connection in self.of_user(app_id, user_id)
            if (subscription := connection.joined(channel)) is not None
        ]


def _unindex(index: defaultdict[_Key, dict[int, Connection]], key: _Key, conn: int) -> None:
    del index[key][conn]
    if not index[key]:
        del index[key]
