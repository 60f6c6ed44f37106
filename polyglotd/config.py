"""Every setting of the daemon: its name, type, default and bounds.

`settings.loading` fills these Structs from file, environment and flags, `daemon` hands each room its part.
`config/polyglot.toml` shows every setting with its default; a test holds the two together.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from polyglotd.model import PolicyOverride

DAY_S = 86_400
SQLITE_URL_PREFIX = "sqlite:///"
POSTGRES_URL_PREFIXES = ("postgresql://", "postgres://")


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients come in."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 4000  # 0: any free one, told by the `ready` line
    per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = 50  # connections a second; burst ten times that
    trusted_proxies: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """The data plane in C++."""

    io_threads: Annotated[int, Meta(ge=1, le=64)] = 1  # an app's connections are all on one of them


class Data(msgspec.Struct, frozen=True, kw_only=True):
    dir: str = "./data"


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """The event log."""

    sync: Literal["os", "interval", "always"] = "os"
    sync_interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 100
    bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] = 1 << 30


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """Where history is kept. An empty url: DATA/events.db. The other settings are PostgreSQL's."""

    url: str = ""
    migrate: bool = True  # at the start; else only by `polyglotd migrate`
    connections: Annotated[int, Meta(ge=1, le=1_000)] = 8
    wire: Literal["full", "plain"] = "full"  # plain: neither COPY nor prepared statements


class Processor(msgspec.Struct, frozen=True, kw_only=True):
    """What brings the log into the stores."""

    process: Literal["auto", "own", "shared"] = "auto"  # of `serve --role all`: a child, or the gateway's own
    nice: Annotated[int, Meta(ge=0, le=19)] = 10  # of a process of its own


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    public: bool = False
    per_app: bool = False


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """How long the rows of each level are kept, in seconds, and of how many channels of an app in one bucket."""

    second_keep_s: Annotated[int, Meta(ge=60, le=7 * DAY_S)] = 3 * 3600
    minute_keep_s: Annotated[int, Meta(ge=3600, le=400 * DAY_S)] = 3 * DAY_S
    hour_keep_s: Annotated[int, Meta(ge=DAY_S, le=3650 * DAY_S)] = 90 * DAY_S
    day_keep_s: Annotated[int, Meta(ge=31 * DAY_S, le=36_500 * DAY_S)] = 3650 * DAY_S
    channels_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_000


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 10.0


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    log_format: Literal["auto", "json", "text"] = "auto"  # auto: text on a terminal
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How user tokens are judged."""

    clock_leeway_s: Annotated[int, Meta(ge=0, le=3600)] = 10
    token_ttl_max_s: Annotated[int, Meta(ge=60, le=3650 * DAY_S)] = 30 * DAY_S


class Webhooks(msgspec.Struct, frozen=True, kw_only=True):
    """Where apps' webhooks may go, and how much of them may wait."""

    allow_private: bool | tuple[str, ...] = False  # true, or addresses and networks
    app_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 50)] = 1 << 30  # of what waits for an app's endpoints


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    listen: Listen = Listen()
    driver: Driver = Driver()
    data: Data = Data()
    log: Log = Log()
    store: Store = Store()
    processor: Processor = Processor()
    metrics: Metrics = Metrics()
    analytics: Analytics = Analytics()
    drain: Drain = Drain()
    telemetry: Telemetry = Telemetry()
    access: Access = Access()
    webhooks: Webhooks = Webhooks()
    kinds: Mapping[str, Mapping[str, PolicyOverride]] = {}  # [apps.APP.kinds.KIND]: by app, then kind


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    field.name: field.type for field in msgspec.structs.fields(Settings) if field.name != "kinds"
}
APPS = "apps"
