"""The gateway with the Python plane, segment files and SQLite: its clients are long-poll sessions and streams."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from gateway_rig import request

from polyglotd.access.api_keys import new_api_key
from polyglotd.access.signing_secrets import new_signing_secret
from polyglotd.access.user_tokens import issue_user_token
from polyglotd.broker.memory import open_memory_broker
from polyglotd.config import Settings
from polyglotd.gateway import housekeeping
from polyglotd.gateway.callers import Caller, Credentials
from polyglotd.gateway.gateway import Gateway, SessionGone
from polyglotd.gateway.requests import HistoryRequest, Published, PublishRequest
from polyglotd.gateway.settings import GatewaySettings
from polyglotd.log.interface import LogSettings
from polyglotd.log.segments import open_segments
from polyglotd.model import App, PolicyOverride, SigningSecret, now_us
from polyglotd.plane.asgi.plane import AsgiPlane
from polyglotd.plane.asgi.settings import PlaneSettings
from polyglotd.processing import open_processor_beside
from polyglotd.processor import forgetting
from polyglotd.store.analytics import RollupSettings
from polyglotd.store.sqlite.events import open_sqlite_events
from polyglotd.store.sqlite.registry import SqliteRegistry, open_sqlite_registry
from polyglotd.store.sqlite.rollups import open_sqlite_rollups
from polyglotd.store.sqlite.webhooks import open_sqlite_webhooks
from polyglotd.stores import Stores

PATIENCE_S = 5.0


@dataclass(eq=False)
class Node:
    gateway: Gateway
    registry: SqliteRegistry
    secret: SigningSecret
    key: str
    caught_up: Callable[[], Any]

    async def caller(self) -> Caller:
        return await self.gateway.authenticate("demo", Credentials(api_key=self.key))

    async def publish(self, channel: str, *data: bytes) -> list[int]:
        items = [PublishRequest(channel, "message", one) for one in data]
        results = await self.gateway.publish(await self.caller(), items)
        return [result.seq for result in results if isinstance(result, Published)]

    async def client(self, user_id: str) -> "Client":
        token = issue_user_token(
            self.secret, app_id="demo", user_id=user_id, ttl_s=600, channels=None, info=None, now_us=now_us()
        ).token
        query = urlencode({"vsn": "2.0.0", "app_id": "demo", "token": token})
        return Client(self.gateway, await self.gateway.open_longpoll(request(query)))


@dataclass(eq=False)
class Client:
    """A Phoenix client on a long-poll session."""

    gateway: Gateway
    session: str
    refs: int = 0
    inbox: list[list[Any]] = field(default_factory=list)

    async def send(self, topic: str, event: str, payload: Any) -> str:
        self.refs += 1
        ref = str(self.refs)
        frame = json.dumps([ref if event == "phx_join" else None, ref, topic, event, payload]).encode()
        await self.gateway.feed_longpoll(self.session, [frame], binary=False)
        return ref

    async def ask(self, topic: str, event: str, payload: Any = None) -> Any:
        """The response of the reply."""
        ref = await self.send(topic, event, payload or {})
        reply = await self.wait(lambda m: m[3] == "phx_reply" and m[1] == ref)
        return reply[4]["response"]

    async def wait(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """The first message that is wanted; it and those before it leave the inbox."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for place, message in enumerate(self.inbox):
                    if wanted(message):
                        del self.inbox[: place + 1]
                        return message
                self.inbox += [json.loads(frame) for frame in await self.gateway.poll(self.session, 1)]

    async def event(self) -> Any:
        return (await self.wait(lambda m: m[3] == "event"))[4]


