"""What every endpoint works with. Built once by the daemon."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.http.examples import ExamplePages
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.model import now_us
from polyglotd.processor.report import ProcessorReport
from polyglotd.processor.webhooks.connecting import Connector
from polyglotd.store.interface import Registry
from polyglotd.store.webhooks import WebhookQueue


@dataclass(frozen=True, kw_only=True)
class Edge:
    gateway: Gateway
    registry: Registry
    webhooks: WebhookQueue
    connector: Connector  # to webhooks' endpoints, for a test of one
    settings: GatewaySettings
    metrics: Callable[[], bytes]  # Prometheus' text format; called in a worker thread
    metrics_public: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)  # which log and store run: what /health tells operators
    plane_why: str = ""  # why this plane serves, in words
    io_threads: int = 1  # over which the plane spreads apps
    examples: ExamplePages | None = None  # development mode only
    processor: Callable[[], ProcessorReport | None] = lambda: None  # None where there never was one
    now_us: Callable[[], int] = now_us
