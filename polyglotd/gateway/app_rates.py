"""What this node may spend of each active app's rates, and the limits that the plane is told.

An app is `configured` before its first connection or topic. One lease a rate comes from the broker, is renewed once a
second, and goes on at its last value while the broker is away.
"""

import logging
from dataclasses import dataclass, field

import trio

from polyglotd.broker.interface import Broker
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.quotas import Quotas
from polyglotd.limits.lease import LeasedRate
from polyglotd.limits.recent_users import RecentUsers
from polyglotd.model import Limits, Unavailable
from polyglotd.plane.interface import ConfigureApp

logger = logging.getLogger(__name__)

CONNECTS_BURST_S = 5.0  # as section 8 of the contract says; a second for the others
RENEW_S = 1.0
IDLE_S = 60.0  # an app that is not active keeps its state so long, lest a pause gives it fresh bursts


@dataclass(slots=True, eq=False)
class Rates:
    """One app's. `publish_share`: of `publishes_per_app`, which the plane counts."""

    limits: Limits
    connects: LeasedRate
    api_publishes: LeasedRate
    publish_share: float
    idle_since_s: float | None = None
    users: RecentUsers = field(default_factory=RecentUsers)


class AppRates:
    def __init__(self, port: PlanePort, broker: Broker, active: ActiveApps, quotas: Quotas) -> None:
        self._port = port
        self._quotas = quotas
        quotas.changed = self._tell
        self._broker = broker
        self._active = active
        self._rates: dict[str, Rates] = {}

    def of(self, app_id: str) -> Rates | None:
        return self._rates.get(app_id)

    def known(self, app_id: str, limits: Limits) -> Rates | None:
        """What `configured` would return, if it need not wait."""
        found = self._rates.get(app_id)
        return found if found is not None and (found.limits is limits or found.limits == limits) else None

    async def configured(self, app_id: str, limits: Limits) -> Rates:
        """The app's rates; at first use, or where its limits are others, the plane is told. Raises `Unavailable`
        where the broker was not reached once for this app; later the last lease will do."""
        if (found := self.known(app_id, limits)) is not None:
            return found
        await self._quotas.begin(app_id, limits)
        found = self._rates.get(app_id)
        try:
            shares = await self._lease(app_id, limits)
        except Unavailable:
            if found is None:
                raise
            shares = (found.connects.share_per_s, found.api_publishes.share_per_s, found.publish_share)
        found = self._rates.get(app_id)
        if found is None:
            connects, api_publishes, publish_share = shares
            now_us = steady_us()
            found = self._rates[app_id] = Rates(
                limits,
                LeasedRate(connects, burst_s=CONNECTS_BURST_S, now_us=now_us),
                LeasedRate(api_publishes, now_us=now_us),
                publish_share,
            )
            self._tell(app_id)
        else:
            self._renewed(app_id, found, limits, shares)
        return found

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Renew the leases of active apps, once a second."""
        task_status.started()
        while True:
            await trio.sleep(RENEW_S)
            for app_id, rates in list(self._rates.items()):
                if self._is_idle(app_id, rates):
                    del self._rates[app_id]
                    self._quotas.forget(app_id)
                elif rates.idle_since_s is None:
                    await self._renew(app_id, rates)

    def _is_idle(self, app_id: str, rates: Rates) -> bool:
        now_s = trio.current_time()
        if app_id in self._active:
            rates.idle_since_s = None
        elif rates.idle_since_s is None:
            rates.idle_since_s = now_s
        return rates.idle_since_s is not None and now_s - rates.idle_since_s >= IDLE_S

    async def _renew(self, app_id: str, rates: Rates) -> None:
        limits = rates.limits
        try:
            shares = await self._lease(app_id, limits)
        except Unavailable as error:
            logger.warning("no lease for app %s, going on at the last one: %s", app_id, error)
            rates.connects.renewal_failed(steady_us())
            rates.api_publishes.renewal_failed(steady_us())
        else:
            if rates.limits == limits:  # else somebody has just leased by the new ones
                self._renewed(app_id, rates, limits, shares)

    def _renewed(self, app_id: str, rates: Rates, limits: Limits, shares: tuple[float, float, float]) -> None:
        connects, api_publishes, publish_share = shares
        now_us = steady_us()
        rates.connects.renewed(connects, now_us)
        rates.api_publishes.renewed(api_publishes, now_us)
        if (limits, publish_share) != (rates.limits, rates.publish_share):
            rates.limits, rates.publish_share = limits, publish_share
            self._tell(app_id)

    def _tell(self, app_id: str) -> None:
        """The plane, once there is something to tell."""
        if (rates := self._rates.get(app_id)) is not None:
            events_used_up, bytes_used_up = self._quotas.used_up(app_id)
            self._port.send(ConfigureApp(app_id, rates.limits, rates.publish_share, events_used_up, bytes_used_up))

    async def _lease(self, app_id: str, limits: Limits) -> tuple[float, float, float]:
        return (
            await self._broker.lease_rate(app_id, "connects_per_second", limits.connects_per_second),
            await self._broker.lease_rate(app_id, "api_publishes", limits.api_publishes),
            await self._broker.lease_rate(app_id, "publishes_per_app", limits.publishes_per_app),
        )
