"""What operators and keys with `admin:app` do to users: kick, signal, disconnect, revoke. On this node's connections.

Callers are checked by `Gateway`; here it happens.
"""

from polyglotd.access.revocation import keep_until_us
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.directory import Entry
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.registry_follower import RegistryFollower
from polyglotd.gateway.requests import SignalRequest
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.gateway.topics import unknown_kind
from polyglotd.model import (
    NotFound,
    PayloadTooLarge,
    check_channel,
    check_type,
    check_user_id,
    encode_signal,
    kind_of,
)
from polyglotd.plane.interface import Disconnect, EndSubscription, SendTo
from polyglotd.store.interface import Registry

DISCONNECTED_CODE = 4003


class Operations:
    def __init__(
        self,
        port: PlanePort,
        connections: Connections,
        registry: Registry,
        follower: RegistryFollower,
        settings: GatewaySettings,
        wall: WallClock,
    ) -> None:
        self._port = port
        self._connections = connections
        self._registry = registry
        self._follower = follower
        self._settings = settings
        self._wall = wall

    def kick(self, entry: Entry, channel: str, user_id: str) -> int:
        """Also of joins under way: a kick that comes between a join and its reply would else be lost."""
        check_channel(channel)
        if entry.policy(kind_of(channel)) is None:
            raise unknown_kind(channel)
        kicked = 0
        for connection in self._connections.of_user(entry.app.app_id, check_user_id(user_id, "user")):
            if (subscription := connection.of_channel(channel)) is not None:
                self._port.send(EndSubscription(connection.conn, subscription.sub, "closed"))
                kicked += subscription.joined
        return kicked

    def signal(self, entry: Entry, user_id: str, signal: SignalRequest) -> int:
        """Raises `NotFound` where no device of the user has joined the channel."""
        check_user_id(user_id, "user")
        check_channel(signal.channel)
        check_type(signal.type)
        limit = entry.app.limits.payload_bytes
        if len(signal.data) > limit:
            raise PayloadTooLarge(f"data has at most {limit} bytes", limit=limit)
        app_id = entry.app.app_id
        payload = encode_signal(app_id, signal.channel, signal.type, signal.data, None, self._wall())
        reached = 0
        for connection in self._connections.of_user(app_id, user_id):
            if (subscription := connection.joined(signal.channel)) is not None:
                self._port.send(SendTo(connection.conn, subscription.sub, "signal", payload))
                reached += 1
        if not reached:
            raise NotFound("no device of this user has joined the channel")
        return reached

    def disconnect(self, entry: Entry, user_id: str) -> int:
        connections = self._connections.of_user(entry.app.app_id, check_user_id(user_id, "user"))
        for connection in connections:
            self._port.send(Disconnect(connection.conn, DISCONNECTED_CODE, "disconnected by an operator"))
        return len(connections)

    async def revoke(self, entry: Entry, user_id: str) -> None:
        """Raises `Unavailable`."""
        check_user_id(user_id, "user")
        at_us = self._wall()
        keep_us = keep_until_us(
            at_us, ttl_max_s=self._settings.token_ttl_max_s, leeway_s=self._settings.clock_leeway_s
        )
        await self._registry.revoke(entry.app.app_id, "user", user_id, at_us, keep_us)
        await self._follower.catch_up()
