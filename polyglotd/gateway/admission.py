"""Who may open a connection: WebSockets, long-poll sessions and streams pass the same checks in the same order.

First what needs no credential (is there room for anybody, the address, development mode's fence, the page's origin),
then the credential, then the app's limits. What may change while a task waits is looked at again at the end.
"""

import logging
from collections.abc import Callable
from functools import partial

import trio

from polyglotd.access.addresses import address_key, client_address
from polyglotd.access.dev_mode import LocalOrigins, check_local
from polyglotd.access.grant import UserGrant
from polyglotd.access.origins import OriginRule, parse_origins
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.authentication import Authentication
from polyglotd.gateway.callers import Credential
from polyglotd.gateway.clock import steady_us
from polyglotd.gateway.connect_query import Shown, shown
from polyglotd.gateway.connection_slots import ConnectionSlots
from polyglotd.gateway.connections import Connection, Connections
from polyglotd.gateway.departures import Departures
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.problem import problem
from polyglotd.gateway.refusal_counts import RefusalCounts
from polyglotd.gateway.requests import ConnectRequest
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.gateway.tasks import FAULT, Tasks
from polyglotd.limits.keyed import KeyedGcra
from polyglotd.model import Forbidden, InternalFault, RateLimited, Refusal, Unauthorized, Unavailable
from polyglotd.plane.interface import Accept, Connect, Disconnected, Refuse

logger = logging.getLogger(__name__)

ADDRESS_BURST_S = 10
STARTING = "the server is starting"
DRAINING = "the server is going away"
DECISION_DEADLINE_S = 9.0  # the plane waits 10 s