@asynccontextmanager
async def open_node(data: Path, log_settings: LogSettings | None = None) -> AsyncIterator[Node]:
    async with (
        open_segments(data / "log", log_settings or LogSettings()) as log,
        open_sqlite_registry(data / "registry.db") as registry,
        open_sqlite_events(data / "events.db") as store,
        open_sqlite_rollups(data / "rollups.db", RollupSettings()) as rollups,
        open_sqlite_webhooks(data / "webhooks.db") as webhooks,
        open_memory_broker() as broker,
        open_processor_beside(
            log,
            Stores(kind="sqlite", registry=registry, events=store, webhooks=webhooks, rollups=rollups),
            Settings(),
        ) as processor,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(processor.run)
        plane = AsgiPlane(log, PlaneSettings(port=0, close_s=0.05))
        gateway = Gateway(
            plane=plane,
            log=log,
            store=store,
            rollups=rollups,
            registry=registry,
            broker=broker,
            settings=GatewaySettings(),
        )
        key, api_key = new_api_key("demo", now_us=now_us())
        if not await registry.apps("", 1):
            _, secret = new_signing_secret("demo", now_us=now_us())
            await registry.create_app(App("demo"), api_key, secret)
        else:
            await registry.add_key(api_key)
            (secret,) = await registry.secrets("demo")
        await nursery.start(gateway.run)
        await nursery.start(plane.run)
        yield Node(gateway, registry, secret, key, lambda: processor.caught_up(log.end))
        await gateway.drain()
        nursery.cancel_scope.cancel()


async def test_two_users_talk_and_a_stream_listens(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        ann, bob = await node.client("ann"), await node.client("bob")
        joined = await ann.ask("room:lobby", "phx_join", {"history": 10})
        assert (joined["kind"], joined["seq"], joined["events"]) == ("room", 0, [])
        assert list((await ann.wait(lambda m: m[3] == "presence_state"))[4]) == ["ann"]
        await bob.ask("room:lobby", "phx_join")
        diff = await ann.wait(lambda m: m[3] == "presence_diff" and "bob" in m[4]["joins"])
        assert diff[4]["leaves"] == {}
        stream = node.gateway.open_stream(
            await node.caller(), "room:lobby", kind="tail", since=None, request=request()
        )
        async with stream as tail:
            sent = await ann.ask("room:lobby", "publish", {"type": "message", "data": {"text": "Hello"}})
            got = await bob.event()
            assert (got["id"], got["seq"], got["meta"]["user_id"]) == (sent["id"], 1, "ann")
            (frame,) = await tail.frames(PATIENCE_S)
            assert json.loads(frame)["event"] == got
        assert await node.publish("room:lobby", b'"by key"') == [2]
        assert (await bob.event())["data"] == "by key"
        await ann.send("room:lobby", "signal", {"type": "typing", "data": 1})
        assert (await bob.wait(lambda m: m[3] == "signal"))[4]["type"] == "typing"
        page = await bob.ask("room:lobby", "history", {"limit": 1})
        assert ([one["seq"] for one in page["events"]], page["more"]) == ([2], True)
        assert await node.gateway.kick(await node.caller(), "room:lobby", "bob") == 1
        await bob.wait(lambda m: m[3] == "phx_close")
        await ann.wait(lambda m: m[3] == "presence_diff" and "bob" in m[4]["leaves"])


async def test_a_channel_goes_on_after_a_restart_and_a_member_resumes_over_it(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        first = await (await node.client("ann")).ask("room:lobby", "phx_join")
        assert await node.publish("room:lobby", b"1", b"2", b"3") == [1, 2, 3]
    async with open_node(tmp_path) as node:
        assert await node.publish("room:lobby", b"4") == [4]
        since = {"epoch": first["epoch"], "seq": 1}
        joined = await (await node.client("ann")).ask("room:lobby", "phx_join", {"since": since})
        assert (joined["epoch"], joined["seq"], joined["recovered"]) == (first["epoch"], 4, True)
        assert [one["data"] for one in joined["events"]] == [2, 3, 4]


async def test_a_resume_beyond_the_window_comes_from_the_store_without_a_gap(tmp_path: Path) -> None:
    data = b'"%b"' % (b"x" * 60_000)
    async with open_node(tmp_path) as node:
        ann = await node.client("ann")
        first = await ann.ask("room:lobby", "phx_join")
        for _ in range(6):
            await node.publish("room:lobby", *[data] * 5)
        await node.caught_up()
        bob = await node.client("bob")
        joined = await bob.ask("room:lobby", "phx_join", {"since": {"epoch": first["epoch"], "seq": 0}})
        assert (joined["seq"], joined["recovered"]) == (30, True)
        seqs = [one["seq"] for one in joined["events"]]
        assert len(seqs) < 30  # cut at 1 MiB; the rest follows
        while seqs[-1] < 30:
            seqs.append((await bob.event())["seq"])
        assert seqs == list(range(1, 31))
        page = await node.gateway.history(await node.caller(), "room:lobby", HistoryRequest(after=0, limit=1000))
        assert [one.seq for one in page.events] == list(range(1, len(page.events) + 1))
        assert page.more


async def test_a_kind_that_becomes_logged_sends_its_members_into_an_epoch_that_outlives_a_restart(
    tmp_path: Path,
) -> None:
    async with open_node(tmp_path) as node:
        ann = await node.client("ann")
        before = await ann.ask("match:1", "phx_join")
        await node.publish("match:1", b"1")
        await node.registry.set_kind("demo", "match", PolicyOverride(durability="logged"))
        await node.gateway.registry_changed()
        await ann.wait(lambda m: m[3] == "phx_error")
        after = await ann.ask("match:1", "phx_join", {"since": {"epoch": before["epoch"], "seq": 1}})
        assert after["epoch"] != before["epoch"]
        assert (after["seq"], after["recovered"]) == (0, False)
        assert await node.publish("match:1", b"2") == [1]
    async with open_node(tmp_path) as node:
        page = await node.gateway.history(await node.caller(), "match:1", HistoryRequest())
        assert (page.epoch, [one.data for one in page.events]) == (after["epoch"], [b"2"])


async def test_a_revoked_user_is_out_within_a_second(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        ann, bob = await node.client("ann"), await node.client("bob")
        await ann.ask("room:lobby", "phx_join")
        at_us = now_us()
        await node.registry.revoke("demo", "user", "ann", at_us, at_us + 10**12)  # as another process would
        with trio.fail_after(1), pytest.raises(SessionGone):
            await ann.wait(lambda _: False)
        assert (await bob.ask("room:lobby", "phx_join"))["kind"] == "room"


async def test_a_deleted_apps_id_is_free_again_once_log_and_store_have_forgotten_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "DELETED_S", 0.05)
    monkeypatch.setattr(forgetting, "EVERY_S", 0.05)
    async with open_node(tmp_path) as node:
        await node.publish("match:1", b"1")
        await node.registry.delete_app("demo", now_us())
        await node.gateway.registry_changed()
        with trio.fail_after(PATIENCE_S):
            while await node.registry.deleted_apps():
                await trio.sleep(0.02)
