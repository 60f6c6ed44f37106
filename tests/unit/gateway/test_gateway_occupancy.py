"""What the log hears of who is where: first and last members, no reconnects, and only of apps that want to know."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from unit.gateway.gateway_fakes import MemoryLog, MemoryRegistry

from polyglotd.access.capabilities import Access
from polyglotd.access.grant import UserGrant
from polyglotd.gateway.active_apps import ActiveApps
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.directory import Directory
from polyglotd.gateway.occupancy import LINGER_S, SETTLE_S, Occupancy
from polyglotd.model import ALL_SCOPES, ApiKey, App, Endpoint, EndpointSecret, Limits, SigningSecret, WebhookType

ACCESS = Access(may_join=True, may_publish=True, sees_presence=True)


def endpoint(app_id: str, *types: WebhookType) -> Endpoint:
    return Endpoint(f"whe_{app_id}", app_id, "https://a.example/", types, (EndpointSecret("whsec_"),), 0, 0)


class Rig:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.registry = MemoryRegistry()
        active = ActiveApps()
        self.connections = Connections(active)
        self.directory = Directory(self.registry, {}, active)  # type: ignore[arg-type]  # it reads
        self.occupancy = Occupancy(self.log, self.connections, self.directory, self.registry, lambda: 7)  # type: ignore[arg-type]
        self._next = 1

    async def app(self, app_id: str, *hooks: Endpoint) -> None:
        key = ApiKey(f"key_{app_id}", app_id, app_id.encode(), ALL_SCOPES, "", 0)
        await self.registry.create_app(App(app_id), key, SigningSecret(f"sec_{app_id}", app_id, "HS256", b"", 0))
        for hook in hooks:
            await self.registry.add_webhook(hook, 9)
        await self.directory.entry(app_id)

    def connect(self, user: str, app_id: str = "chat", *, counted: bool = True) -> Connection:
        grant = UserGrant(user, app_id, None, None, None, 0, 1, "sec")
        connection = Connection(self._next, app_id, grant, Limits(), counted=counted)
        self._next += 1
        self.connections.add(connection)
        return connection

    def join(self, connection: Connection, channel: str = "room:a", *, present: bool = True) -> Subscription:
        subscription = Subscription(self._next, channel, ACCESS, joined=True)
        self._next += 1
        subscription.presence_ref = "ref" if present else None
        connection.put(subscription)
        self.occupancy.joined(connection, subscription)
        return subscription

    def leave(self, connection: Connection, subscription: Subscription) -> None:
        connection.drop(subscription.sub)
        self.occupancy.left(connection, subscription)

    async def settled(self) -> None:
        await trio.sleep(SETTLE_S + 1)
        assert await self.told() == ["unconfirmed", "settled"]

    async def told(self) -> list[str]:
        await wait_all_tasks_blocked()
        found, self.log.presences = self.log.presences, []
        return [" ".join(filter(None, (p.what, p.app_id, p.channel, p.user_id))) for p in found]


@asynccontextmanager
async def open_rig(*hooks: Endpoint) -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.app("chat", *hooks)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.occupancy.run)
        yield rig
        nursery.cancel_scope.cancel()


async def test_first_and_last_members_are_told_and_others_are_not(autojump_clock: MockClock) -> None:
    async with open_rig(endpoint("chat", "channel.occupied")) as rig:
        await rig.settled()
        ann, bob = rig.connect("ann"), rig.connect("bob")
        first, second, third = rig.join(ann), rig.join(bob), rig.join(rig.connect("ann"))
        assert await rig.told() == ["occupied chat room:a", "joined chat room:a ann", "joined chat room:a bob"]
        rig.leave(ann, first)
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == []  # another of ann's devices is there
        rig.leave(bob, second)
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == ["left chat room:a bob"]
        rig.leave(rig.connections.of_user("chat", "ann")[1], third)
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == ["vacated chat room:a", "left chat room:a ann"]


async def test_who_is_back_in_time_has_neither_left_nor_come(autojump_clock: MockClock) -> None:
    async with open_rig(endpoint("chat", "member.left")) as rig:
        ann = rig.connect("ann")
        await rig.settled()
        subscription = rig.join(ann)
        assert len(await rig.told()) == 2
        for _ in range(5):
            rig.leave(ann, subscription)
            await trio.sleep(LINGER_S - 0.5)
            subscription = rig.join(ann)
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == []
        rig.leave(ann, subscription)
        await trio.sleep(LINGER_S + 0.1)
        assert await rig.told() == ["vacated chat room:a", "left chat room:a ann"]


async def test_of_an_app_without_such_an_endpoint_nothing_is_told(autojump_clock: MockClock) -> None:
    async with open_rig(endpoint("chat", "event.published")) as rig:
        ann = rig.connect("ann")
        rig.leave(ann, rig.join(ann))
        await trio.sleep(2 * SETTLE_S)
        assert await rig.told() == []


async def test_a_channel_without_presence_has_no_members_and_an_operators_tail_occupies_nothing() -> None:
    async with open_rig(endpoint("chat", "member.joined")) as rig:
        await rig.told()
        rig.join(rig.connect("ann"), "ticker:x", present=False)
        rig.join(rig.connect("op", counted=False), "room:b")
        assert await rig.told() == ["occupied chat ticker:x"]


async def test_an_endpoint_that_is_added_is_told_who_is_there_already(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        ann = rig.connect("ann")
        before = rig.join(ann)
        assert await rig.told() == []
        await rig.registry.add_webhook(endpoint("chat", "channel.vacated"), 9)
        for change in await rig.directory.refresh():
            rig.occupancy.changed(change.before, change.now, change.app_id)
        assert await rig.told() == [
            "unconfirmed chat", "occupied chat room:a", "joined chat room:a ann", "settled chat",
        ]  # fmt: skip
        rig.leave(ann, before)
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == ["vacated chat room:a", "left chat room:a ann"]


async def test_after_a_start_everything_is_settled_once_all_had_time_to_come_back(autojump_clock: MockClock) -> None:
    async with open_rig(endpoint("chat", "channel.vacated")) as rig:
        assert await rig.told() == ["unconfirmed"]
        rig.join(rig.connect("ann"), present=False)
        await trio.sleep(SETTLE_S + 1)
        assert await rig.told() == ["occupied chat room:a", "settled"]


async def test_what_a_full_log_refuses_is_told_when_there_is_room(autojump_clock: MockClock) -> None:
    async with open_rig(endpoint("chat", "channel.occupied")) as rig:
        await rig.told()
        rig.log.failed = "the disk is full"
        rig.join(rig.connect("ann"), present=False)
        await trio.sleep(3)
        assert await rig.told() == []
        rig.log.failed = None
        await trio.sleep(3)
        assert await rig.told() == ["occupied chat room:a"]


@pytest.mark.parametrize("again", [1, 3])
async def test_a_second_join_that_takes_the_place_of_the_first_is_no_news(
    again: int, autojump_clock: MockClock
) -> None:
    async with open_rig(endpoint("chat", "member.joined")) as rig:
        ann = rig.connect("ann")
        await rig.settled()
        old = rig.join(ann)
        await rig.told()
        for _ in range(again):
            new = rig.join(ann)
            rig.leave(ann, old)
            old = new
        await trio.sleep(2 * LINGER_S)
        assert await rig.told() == []
