"""An app that has something alive here was changed in the registry: what follows from it, on everything alive."""

from collections.abc import Iterable

from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.connections import Connection, Connections
from polyglotd.gateway.directory import Change, Entry
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.occupancy import Occupancy
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.policy_changes import PolicyChanges
from polyglotd.plane.interface import Disconnect

REVOKED_CODE = 4003


class AppChanges:
    def __init__(
        self,
        port: PlanePort,
        connections: Connections,
        rates: AppRates,
        expiry: Expiry,
        policies: PolicyChanges,
        occupancy: Occupancy,
    ) -> None:
        self._port = port
        self._connections = connections
        self._rates = rates
        self._expiry = expiry
        self._policies = policies
        self._occupancy = occupancy

    async def apply(self, change: Change) -> None:
        now = change.now
        self._occupancy.changed(change.before, now, change.app_id)
        if now is None:
            self._end(self._connections.of_app(change.app_id), "app deleted")
            return
        if now.app.suspended:
            # An operator's tail goes on: it is how he sees whether the app is quiet.
            used = [one for one in self._connections.of_app(change.app_id) if one.credential is not None]
            self._end(used, "app suspended")
        self._keys(now)
        if self._rates.of(change.app_id) is not None:
            await self._rates.configured(change.app_id, now.app.limits)
        if now.app.kinds != change.before.app.kinds:
            await self._policies.apply(now)

    def _end(self, connections: Iterable[Connection], reason: str) -> None:
        for connection in connections:
            self._port.send(Disconnect(connection.conn, REVOKED_CODE, reason))

    def _keys(self, entry: Entry) -> None:
        """A rotation gave a key an end: streams that it opened end with it."""
        for key in entry.keys.values():
            if key.expires_us is not None:
                for connection in self._connections.named((entry.app.app_id, "key", key.key_id)):
                    self._connections.replace_credential(connection, key)
                    self._expiry.watch(connection)
