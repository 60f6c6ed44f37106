"""A running gateway with a scripted plane and everything around it in memory, on a clock that jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import trio
from gateway_fakes import MemoryLog, MemoryRegistry, MemoryRollups, MemoryStore
from scripted_plane import ScriptedPlane
from trio.testing import wait_all_tasks_blocked

from polyglotd.access.api_keys import new_api_key
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.access.user_tokens import issue_user_token
from polyglotd.broker.memory import MemoryBroker
from polyglotd.gateway.callers import Caller, Credentials
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.requests import ConnectRequest, PublishRequest
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.model import ApiKey, App, Event, Limits, PolicyOverride, SigningSecret

BEGUN_US = 1_700_000_000_000_000
S = 1_000_000


@dataclass(eq=False)
class Tenant:
    """An app of a test, with what its own people would hold."""

    app_id: str
    key: str
    api_key: ApiKey
    secret: SigningSecret


@dataclass(eq=False)
class Rig:
    gateway: Gateway
    plane: ScriptedPlane
    log: MemoryLog
    store: MemoryStore
    rollups: MemoryRollups
    registry: MemoryRegistry
    broker: MemoryBroker
    begun_s: float
    nursery: trio.Nursery
    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)  # for a test that shows the same one again

    def wall_us(self) -> int:
        return BEGUN_US + round((trio.current_time() - self.begun_s) * S)

    async def tenant(self, app_id: str = "demo", **limits: int) -> Tenant:
        key, api_key = new_api_key(app_id, now_us=self.wall_us())
        _, secret = new_signing_secret(app_id, now_us=self.wall_us())
        await self.registry.create_app(App(app_id, limits=Limits(**limits)), api_key, secret)
        await self.gateway.registry_changed()
        tenant = self.tenants[app_id] = Tenant(app_id, key, api_key, secret)
        return tenant

    def token(
        self, user_id: str, app_id: str = "demo", *, ttl_s: int = 3600, channels: Any = None, info: Any = None
    ) -> str:
        return issue_user_token(
            self.tenants[app_id].secret,
            app_id=app_id,
            user_id=user_id,
            ttl_s=ttl_s,
            channels=channels,
            info=info,
            now_us=self.wall_us(),
        ).token

    def query(self, user_id: str, app_id: str = "demo", **claims: Any) -> str:
        return urlencode({"vsn": "2.0.0", "app_id": app_id, "token": self.token(user_id, app_id, **claims)})

    async def settle(self) -> None:
        """Until everything that was under way has come to rest."""
        await wait_all_tasks_blocked()

    async def connect(self, user_id: str = "ann", app_id: str = "demo", **claims: Any) -> int:
        conn = self.plane.connect(self.query(user_id, app_id, **claims))
        await self.settle()
        assert conn in self.plane.conns, self.plane.commands[-1]
        return conn

    async def join(self, conn: int, channel: str = "room:lobby", params: bytes = b"{}") -> int:
        sub = self.plane.join(conn, channel, params)
        await self.settle()
        return sub

    async def joined(self, conn: int, channel: str = "room:lobby", params: bytes = b"{}") -> int:
        sub = await self.join(conn, channel, params)
        assert sub in self.plane.conns[conn].topics, self.plane.commands[-1]
        return sub

    async def push(self, conn: int, sub: int, event: str, payload: bytes = b"{}") -> tuple[bool, Any]:
        reply = self.plane.push(conn, sub, event, payload)
        await self.settle()
        return self.plane.response(reply)

    async def key_caller(self, app_id: str = "demo") -> Caller:
        return await self.gateway.authenticate(app_id, Credentials(api_key=self.tenants[app_id].key))

    async def user_caller(self, user_id: str = "ann", app_id: str = "demo", **claims: Any) -> Caller:
        return await self.gateway.authenticate(app_id, Credentials(bearer=self.token(user_id, app_id, **claims)))

    async def publish(
        self, channel: str, *data: bytes, caller: Caller | None = None, type_: str = "message"
    ) -> list[Any]:
        caller = caller or await self.key_caller()
        return await self.gateway.publish(caller, [PublishRequest(channel, type_, one) for one in data])

    async def set_kind(self, kind: str, app_id: str = "demo", **fields: Any) -> None:
        await self.registry.set_kind(app_id, kind, PolicyOverride(**fields))
        await self.gateway.registry_changed()
        await self.settle()


def event(seq: int, *, channel: str = "room:lobby", epoch: str = "e1", ts_us: int = BEGUN_US, **more: Any) -> Event:
    return Event(
        id=more.get("id", f"evt_{seq}"),
        app_id=more.get("app_id", "demo"),
        channel=channel,
        epoch=epoch,
        seq=seq,
        type=more.get("type", "message"),
        data=more.get("data", b"%d" % seq),
        user_id=more.get("user_id"),
        ts_us=ts_us,
    )


def request(query: str = "", *headers: tuple[str, str], address: str = "192.0.2.1") -> ConnectRequest:
    return ConnectRequest(query, [("host", "localhost:4000"), *headers], address)


@asynccontextmanager
async def open_rig(**settings: Any) -> AsyncIterator[Rig]:
    log, store, registry, broker = MemoryLog(), MemoryStore(), MemoryRegistry(), MemoryBroker()
    rollups = MemoryRollups()
    plane = ScriptedPlane(log)
    begun_s = trio.current_time()
    gateway = Gateway(
        plane=plane,
        log=log,
        store=store,  # type: ignore[arg-type]  # the gateway needs its reads alone
        rollups=rollups,  # type: ignore[arg-type]
        registry=registry,
        broker=broker,
        settings=GatewaySettings(**settings),
        wall=lambda: BEGUN_US + round((trio.current_time() - begun_s) * S),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.run)
        yield Rig(gateway, plane, log, store, rollups, registry, broker, begun_s, nursery)
        nursery.cancel_scope.cancel()
