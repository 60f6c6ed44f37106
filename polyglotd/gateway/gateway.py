"""The gateway service: one object that the daemon runs and the HTTP edge (`gateway.http`) calls.

It puts the parts of this room together and decides nothing itself but which permission a call takes. Every refusal is
a `polyglotd.model.Refusal`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import msgspec
import trio

from polyglotd.access.dev_mode import DEV_API_KEY, DEV_APP_ID
from polyglotd.access.revocation import Revocations
from polyglotd.broker.interface import Broker
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.admission import Admission, Handshakes
from polyglotd.gateway.analytics import AnalyticsPage, AnalyticsReport, AnalyticsRequest
from polyglotd.gateway.app_changes import AppChanges
from polyglotd.gateway.app_events import AppEvents, AppEventsPage, AppEventsRequest
from polyglotd.gateway.app_rates import AppRates
from polyglotd.gateway.authentication import Authentication
from polyglotd.gateway.callers import Caller, Credentials, OperatorCaller
from polyglotd.gateway.channel_list import ChannelList
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connection_slots import ConnectionSlots
from polyglotd.gateway.connections import Connections
from polyglotd.gateway.departures import Departures
from polyglotd.gateway.directory import Directory, Entry
from polyglotd.gateway.dispatch import Dispatch
from polyglotd.gateway.drain import drain
from polyglotd.gateway.erasing import Erasing
from polyglotd.gateway.expiry import Expiry
from polyglotd.gateway.history import History
from polyglotd.gateway.housekeeping import Housekeeping
from polyglotd.gateway.imports import Imported, ImportRun, Imports
from polyglotd.gateway.joins import Joins
from polyglotd.gateway.longpoll import LongPoll, SessionGone
from polyglotd.gateway.metering import Metering
from polyglotd.gateway.occupancy import Occupancy
from polyglotd.gateway.operations import Operations
from polyglotd.gateway.past import Past
from polyglotd.gateway.pattern_tails import PatternTail, PatternTails
from polyglotd.gateway.permissions import check_app_wide, check_presence, check_read
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.policy_changes import PolicyChanges
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.publishing import Publishing
from polyglotd.gateway.pushes import Pushes
from polyglotd.gateway.quotas import Quotas
from polyglotd.gateway.registry_follower import RegistryFollower
from polyglotd.gateway.requests import (
    AppCounts,
    AppUsage,
    ChannelInfo,
    ChannelPage,
    ConnectRequest,
    DeletedApp,
    ErasureProgress,
    GatewayCounters,
    Health,
    HistoryPage,
    HistoryRequest,
    Published,
    PublishRequest,
    SignalRequest,
)
from polyglotd.gateway.resume import Resume
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.gateway.streams import Stream, StreamEnded, StreamKind, Streams
from polyglotd.gateway.tasks import Tasks
from polyglotd.gateway.topics import Topics, unknown_kind
from polyglotd.gateway.usage import UsageReport
from polyglotd.gateway.virtual import VirtualConnections
from polyglotd.log.interface import EventLog
from polyglotd.model import App, Invalid, Policy, Refusal, check_channel, kind_of, now_us
from polyglotd.plane.interface import Handoff, Plane
from polyglotd.store.analytics import Rollups
from polyglotd.store.interface import EventStore, Registry

__all__ = ["Gateway", "PatternTail", "SessionGone", "Stream", "StreamEnded", "StreamKind"]

REGISTRY_BEHIND_S = 5.0  # so long without a look at the registry, and `/health` says so


class Gateway:
    """The daemon runs it before the plane listens, and `drain`s it before it cancels either."""

    def __init__(
        self,
        *,
        plane: Plane,
        log: EventLog,
        store: EventStore,
        rollups: Rollups,
        registry: Registry,
        broker: Broker,
        settings: GatewaySettings,
        wall: WallClock = now_us,
    ) -> None:
        self._plane = plane
        self._log = log
        self._registry = registry
        self._settings = settings
        self._active = active = ActiveApps()
        revocations = Revocations(ttl_max_s=settings.token_ttl_max_s, leeway_s=settings.clock_leeway_s)
        self._port = port = PlanePort(plane)
        self._tasks = tasks = Tasks()
        self._past = past = Past(log, store)
        self._directory = directory = Directory(registry, settings.kinds, active)
        self._quotas = quotas = Quotas(log, store, wall)
        self._rates = rates = AppRates(port, broker, active, quotas)
        self._slots = slots = ConnectionSlots(broker)
        self._connections = connections = Connections(active)
        self._virtual = virtual = VirtualConnections(port)
        self._topics = topics = Topics(port, directory, rates, past, log, active)
        self._presence = presence = Presence(port, broker)
        self._history = History(port, topics, past)
        self._expiry = expiry = Expiry(port, connections, wall, settings.clock_leeway_s)
        self._metering = Metering(log, plane, connections, quotas, wall)
        self._authentication = Authentication(directory, revocations, settings, wall)
        self._admission = Admission(settings, self._authentication, directory, rates, slots, connections, active)
        self._occupancy = occupancy = Occupancy(log, connections, directory, registry, wall)
        self._joins = Joins(port, directory, connections, topics, presence, occupancy, expiry, tasks)
        policies = PolicyChanges(port, connections, topics, presence, log)
        changes = AppChanges(port, connections, rates, expiry, policies, occupancy)
        self._follower = RegistryFollower(registry, directory, revocations, connections, changes, port, wall)
        self._pushes = Pushes(
            port,
            directory,
            connections,
            self._authentication,
            self._history,
            presence,
            policies,
            expiry,
            tasks,
        )
        self._publishing = Publishing(port, directory, topics, rates, active, quotas)
        self._erasing = Erasing(port, topics, past, log, store, wall)
        self._operations = Operations(port, connections, registry, self._follower, settings, wall)
        self._streams = Streams(port, directory, self._admission, topics, self._joins, expiry, virtual)
        self._longpoll = LongPoll(port, self._admission, expiry, virtual)
        self._tails = PatternTails(port, directory, self._admission, topics, virtual, log)
        self._app_events = AppEvents(log, store, past)
        self._imports = Imports(log, store, directory, topics, active, rates, quotas)
        self._channel_list = ChannelList(topics, presence, past)
        self._usage = UsageReport(store, broker, topics, self._metering, quotas, wall)
        self._analytics = AnalyticsReport(rollups, log, wall)
        self._housekeeping = Housekeeping(log, registry, directory, topics, wall)
        departures = Departures(connections, slots, rates, expiry, virtual)
        self._dispatch = Dispatch(
            port,
            Handshakes(port, self._admission, tasks, expiry, departures),
            self._joins,
            self._pushes,
            Resume(port, topics, past, tasks, wall),
            topics,
            presence,
            self._metering,
            virtual,
            departures,
            self._tails,
        )

    # --- service ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """`started` when everything that was revoked is known and records are read. Raises `Unavailable` where the
        registry can't be read at the start."""
        async with trio.open_nursery() as gateway:
            for service in (
                self._tasks,
                self._port,
                self._slots,
                self._rates,
                self._quotas,
                self._presence,
                self._expiry,
                self._joins,
                self._longpoll,
                self._tails,
                self._metering,
                self._occupancy,
                self._housekeeping,
                self._erasing,
                self._follower,
                self._dispatch,
            ):
                await gateway.start(service.run)
            self._admission.closed_for = None
            task_status.started()

    async def drain(self) -> None:
        """Send everybody away, within the drain time. New ones are refused from here on."""
        await drain(self._port, self._admission, self._connections, self._settings.drain_s)

    @property
    def handoffs(self) -> trio.MemoryReceiveChannel[Handoff]:
        """Connections that are the HTTP server's; whoever receives one owns its descriptor."""
        return self._dispatch.handoffs

    def health(self) -> Health:
        """What `/ready` and `/health` say."""
        counters = self._plane.counters()
        log = self._log.stats()
        behind = self._follower.behind_s > REGISTRY_BEHIND_S
        closed_for = self._admission.closed_for
        checks = {
            "registry": "not readable" if behind else "ok",
            "log": log.failed or "ok",
            "gateway": closed_for or "ok",
        }
        return Health(
            # Without its registry it serves whom it knows. It may be a database that all gateways share: where each
            # said that it takes no work, nobody would be served at all.
            ready=log.failed is None and closed_for is None,
            draining=self._admission.draining,
            checks=checks,
            plane=self._plane.name,
            connections=counters.connections,
            subscriptions=counters.subscriptions,
            topics=counters.topics,
            log_end=log.end,
        )

    def counters(self) -> GatewayCounters:
        """For metrics."""
        return GatewayCounters(
            connections=len(self._connections),
            longpoll_sessions=len(self._longpoll),
            tails=len(self._tails),
            tails_lagged=self._tails.lagged,
            topics=len(self._topics),
            tasks=self._tasks.running,
            connects_refused=self._admission.refused.snapshot(),
            joins_refused=self._joins.refused.snapshot(),
            pushes_refused=self._pushes.refused.snapshot(),
            presence_changes_lost=self._presence.lost,
            occupancy_changes_lost=self._occupancy.lost,
        )

    def open_by_app(self) -> dict[str, AppCounts]:
        """For metrics by app: those that have anything open."""
        return {
            app_id: AppCounts(self._connections.count(app_id), self._topics.count(app_id)) for app_id in self._active
        }

    def client_address(self, peer: str, headers: Sequence[tuple[str, str]]) -> str:
        """The address that limits count: what a trusted proxy forwards, else the peer's."""
        return self._admission.address(ConnectRequest("", headers, peer))

    # --- who asks ---

    async def authenticate(self, app_id: str, credentials: Credentials) -> Caller:
        """Raises `Unauthorized` (also for an app that is not there), `Forbidden` where the app is suspended,
        `Unavailable` where the registry is away. In development mode its literals are good too."""
        return await self._authentication.caller(app_id, credentials)

    async def operator(self, app_id: str) -> OperatorCaller:
        """For a peer that was found to be an operator. Raises `NotFound`."""
        return OperatorCaller(await self.find_app(app_id))

    async def is_operator(self, bearer: str) -> bool:
        """Whether this is an admin token."""
        return await self._directory.is_admin_token(bearer)

    async def development_reader(self, app_id: str) -> Caller | None:
        """Development mode only: who reads history of `chat-app` without a credential."""
        if not self._settings.development or app_id != DEV_APP_ID:
            return None
        return await self._authentication.caller(app_id, Credentials(api_key=DEV_API_KEY))

    async def find_app(self, app_id: str) -> App:
        """Cached. Raises `NotFound`."""
        return (await self._directory.entry(app_id)).app

    async def registry_changed(self) -> None:
        """To be awaited after every write to the registry: on return the change holds, also on live connections."""
        await self._follower.catch_up()

    # --- data ---

    async def publish(
        self, caller: Caller, items: Sequence[PublishRequest], *, as_user: str | None = None
    ) -> list[Published | Refusal]:
        """Publish up to 1,000 events in one crossing; a result an item, in order. `as_user`: X-User-Id. Raises
        `Forbidden` for the batch where the caller may not publish at all or `as_user` is not the token's own."""
        return await self._publishing.publish(caller, items, as_user)

    async def history(self, caller: Caller, channel: str, request: HistoryRequest) -> HistoryPage:
        entry, policy = await self._channel(caller, channel)
        check_read(caller, channel, policy)
        return await self._history.page(entry, channel, request)

    async def presence(self, caller: Caller, channel: str) -> dict[str, object]:
        """Phoenix's shape: {user: {"metas": [{"phx_ref": …}]}}, each user's as its own JSON text (`msgspec.Raw`)."""
        entry, policy = await self._channel(caller, channel)
        check_presence(caller, channel, policy)
        state = await self._presence.state(entry.app.app_id, channel, policy)
        return dict(msgspec.json.decode(state, type=dict[str, msgspec.Raw]))

    async def channel_info(self, caller: Caller, channel: str) -> ChannelInfo:
        entry, policy = await self._channel(caller, channel)
        check_read(caller, channel, policy)
        return self._channel_list.info(entry, channel, policy)

    async def channels(self, caller: Caller, *, prefix: str, cursor: str | None, limit: int) -> ChannelPage:
        check_app_wide(caller, "read")
        return self._channel_list.page(await self._entry(caller), prefix, cursor, limit)

    async def app_events(self, caller: OperatorCaller, request: AppEventsRequest) -> AppEventsPage:
        """All events of the app that a pattern and times name, a page at a time. Raises `Invalid`, `Unavailable`."""
        return await self._app_events.page(await self._entry(caller), request)

    async def import_events(self, caller: OperatorCaller, runs: Sequence[ImportRun]) -> list[Imported | Refusal]:
        """Into channels that have no past; a result a run. Raises `Unavailable`, `QuotaExceeded`: then send all of it
        again."""
        return await self._imports.run(await self._entry(caller), runs)

    async def usage(self, caller: Caller) -> AppUsage:
        check_app_wide(caller, "read")
        return await self._usage.of(await self._entry(caller))

    async def analytics(self, caller: Caller, request: AnalyticsRequest) -> AnalyticsPage:
        """Raises `Invalid`, for a channel of a kind that is not logged: the app's counts alone have its events."""
        check_app_wide(caller, "read")
        entry = await self._entry(caller)
        if request.channel is not None:
            _, policy = await self._channel(caller, request.channel)
            if policy.durability != "logged":
                raise Invalid(
                    "events of this channel's kind are not logged: only the app's are counted", field="channel"
                )
        return await self._analytics.of(entry.app.app_id, request)

    # --- operations: key `admin:app` or operator ---

    async def kick(self, caller: Caller, channel: str, user_id: str) -> int:
        """End the user's subscriptions of the channel with `phx_close`; how many there were."""
        check_app_wide(caller, "admin:app")
        return self._operations.kick(await self._entry(caller), channel, user_id)

    async def signal_user(self, caller: Caller, user_id: str, signal: SignalRequest) -> int:
        """To each device of the user that joined the channel; how many. Raises `NotFound` where there is none."""
        check_app_wide(caller, "admin:app")
        return self._operations.signal(await self._entry(caller), user_id, signal)

    async def disconnect_user(self, caller: Caller, user_id: str) -> int:
        """Close the user's connections with 4003; how many there were."""
        check_app_wide(caller, "admin:app")
        return self._operations.disconnect(await self._entry(caller), user_id)

    async def revoke_user(self, caller: Caller, user_id: str) -> None:
        """All tokens of the user that were issued up to now are void; live connections close with 4003."""
        check_app_wide(caller, "admin:app")
        await self._operations.revoke(await self._entry(caller), user_id)

    async def erase_event(self, caller: Caller, channel: str, event_id: str, seq: int | None) -> ErasureProgress:
        """A tombstone takes the event's place. Raises `NotFound`, and `AmbiguousId` where several have this id and no
        seq says which. Like the two below: it is durable on return, and done a little later."""
        check_app_wide(caller, "admin:app")
        return await self._erasing.event(await self._entry(caller), channel, event_id, seq)

    async def erase_history(self, caller: Caller, channel: str) -> ErasureProgress:
        """Of all events that the channel has now."""
        check_app_wide(caller, "admin:app")
        return await self._erasing.history(await self._entry(caller), channel)

    async def erase_user(self, caller: Caller, user_id: str) -> ErasureProgress:
        """Of all events of the user up to now, in every channel of the app."""
        check_app_wide(caller, "admin:app")
        return await self._erasing.user(await self._entry(caller), user_id)

    async def erasure(self, caller: Caller, erasure_id: str) -> ErasureProgress:
        """How far it is. Raises `NotFound`."""
        check_app_wide(caller, "admin:app")
        return self._erasing.progress(caller.app.app_id, erasure_id)

    async def erasures(self, caller: Caller, limit: int) -> Sequence[ErasureProgress]:
        """The newest."""
        check_app_wide(caller, "admin:app")
        return self._erasing.newest(caller.app.app_id, limit)

    async def deleted_apps(self) -> Sequence[DeletedApp]:
        """For operators: deleted apps of which something is left, and where. Raises `Unavailable`."""
        in_stores = set(await self._registry.deleted_apps())
        in_log = set(self._log.forgetting())
        return [
            DeletedApp(
                app_id,
                log=app_id not in in_log and (app_id not in in_stores or self._housekeeping.has_forgotten(app_id)),
                stores=app_id not in in_stores,
            )
            for app_id in sorted(in_stores | in_log)
        ]

    # --- connections without a socket ---

    def open_stream(
        self,
        caller: Caller,
        channel: str,
        *,
        kind: StreamKind,
        since: tuple[str, int] | None,
        request: ConnectRequest,
    ) -> AbstractAsyncContextManager[Stream]:
        """Follow a channel. Limits hold as at a WebSocket's connect and join (a tail of an operator is free)."""
        return self._streams.open(caller, channel, kind, since, request)

    def open_tail(
        self, caller: Caller, pattern: str, *, since: str | None, request: ConnectRequest
    ) -> AbstractAsyncContextManager[PatternTail]:
        """Follow the channels of a pattern, or all of the app (`*`), from a cursor of an earlier one on. For
        operators alone: it counts against no limit."""
        return self._tails.open(caller, pattern, since, request)

    async def open_longpoll(self, request: ConnectRequest) -> str:
        """Open a session; its token. Raises what a WebSocket's connect is refused for."""
        return await self._longpoll.open(request)

    def longpoll_session(self, request: ConnectRequest) -> str | None:
        """The session's token in a request's query (its last `token`), if that is a live session opened with the
        credentials that this request shows; else None."""
        return self._longpoll.find(request)

    async def feed_longpoll(self, token: str, frames: Sequence[bytes], *, binary: bool) -> None:
        """Frames from the client, as if a socket had read them. Raises `SessionGone`."""
        await self._longpoll.feed(token, frames, binary=binary)

    async def poll(self, token: str, timeout_s: float) -> Sequence[bytes]:
        """Wait for frames; empty where none came. Raises `SessionGone`. Cancelled: nothing is lost."""
        return await self._longpoll.poll(token, timeout_s)

    # --- within ---

    async def _entry(self, caller: Caller) -> Entry:
        return await self._directory.entry(caller.app.app_id)

    async def _channel(self, caller: Caller, channel: str) -> tuple[Entry, Policy]:
        check_channel(channel)
        entry = await self._entry(caller)
        policy = entry.policy(kind_of(channel))
        if policy is None:
            raise unknown_kind(channel)
        return entry, policy
