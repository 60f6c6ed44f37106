"""What a connection leaves behind when it is gone: its place in the table, its slot, its expiry, its mailbox.

The one way out for every connection, whatever its make and whoever ended it.
"""

from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.connection_slots import ConnectionSlots
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.virtual import VirtualConnections
from polyglotd.plane.interface import Disconnected


class Departures:
    def __init__(
        self,
        connections: Connections,
        slots: ConnectionSlots,
        rates: AppRates,
        expiry: Expiry,
        virtual: VirtualConnections,
    ) -> None:
        self._connections = connections
        self._slots = slots
        self._rates = rates
        self._expiry = expiry
        self._virtual = virtual

    def on_disconnected(self, record: Disconnected) -> None:
        self._expiry.forget(record.conn)
        self._virtual.on_disconnected(record)
        connection = self._connections.remove(record.conn)
        if connection is None:
            return
        if connection.counted:
            self._slots.give(connection.app_id)
        rates = self._rates.of(connection.app_id)
        if rates is not None and connection.user_id is not None:
            rates.users.mark(connection.user_id, steady_us())  # the minute begins where the connection ends
