"""The HTTP app over a real gateway and a real Python plane, with log, store and registry in memory.

Requests are ASGI calls, so that a target arrives as it was written and an answer can be read while it grows.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from unit.gateway.gateway_fakes import MemoryLog, MemoryRegistry, MemoryRollups, MemoryStore

from polyglotd.access.admin_tokens import new_admin_token
from polyglotd.access.api_keys import new_api_key
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.access.user_tokens import issue_user_token
from polyglotd.broker.memory import MemoryBroker
from polyglotd.gateway.gateway import Gateway
from polyglotd.gateway.http.api import build_http_app
from polyglotd.gateway.http.app import HttpApp
from polyglotd.gateway.http.call import OPERATOR_STATE
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.examples import ExamplePages
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.model import ALL_SCOPES, App, Limits, SigningSecret, now_us
from polyglotd.plane.asgi.plane import AsgiPlane
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.processor.report import ProcessorReport

APP = "demo"
ROOM = "/apps/demo/channels/room:lobby"
MESSAGE = b'{"type": "message", "data": {"text": "Hello"}}'
JSON = {"content-type": "application/json"}


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One request whose answer may still grow. `leave`, `hang_up`: the client is gone."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head = trio.Event()
        self.ended = trio.Event()
        self.messages_in, self.to_app = trio.open_memory_channel[dict[str, Any]](1000)
        self.out, self.pieces = trio.open_memory_channel[Any](1000)

    async def send(self, message: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self.status = message["status"]
                self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
                self.head.set()
            case "http.response.body" | "websocket.http.response.body":
                if message.get("body"):
                    self.out.send_nowait(message["body"])
            case "websocket.accept":
                self.status = 101
                self.head.set()
            case _:
                self.out.send_nowait(message)

    async def piece(self) -> Any:
        with trio.fail_after(5):
            return await self.pieces.receive()

    def leave(self) -> None:
        self.messages_in.send_nowait({"type": "http.disconnect"})

    def hang_up(self) -> None:
        self.messages_in.send_nowait({"type": "websocket.disconnect", "code": 1000})


@dataclass(eq=False)
class HttpRig:
    gateway: Gateway
    registry: MemoryRegistry
    store: MemoryStore
    rollups: MemoryRollups
    log: MemoryLog
    app: HttpApp
    nursery: trio.Nursery
    key: str = ""
    secret: SigningSecret | None = None
    admin_token: str = ""

    async def tenant(self, app_id: str = APP, *, scopes: frozenset[Any] = ALL_SCOPES, **limits: int) -> str:
        """Create an app; its key."""
        key, record = new_api_key(app_id, now_us=now_us(), scopes=scopes)
        _, secret = new_signing_secret(app_id, now_us=now_us())
        await self.registry.create_app(App(app_id, limits=Limits(**limits), created_us=now_us()), record, secret)
        await self.gateway.registry_changed()
        if app_id == APP:
            self.key, self.secret = key, secret
        return key

    async def another_key(self, *scopes: Any) -> str:
        key, record = new_api_key(APP, now_us=now_us(), scopes=scopes)
        await self.registry.add_key(record)
        await self.gateway.registry_changed()
        return key

    def token(self, user_id: str = "ann", *, ttl_s: int = 3600, **claims: Any) -> str:
        assert self.secret is not None
        more = {"channels": None, "info": None} | claims
        return issue_user_token(self.secret, app_id=APP, user_id=user_id, ttl_s=ttl_s, now_us=now_us(), **more).token

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | list[bytes] | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        *,
        key: str | None = None,
        bearer: str | None = None,
        operator: bool = False,
        cut: bool = False,
    ) -> Response:
        """A whole exchange. A list as `body` comes in pieces without a length; `cut`: it ends too early."""
        exchange = Exchange()
        scope = make_scope(method, target, body, headers, key=key, bearer=bearer, operator=operator)
        pieces = body if isinstance(body, list) else [body or b""]
        for place, piece in enumerate(pieces):
            more = cut or place < len(pieces) - 1
            exchange.messages_in.send_nowait({"type": "http.request", "body": piece, "more_body": more})
        if cut:
            exchange.leave()
        await self.app(scope, exchange.to_app.receive, exchange.send)
        exchange.out.close()
        return Response(exchange.status, exchange.headers, b"".join([piece async for piece in exchange.pieces]))

    @asynccontextmanager
    async def stream(
        self, target: str, headers: Mapping[str, str] | None = None, *, key: str | None = None,
        bearer: str | None = None, operator: bool = False, websocket: bool = False,
    ) -> AsyncIterator[Exchange]:  # fmt: skip
        """An exchange whose answer goes on, once its head is there."""
        exchange = Exchange()
        scope = make_scope("GET", target, None, headers, key=key, bearer=bearer, operator=operator)
        if websocket:
            scope |= {"type": "websocket"}
            exchange.messages_in.send_nowait({"type": "websocket.connect"})
        else:
            exchange.messages_in.send_nowait({"type": "http.request", "body": b"", "more_body": False})

        async def run() -> None:
            await self.app(scope, exchange.to_app.receive, exchange.send)
            exchange.ended.set()

        self.nursery.start_soon(run)
        with trio.fail_after(5):
            await exchange.head.wait()
        yield exchange
        exchange.hang_up() if websocket else exchange.leave()

    async def until(self, found: Callable[[Any], bool], target: str) -> Any:
        """The answer at `target`, once it is as wanted: a stream's subscription follows its head."""
        with trio.fail_after(5):
            while not found(answer := (await self.call("GET", target, key=self.key)).json):
                await trio.sleep(0.001)
        return answer

    async def publish(self, channel: str = "room:lobby", body: bytes = MESSAGE, **more: Any) -> Response:
        return await self.call("POST", f"/apps/{APP}/channels/{channel}/publish", body, JSON, key=self.key, **more)