class Admission:
    def __init__(
        self,
        settings: GatewaySettings,
        authentication: Authentication,
        directory: Directory,
        rates: AppRates,
        slots: ConnectionSlots,
        connections: Connections,
        active: ActiveApps,
    ) -> None:
        self._settings = settings
        self._authentication = authentication
        self._directory = directory
        self._rates = rates
        self._slots = slots
        self._connections = connections
        self._active = active
        self._origins: OriginRule = LocalOrigins() if settings.development else parse_origins(settings.origins)
        self._addresses = KeyedGcra(settings.per_address, settings.per_address * ADDRESS_BURST_S)
        self.closed_for: str | None = STARTING  # why nobody is let in; None: come in
        self.refused = RefusalCounts()

    @property
    def draining(self) -> bool:
        return self.closed_for == DRAINING

    # --- the decision ---

    async def user(self, request: ConnectRequest, new_conn: Callable[[], int]) -> Connection:
        """A user's connection, by the token that the request shows. Entered in the table on return: until the next
        await everything that was checked holds, and the caller tells the plane.

        Raises what it is refused for: `Unavailable`, `RateLimited`, `Forbidden`, `Unauthorized`, `QuotaExceeded`.
        """
        what = self.begin(request)
        return self.user_at_once(what, new_conn) or await self.user_in_time(what, new_conn)

    def begin(self, request: ConnectRequest) -> Shown:
        """The checks that come before the credential's, and what the request shows. Raises as `user`."""
        self._check_stranger(request)
        return shown(request)

    def user_at_once(self, what: Shown, new_conn: Callable[[], int]) -> Connection | None:
        """The rest of `user` where nothing has to be waited for, as it is but for an app's first connections; else
        None, with nothing done."""
        entry = self._directory.at_once(what.app_id)
        rates = None if entry is None else self._rates.known(what.app_id, entry.app.limits)
        if entry is None or rates is None:
            return None
        grant = self._authentication.user(entry, what.token)
        if not self._slots.take_at_once(what.app_id, rates, grant.user_id, is_back=self._is_back(what.app_id, grant)):
            return None
        return self._add(new_conn(), entry, grant, counted=True)

    async def user_in_time(self, what: Shown, new_conn: Callable[[], int]) -> Connection:
        """The rest of `user`, however long it takes, up to a deadline."""
        with self._deadline():
            entry = await self._authentication.entry(what.app_id)
            grant = self._authentication.user(entry, what.token)
            return await self._enter(entry, grant, new_conn, counted=True)
        raise Unavailable("the decision took too long")

    async def stream(
        self, request: ConnectRequest, app_id: str, credential: Credential, new_conn: Callable[[], int]
    ) -> Connection:
        """The same for a caller who was authenticated by HTTP already. An operator's counts against no limit."""
        with self._deadline():
            if credential is None:
                self._check_open()
            else:
                self._check_stranger(request)
            entry = await self._directory.entry(app_id)
            return await self._enter(entry, credential, new_conn, counted=credential is not None)
        raise Unavailable("the decision took too long")

    def check_page(self, request: ConnectRequest) -> None:
        """What holds for each request of a connection, as of a long-poll session's: fence and origin."""
        if self._settings.development:
            check_local(request.headers)
        origins = [value for name, value in request.headers if name == "origin"]
        host = next((value for name, value in request.headers if name == "host"), None)
        if len(origins) > 1 or not self._origins.allows(origins[0] if origins else None, host):
            raise Forbidden("pages of this origin may not connect; see [listen] origins")

    def address(self, request: ConnectRequest) -> str:
        return client_address(request.address, request.headers, self._settings.trusted_proxies)

    def _check_stranger(self, request: ConnectRequest) -> None:
        self._check_open()
        wait_us = self._addresses.take(address_key(self.address(request)), 1, steady_us())
        if wait_us:
            raise RateLimited(
                f"an address opens at most {self._settings.per_address} connections a second",
                retry_after_ms=-(-wait_us // 1000),
            )
        self.check_page(request)

    def _check_open(self) -> None:
        if self.closed_for is not None:
            raise Unavailable(self.closed_for, retry_after_ms=1000)

    async def _enter(
        self, entry: Entry, credential: Credential, new_conn: Callable[[], int], *, counted: bool
    ) -> Connection:
        app_id = entry.app.app_id
        with self._active.held(app_id):
            rates = await self._rates.configured(app_id, entry.app.limits)
            if counted:
                user_id = credential.user_id if isinstance(credential, UserGrant) else None
                await self._slots.take(app_id, rates, user_id, is_back=self._is_back(app_id, credential))
            try:
                self._check_open()
                entry = self._current(app_id)
                if credential is not None:
                    self._authentication.check(entry, credential)
            except Refusal:
                if counted:
                    self._slots.give(app_id)
                raise
            return self._add(new_conn(), entry, credential, counted=counted)

    def _add(self, conn: int, entry: Entry, credential: Credential, *, counted: bool) -> Connection:
        connection = Connection(conn, entry.app.app_id, credential, entry.app.limits, counted=counted)
        self._connections.add(connection)
        return connection

    def _is_back(self, app_id: str, credential: Credential) -> bool:
        """Whether the user is here already, which makes this no new connection to the app's rate."""
        return isinstance(credential, UserGrant) and self._connections.has_user(app_id, credential.user_id)

    def _current(self, app_id: str) -> Entry:
        entry = self._directory.cached(app_id)
        if entry is None:
            raise Unauthorized("the credential is not good for this app")
        return entry

    def _deadline(self) -> trio.CancelScope:
        return trio.move_on_after(DECISION_DEADLINE_S)


class Handshakes:
    """WebSockets at the door: each `Connect` is answered with `Accept` or `Refuse`."""

    def __init__(
        self, port: PlanePort, admission: Admission, tasks: Tasks, expiry: Expiry, departures: Departures
    ) -> None:
        self._port = port
        self._admission = admission
        self._tasks = tasks
        self._expiry = expiry
        self._departures = departures
        self._waiting: dict[int, Disconnected | None] = {}  # by conn: whether the peer went meanwhile

    def on_connect(self, record: Connect) -> None:
        def refuse(refusal: Refusal) -> None:
            self._admission.refused.count(refusal)
            status, headers, body = problem(refusal, socket_status(refusal))
            self._port.send(Refuse(record.conn, status, headers, body))

        async def decide(what: Shown) -> None:
            try:
                connection = await self._admission.user_in_time(what, lambda: record.conn)
            except Refusal as refusal:
                refuse(refusal)
                return
            finally:
                gone = self._waiting.pop(record.conn)
            if gone is not None:
                self._departures.on_disconnected(gone)
            else:
                self._accept(record, connection)

        try:
            what = self._admission.begin(ConnectRequest(record.query, record.headers, record.address))
            connection = self._admission.user_at_once(what, lambda: record.conn)
        except Refusal as refusal:
            refuse(refusal)
            return
        except Exception:
            logger.exception("a connection could not be decided about")
            refuse(InternalFault(FAULT))
            return
        if connection is not None:
            self._accept(record, connection)
            return
        self._waiting[record.conn] = None
        if not self._tasks.start(partial(decide, what), refuse):
            del self._waiting[record.conn]
            refuse(Unavailable("too many connections wait for a decision"))

    def _accept(self, record: Connect, connection: Connection) -> None:
        self._port.send(Accept(record.conn, connection.app_id, connection.user_id or ""))
        self._expiry.watch(connection)

    def on_disconnected(self, record: Disconnected) -> bool:
        """Whether the connection still waited for its decision, so that nobody else knows it yet."""
        if record.conn not in self._waiting:
            return False
        self._waiting[record.conn] = record
        return True


def socket_status(refusal: Refusal) -> int:
    """The contract: a refused connection gets 403, or 429 where a limit is the reason; 503 where it may come back."""
    return refusal.http_status if refusal.http_status in (429, 500, 503) else 403
