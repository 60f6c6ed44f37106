"""Use against quotas, for `usage`: what the store has counted this month, and what is only known here yet."""

from polyglotd.broker.interface import Broker
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.directory import Entry
from polyglotd.gateway.metering import Metering
from polyglotd.gateway.quotas import Quotas
from polyglotd.gateway.requests import AppUsage
from polyglotd.gateway.topics import Topics
from polyglotd.limits.month import month_of
from polyglotd.store.interface import EventStore


class UsageReport:
    def __init__(
        self,
        store: EventStore,
        broker: Broker,
        topics: Topics,
        metering: Metering,
        quotas: Quotas,
        wall: WallClock,
    ) -> None:
        self._store = store
        self._broker = broker
        self._topics = topics
        self._metering = metering
        self._quotas = quotas
        self._wall = wall

    async def of(self, entry: Entry) -> AppUsage:
        """Raises `Unavailable`."""
        app_id = entry.app.app_id
        month = month_of(self._wall())
        stored = await self._store.usage(app_id, month)
        events, stored_bytes = self._quotas.use_of(app_id)
        connections = await self._broker.connections(app_id)
        unwritten = self._metering.unwritten(app_id)
        return AppUsage(
            month=month,
            events=max(events, stored.events + unwritten.events),
            bytes=stored.bytes + unwritten.bytes,
            stored_bytes=max(stored_bytes, stored.stored_bytes),
            connections=connections,
            channels=self._topics.count(app_id),
            limits=entry.app.limits,
        )