def make_scope(
    method: str,
    target: str,
    body: bytes | list[bytes] | None,
    headers: Mapping[str, str] | list[tuple[str, str]] | None,
    *,
    key: str | None = None,
    bearer: str | None = None,
    operator: bool = False,
) -> dict[str, Any]:
    given = list(headers.items() if isinstance(headers, Mapping) else headers or [])
    if not any(name.lower() == "host" for name, _ in given):
        given.insert(0, ("host", "localhost:4000"))
    if isinstance(body, bytes):
        given.append(("content-length", str(len(body))))
    elif isinstance(body, list):
        given.append(("transfer-encoding", "chunked"))
    if key is not None:
        given.append(("x-api-key", key))
    if bearer is not None:
        given.append(("authorization", f"Bearer {bearer}"))
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given],
        "client": None if operator else ("192.0.2.1", 0),
        "state": {OPERATOR_STATE: True} if operator else {},
    }


@asynccontextmanager
async def open_http_rig(
    *,
    examples: Path | None = None,
    metrics_public: bool = False,
    processor: ProcessorReport | None = None,
    kinds: Any = None,
    **settings: Any,
) -> AsyncIterator[HttpRig]:
    log, store, registry = MemoryLog(), MemoryStore(), MemoryRegistry()
    rollups = MemoryRollups()
    gateway_settings = GatewaySettings(kinds=kinds or {}, **settings)
    plane = AsgiPlane(log, PlaneSettings(port=0))
    gateway = Gateway(
        plane=plane,
        log=log,
        store=store,  # type: ignore[arg-type]  # the gateway needs its reads alone
        rollups=rollups,  # type: ignore[arg-type]
        registry=registry,
        broker=MemoryBroker(),
        settings=gateway_settings,
    )
    edge = Edge(
        gateway=gateway,
        registry=registry,
        webhooks=None,  # type: ignore[arg-type]  # tests/wire/test_webhooks.py has the real one
        connector=None,  # type: ignore[arg-type]
        settings=gateway_settings,
        metrics=lambda: b"polyglot_ready 1\n",
        metrics_public=metrics_public,
        parts={"log": "segments", "store": "sqlite"},
        plane_why="it was asked for",
        processor=lambda: processor,
        examples=None
        if examples is None
        else ExamplePages(examples, {"phoenix.mjs": examples / "phoenix-client.mjs"}),
    )
    shown, digest = new_admin_token()
    await registry.add_admin_token(digest, "test", now_us())
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.run)
        await nursery.start(plane.run)
        rig = HttpRig(gateway, registry, store, rollups, log, build_http_app(edge), nursery, admin_token=shown)
        await rig.tenant()
        yield rig
        nursery.cancel_scope.cancel()
