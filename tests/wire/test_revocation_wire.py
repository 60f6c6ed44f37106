"""What ends on live connections, and within which time: revoked tokens, users and keys, suspended apps, tokens that
run out, kicks. Over WebSocket, long-poll and event streams alike, and never for more than those who are meant.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from followers import LONG_POLL, EventStream, LongPoll, Tail
from phoenix_wire import PhoenixWire, connect, refusal
from tenants import Operator, Tenant

WITHIN_S = 1.0  # the contract's
ROOM = "room:lobby"


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    """Not in development mode, whose tokens can't be revoked. Clocks agree, so a token ends when it says."""
    env = {"POLYGLOTD_ACCESS__CLOCK_LEEWAY_S": "0", "POLYGLOTD_LISTEN__PER_ADDRESS": "10000"}
    with daemon_process(dev=False, env=env) as daemon:
        yield daemon


@dataclass
class Devices:
    """One user's connections: all sorts that there are."""

    user: str
    token: str
    socket: PhoenixWire
    poll: LongPoll
    stream: EventStream
    others: list["Devices"] = field(default_factory=list)

    async def all_end(self, code: int) -> None:
        """Within the time that the contract gives."""
        with trio.fail_after(WITHIN_S):
            closed = await self.socket.end()
            await self.poll.end()
            await self.stream.end()
        assert closed.code == code
        assert closed.reason
        assert self.poll.status == 410

    async def all_live(self, operator: Operator, app: Tenant) -> None:
        word = f"word-{time.monotonic_ns()}"
        await operator.publish(app, ROOM, word)
        await self.socket.until(lambda frame: word.encode() in frame.text)
        await self.poll.has(word.encode())
        await self.stream.has(word.encode())


@asynccontextmanager
async def devices(daemon: DaemonProcess, app: Tenant, user: str, token: str) -> AsyncIterator[Devices]:
    poll, stream = LongPoll(daemon.url, app.app_id, token), EventStream()
    async with trio.open_nursery() as nursery:
        await nursery.start(poll.run, ROOM)
        bearer = {"Authorization": f"Bearer {token}"}
        await nursery.start(stream.run, f"{daemon.url}{app.url}/channels/{ROOM}/events", bearer)
        async with connect(daemon.port, token, app_id=app.app_id) as socket:
            _ = (await socket.join(ROOM)).ok
            yield Devices(user, token, socket, poll, stream)
        nursery.cancel_scope.cancel()


async def is_shut_out(daemon: DaemonProcess, app: Tenant, token: str, code: str = "unauthorized") -> None:
    """Over every way in."""
    refused = await refusal(daemon.port, token, app_id=app.app_id)
    assert (refused.status, refused.problem["code"]) == (403, code)
    async with httpx.AsyncClient(base_url=daemon.url) as client:
        query = {"app_id": app.app_id, "token": token, "vsn": "2.0.0"}
        assert (await client.get(LONG_POLL, params=query)).json() == {"status": 403}
        bearer = {"Authorization": f"Bearer {token}"}
        for path in ("events", "history"):
            answer = await client.get(f"{app.url}/channels/{ROOM}/{path}", headers=bearer)
            assert answer.json()["code"] == code


# --- revoked


