"""The composition root: picks every make, starts the rooms in their order, and stops them in the reverse one.

Called by `cli`; the only module that knows all rooms. Start: data directory, log, registry and store (repaired and
migrated), processor, gateway, HTTP, and last the plane, which listens. Stop: the listening socket closes and `/ready`
goes red, clients are told and closed over the drain time; then one nursery after the other is cancelled, and what was
opened first is closed last. A fault of one service ends them all: whoever supervises the process starts it again.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import trio

from polyglotd.access.addresses import parse_networks
from polyglotd.access.dev_mode import DEV_API_KEY, DEV_APP_ID, DEV_TOKEN_PREFIX
from polyglotd.broker.interface import Broker
from polyglotd.broker.memory import open_memory_broker
from polyglotd.config import Settings
from polyglotd.first_start import ensure_admin_token, ensure_development_app
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.http.admin_socket import admin_listener, serve_admin_socket
from polyglotd.gateway.http.api import build_http_app
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.examples import ExamplePages
from polyglotd.gateway.http.release import release
from polyglotd.gateway.http.server import HttpServer
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.host.cannot_start import CannotStart, cannot_listen
from polyglotd.host.data_directory import Lock, locked_data_directory
from polyglotd.host.service_manager import notify
from polyglotd.host.stop_signals import stop_signals
from polyglotd.log.interface import EventLog, LogSettings
from polyglotd.log.native_log import NativeSegmentLog, open_native_segments
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.plane.asgi.plane import AsgiPlane
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.plane.interface import Plane
from polyglotd.plane.native.library import Library, NoDriver, load_library
from polyglotd.plane.native.plane import NativePlane
from polyglotd.processing import Processing, open_processing, running_processor, webhook_connector
from polyglotd.processor.report import read_state
from polyglotd.stores import Stores, open_stores
from polyglotd.telemetry.line_writer import LineWriter
from polyglotd.telemetry.measured import Measured
from polyglotd.telemetry.metrics import MetricsPage

logger = logging.getLogger(__name__)

Role = Literal["all", "gateway", "processor"]
PlaneChoice = Literal["native", "asgi"]

LOCKS: dict[Role, tuple[Lock, ...]] = {
    "all": ("gateway", "processor"),
    "gateway": ("gateway",),
    "processor": ("processor",),
}
HTTP_DRAIN_S = 2.0  # for answers under way, after the drain
PROCESSOR_GONE_WITHIN_S = 5.0  # that of a daemon that was killed notices it, and ends
STORE_DRAIN_S = 5.0  # for what was accepted to reach the store, after those

PACKAGE = Path(__file__).parent
EXAMPLES = (PACKAGE / "_examples", PACKAGE.parent / "examples")  # in an installed wheel, in a checkout
PHOENIX_CLIENT = PACKAGE.parent / "tests/js/node_modules/phoenix/priv/static/phoenix.mjs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What was asked for. `plane` None: the driver where there is one. `out` takes the lines for people and scripts,
    beside the log's."""

    settings: Settings
    role: Role
    development: bool
    plane: PlaneChoice | None
    out: LineWriter

    @property
    def data(self) -> Path:
        return Path(self.settings.data.dir)

    async def run(self) -> None:
        """Serve until a signal, and drain. Raises `CannotStart` or another fault with words for the operator, in a
        group; anything else is a fault of ours."""
        within_s = PROCESSOR_GONE_WITHIN_S if self.role == "all" else 0.0
        with (
            stop_signals(self._stopped_at_once) as stop,
            locked_data_directory(self.data, LOCKS[self.role], processor_within_s=within_s) as locks,
        ):
            serving = trio.Event()
            async with _services() as daemon:
                daemon.start_soon(_give_up_start, stop, serving, daemon.cancel_scope)
                if self.role == "processor":
                    await self._run_processor(stop, serving)
                else:
                    await self._run_gateway(stop, serving, locks)
        logger.info("stopped")

    # --- roles ---

    async def _run_processor(self, stop: trio.Event, serving: trio.Event) -> None:
        async with open_stores(self.settings) as stores:
            # Before there is a log: who starts first, gateway or processor, does not matter.
            self._ready("processor", serving)
            async with _unless(stop), running_processor(stores, self.settings):
                await trio.sleep_forever()

    async def _run_gateway(self, stop: trio.Event, serving: trio.Event, locks: Mapping[Lock, int]) -> None:
        library, why = self._driver()
        async with (
            self._open_log(library) as log,
            open_stores(self.settings) as stores,
            open_memory_broker() as broker,
            AsyncExitStack() as exits,
        ):
            await ensure_admin_token(stores.registry, self.data)
            if self.development:
                await ensure_development_app(stores.registry)
            processing: Processing | None = None
            if self.role == "all":
                opening = open_processing(self.settings, log, stores, locks, development=self.development)
                processing = await exits.enter_async_context(opening)
                nursery = await exits.enter_async_context(_services())
                await nursery.start(processing.run)
            settings = PlaneSettings(host=self.settings.listen.host, port=self.settings.listen.port)
            plane: Plane
            if library is not None and isinstance(log, NativeSegmentLog):
                io_threads = self.settings.driver.io_threads
                always = self.settings.log.sync == "always"
                plane = NativePlane(library, log, settings, log_always=always, io_threads=io_threads)
            else:
                if self.settings.driver.io_threads > 1:
                    logger.warning("[driver] io_threads is the driver's; the plane in Python has one thread")
                plane = AsgiPlane(log, settings)
            logger.info("the %s plane serves with io_threads = %d: %s", plane.name, plane.io_threads, why)
            await self._serve(stop, serving, log, stores, broker, processing, plane, why)

    def _driver(self) -> tuple[Library | None, str]:
        """The library of the plane that is to serve, or None for the one in Python; and why that one."""
        if self.plane == "asgi":
            return None, "it was asked for"
        try:
            library = load_library()
        except NoDriver as missing:
            if self.plane == "native":
                raise CannotStart(f"--plane native: {missing}") from missing
            return None, str(missing)
        return library, "it was asked for" if self.plane == "native" else "the driver is there"

    def _open_log(self, library: Library | None) -> AbstractAsyncContextManager[SegmentLog]:
        directory, settings = self.data / "log", self._log_settings()
        if library is None:
            return open_segments(directory, settings)
        return open_native_segments(directory, settings, library.cdll)

    async def _serve(
        self,
        stop: trio.Event,
        serving: trio.Event,
        log: EventLog,
        stores: Stores,
        broker: Broker,
        processing: Processing | None,
        plane: Plane,
        plane_why: str,
    ) -> None:
        settings = self._gateway_settings()
        parts = {"log": "segments", "store": stores.kind, "broker": "memory", "plane": plane.name}
        store, registry = stores.events, stores.registry
        gateway = Gateway(
            plane=plane,
            log=log,
            store=store,
            rollups=stores.rollups,
            registry=registry,
            broker=broker,
            settings=settings,
        )
        report = partial(read_state, self.data, "separate") if processing is None else processing.report
        metrics = Measured(
            plane, gateway, log, store, stores.webhooks, report, self.out, per_app=self.settings.metrics.per_app
        )
        edge = Edge(
            gateway=gateway,
            registry=registry,
            webhooks=stores.webhooks,
            connector=webhook_connector(self.settings),
            settings=settings,
            metrics=MetricsPage(metrics.snapshot, release=release(), parts=parts).render,
            metrics_public=self.settings.metrics.public,
            parts=parts,
            plane_why=plane_why,
            io_threads=plane.io_threads,
            processor=report,
            examples=_example_pages() if self.development else None,
        )
        server = HttpServer(build_http_app(edge))
        async with _services() as deciding:
            await deciding.start(gateway.run)
            with admin_listener(self.data / "admin.sock") as admin:
                async with _services() as http:
                    await http.start(server.run, gateway.handoffs)
                    await http.start(serve_admin_socket, admin, server)
                    async with _services() as listening:
                        url = await self._listen(listening, plane)
                        if self.development:
                            self._warn_of_development(url)
                        self._ready(url, serving)
                        await stop.wait()
                        await self._drain(gateway, server, log, processing)

    async def _listen(self, listening: trio.Nursery, plane: Plane) -> str:
        """The URL of what it listens on. Raises `CannotStart`."""
        listen = self.settings.listen
        try:
            host, port = await listening.start(plane.run)
        except (OSError, ExceptionGroup) as error:  # a plane that is several tasks raises a group
            raise CannotStart(cannot_listen(listen.host, listen.port, error)) from error
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _drain(
        self, gateway: Gateway, server: HttpServer, log: EventLog, processing: Processing | None
    ) -> None:
        notify("STOPPING=1")
        logger.info("draining for up to %g s; another signal stops at once", self.settings.drain.seconds)
        await gateway.drain()
        await server.drain(HTTP_DRAIN_S)
        if processing is not None:
            with trio.move_on_after(STORE_DRAIN_S) as patience:
                await processing.caught_up(log.end)
            if patience.cancelled_caught:  # a store that is lost must not keep the daemon from ending
                logger.warning("the last events are in the event log alone; the next start brings them to the store")

    # --- parts of the settings ---

    def _log_settings(self) -> LogSettings:
        log = self.settings.log
        return LogSettings(sync=log.sync, sync_interval_ms=log.sync_interval_ms, bytes_max=log.bytes_max)

    def _gateway_settings(self) -> GatewaySettings:
        settings = self.settings
        return GatewaySettings(
            per_address=settings.listen.per_address,
            trusted_proxies=parse_networks(settings.listen.trusted_proxies),
            origins=settings.listen.origins,
            clock_leeway_s=settings.access.clock_leeway_s,
            token_ttl_max_s=settings.access.token_ttl_max_s,
            drain_s=settings.drain.seconds,
            kinds=settings.kinds,
            development=self.development,
        )

    # --- words ---

    def _ready(self, what: str, serving: trio.Event) -> None:
        serving.set()
        self.out.write(f"ready {what}")
        notify("READY=1")

    def _warn_of_development(self, url: str) -> None:
        logger.warning(
            "DEVELOPMENT MODE: whoever is on this machine may use app %s, with key %s and tokens %sNAME; never in"
            " production. Example: %s/examples/chat_example.html",
            DEV_APP_ID,
            DEV_API_KEY,
            DEV_TOKEN_PREFIX,
            url,
        )

    def _stopped_at_once(self, signal_name: str) -> None:
        self.out.write(f"{signal_name} again: stopped at once")
        self.out.flush(0.2)


def _example_pages() -> ExamplePages:
    directory = next((path for path in EXAMPLES if path.is_dir()), EXAMPLES[-1])
    return ExamplePages(directory, {"phoenix.mjs": PHOENIX_CLIENT})


@asynccontextmanager
async def _services() -> AsyncIterator[trio.Nursery]:
    """Tasks that end with the block."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _unless(stop: trio.Event) -> AsyncIterator[None]:
    """Run the block until it ends or the event comes."""
    async with _services() as waiting:
        waiting.start_soon(_cancel_on, stop, waiting.cancel_scope)
        yield


async def _cancel_on(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _give_up_start(stop: trio.Event, serving: trio.Event, scope: trio.CancelScope) -> None:
    """A signal that comes before there is anything to drain."""
    await stop.wait()
    if not serving.is_set():
        scope.cancel()