async def test_a_revoked_token_ends_its_own_connections_and_no_others_of_the_user(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("revoke-token")
        revoked, kept = app.token("ann", jti="one"), app.token("ann", jti="two")
        async with devices(daemon, app, "ann", revoked) as lost, devices(daemon, app, "ann", kept) as live:
            await operator.ask("POST", f"/admin/apps/{app.app_id}/tokens/revoke", {"jti": "one"})
            await lost.all_end(4003)
            await live.all_live(operator, app)
        await is_shut_out(daemon, app, revoked)
        async with connect(daemon.port, kept, app_id=app.app_id) as again:
            await again.beat()


async def test_a_revoked_user_loses_all_tokens_issued_so_far_and_may_come_back_with_a_new_one(
    daemon: DaemonProcess,
) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("revoke-user")
        old = app.token("ann", iat=int(time.time()) - 2)
        async with (
            devices(daemon, app, "ann", old) as lost,
            devices(daemon, app, "bob", app.token("bob", iat=int(time.time()) - 2)) as live,
        ):
            answer = await operator.http.post(f"{app.url}/users/ann/revoke", headers=app.by_key)
            assert answer.status_code == 200, answer.text
            await lost.all_end(4003)
            await live.all_live(operator, app)
        await is_shut_out(daemon, app, old)
        await trio.sleep(1.1)  # `iat` has whole seconds
        async with connect(daemon.port, app.token("ann"), app_id=app.app_id) as again:
            await again.beat()


async def test_a_revoked_key_ends_its_streams_and_no_users(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        app = await operator.create("revoke-key")
        keys = f"/admin/apps/{app.app_id}/keys"
        other = await operator.ask("POST", keys, {"name": "other"})
        lost, live = EventStream(), EventStream()
        url = f"{daemon.url}{app.url}/channels/{ROOM}/events"
        await nursery.start(lost.run, url, {"X-API-Key": other["key"]})
        await nursery.start(live.run, url, app.by_key)
        async with devices(daemon, app, "ann", app.token("ann")) as users:
            await operator.ask("DELETE", f"{keys}/{other['key_id']}")
            await lost.end(WITHIN_S)
            answer = await operator.http.get(f"{app.url}/usage", headers={"X-API-Key": other["key"]})
            assert answer.status_code == 401
            await users.all_live(operator, app)
            assert not live.ended.is_set()
        nursery.cancel_scope.cancel()


async def test_a_rotated_key_ends_with_its_grace(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        app = await operator.create("rotate-key")
        stream = EventStream()
        await nursery.start(stream.run, f"{daemon.url}{app.url}/channels/{ROOM}/events", app.by_key)
        rotate = f"/admin/apps/{app.app_id}/keys/{app.key_id}/rotate"
        fresh = await operator.ask("POST", rotate, {"grace_s": 1})
        assert (await operator.http.get(f"{app.url}/usage", headers=app.by_key)).status_code == 200
        assert not stream.ended.is_set()
        await stream.end(1 + WITHIN_S)
        assert (await operator.http.get(f"{app.url}/usage", headers=app.by_key)).status_code == 401
        assert (await operator.http.get(f"{app.url}/usage", headers={"X-API-Key": fresh["key"]})).status_code == 200


async def test_a_suspended_app_ends_and_refuses_everything_until_it_is_resumed(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        app = await operator.create("suspend")
        token = app.token("ann")
        tail = Tail()
        url = f"{daemon.websocket_url}/admin/apps/{app.app_id}/tail?channel={ROOM}"
        await nursery.start(tail.run, url, operator.credentials)
        async with devices(daemon, app, "ann", token) as lost:
            await operator.ask("POST", f"/admin/apps/{app.app_id}/suspend")
            await lost.all_end(4003)
        await is_shut_out(daemon, app, token, "forbidden")
        for method, path, body in (
            ("POST", f"{app.url}/channels/{ROOM}/publish", {"type": "m"}),
            ("POST", f"{app.url}/publish", {"events": [{"channel": ROOM, "type": "m"}]}),
            ("GET", f"{app.url}/usage", None),
        ):
            answer = await operator.http.request(method, path, json=body, headers=app.by_key)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        await operator.ask("POST", f"/admin/apps/{app.app_id}/resume")
        async with devices(daemon, app, "ann", token) as back:
            await back.all_live(operator, app)
        await tail.has(b"word-")  # an operator sees all the while whether the app is quiet
        nursery.cancel_scope.cancel()


async def test_a_deleted_app_ends_everything_of_it(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator, trio.open_nursery() as nursery:
        app = await operator.create("deleted")
        token = app.token("ann")
        tail = Tail()
        url = f"{daemon.websocket_url}/admin/apps/{app.app_id}/tail?channel={ROOM}"
        await nursery.start(tail.run, url, operator.credentials)
        async with devices(daemon, app, "ann", token) as lost:
            await operator.ask("DELETE", f"/admin/apps/{app.app_id}")
            await lost.all_end(4003)
        await tail.end(WITHIN_S)
        assert tail.code == 4003
        await is_shut_out(daemon, app, token)


async def test_a_secret_that_is_revoked_is_good_for_no_new_connection(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("revoke-secret")
        secrets = f"/admin/apps/{app.app_id}/secrets"
        await operator.ask("POST", secrets, {})
        await operator.ask("DELETE", f"{secrets}/{app.secret_id}")
        await is_shut_out(daemon, app, app.token("ann"))


# --- disconnected and kicked


async def test_a_disconnected_user_is_closed_with_4003_and_may_come_back(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("disconnect")
        async with (
            devices(daemon, app, "ann", app.token("ann")) as lost,
            devices(daemon, app, "bob", app.token("bob")) as live,
        ):
            answer = await operator.http.post(f"{app.url}/users/ann/disconnect", headers=app.by_key)
            assert answer.json() == {"connections": 3}
            await lost.all_end(4003)
            await live.all_live(operator, app)
        async with devices(daemon, app, "ann", app.token("ann")) as back:
            await back.all_live(operator, app)


async def test_a_kicked_user_loses_the_channel_alone_and_may_join_again(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("kick")
        async with (
            connect(daemon.port, app.token("ann"), app_id=app.app_id) as ann,
            connect(daemon.port, app.token("bob"), app_id=app.app_id) as bob,
        ):
            for wire in (ann, bob):
                for channel in (ROOM, "room:other"):
                    _ = (await wire.join(channel)).ok
            kick = f"{app.url}/channels/{ROOM}/kick"
            answer = await operator.http.post(kick, json={"user": "ann"}, headers=app.by_key)
            assert answer.json() == {"subscriptions": 1}
            close = await ann.event(ROOM, "phx_close", WITHIN_S)
            assert close.join_ref == close.ref == ann.join_refs[ROOM]
            assert (await ann.ask(ROOM, "publish", {"type": "m"})).refused["reason"] == "unmatched topic"
            _ = (await ann.ask("room:other", "publish", {"type": "m"})).ok
            _ = (await bob.ask(ROOM, "publish", {"type": "m"})).ok
            assert list((await bob.ask(ROOM, "presence")).ok["presence"]) == ["bob"]
            _ = (await ann.join(ROOM)).ok
            answer = await operator.http.post(kick, json={"user": "nobody"}, headers=app.by_key)
            assert answer.json() == {"subscriptions": 0}


# --- tokens that run out


async def test_a_token_that_runs_out_is_announced_and_ends_its_connections_with_4001(daemon: DaemonProcess) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("expiry")
        token = app.token("ann", ttl_s=2)
        ends = jwt.decode(token, options={"verify_signature": False})["exp"]
        async with devices(daemon, app, "ann", token) as lost:
            notice = await lost.socket.event(ROOM, "system")
            assert notice.payload["code"] == "token_expiring"
            assert notice.payload["message"]
            await lost.poll.has(b"token_expiring")
            await lost.stream.has(b"token_expiring")
            await trio.sleep(ends - time.time() - 0.2)
            assert lost.socket.closed is None
            with trio.fail_after(0.2 + WITHIN_S):
                closed = await lost.socket.end()
                await lost.poll.end()
                await lost.stream.end()
            assert (closed.code, lost.poll.status) == (4001, 410)
            assert time.time() >= ends
        await is_shut_out(daemon, app, token)


async def test_access_token_gives_a_connection_more_time_and_other_rights_without_a_new_one(
    daemon: DaemonProcess,
) -> None:
    async with Operator(daemon) as operator:
        app = await operator.create("refresh")
        first = app.token("ann", ttl_s=2, channels={"room:*": ["join", "publish", "presence"]})
        async with connect(daemon.port, first, app_id=app.app_id) as wire:
            for channel in (ROOM, "room:other"):
                _ = (await wire.join(channel)).ok
            # What does not fit changes nothing.
            for wrong, reason in (
                (app.token("bob"), "forbidden"),
                (app.token("ann", ttl_s=-1), "unauthorized"),
                (app.token("ann", aud="another"), "unauthorized"),
                (app.key, "unauthorized"),
            ):
                assert (await wire.ask(ROOM, "access_token", {"access_token": wrong})).refused["reason"] == reason
            narrower = app.token("ann", ttl_s=60, channels={ROOM: ["join"]})
            assert (await wire.ask(ROOM, "access_token", {"access_token": narrower})).ok == {}
            assert (await wire.ask(ROOM, "publish", {"type": "m"})).refused["reason"] == "forbidden"
            assert (await wire.ask(ROOM, "presence")).refused["reason"] == "forbidden"
            ended = await wire.until(lambda frame: frame.topic == "room:other" and frame.event.startswith("phx_"))
            assert ended.event in ("phx_close", "phx_error")
            assert (await wire.join("room:other")).refused["reason"] == "forbidden"
            await trio.sleep(2.5)  # the first would have ended
            await wire.beat()
            # The new one is the one that counts, also when it is revoked.
            last = app.token("ann", jti="last")
            assert (await wire.ask(ROOM, "access_token", {"access_token": last})).ok == {}
            await operator.ask("POST", f"/admin/apps/{app.app_id}/tokens/revoke", {"token": last})
            assert (await wire.end(WITHIN_S)).code == 4003


# --- seen by others only


async def test_a_change_by_another_process_on_the_same_data_takes_effect_within_a_second(
    daemon: DaemonProcess,
) -> None:
    """As from `polyglotctl` over the admin socket."""
    async with Operator(daemon) as operator:
        app = await operator.create("by-socket")
        token = app.token("ann", jti="one")
        async with devices(daemon, app, "ann", token) as lost:
            transport = httpx.AsyncHTTPTransport(uds=str(daemon.data / "admin.sock"))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as socket:
                path: Any = f"/admin/apps/{app.app_id}/tokens/revoke"
                assert (await socket.post(path, json={"jti": "one"})).status_code == 204
            await lost.all_end(4003)
