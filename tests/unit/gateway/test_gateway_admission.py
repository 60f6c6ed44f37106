"""Who may open a connection, in the order in which it is asked."""

import base64
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import trio
from gateway_rig import Rig, open_rig
from trio.testing import MockClock

from polyglotd.gateway.connect_query import auth_token
from polyglotd.model import LimitsPatch, Unavailable
from polyglotd.plane.interface import Accept, ConfigureApp, Disconnect, Notice, Refuse


async def refusal(rig: Rig, query: str, *headers: tuple[str, str], address: str = "192.0.2.1") -> tuple[int, Any]:
    conn = rig.plane.connect(query, *headers, address=address)
    await rig.settle()
    (refused,) = [command for command in rig.plane.of(Refuse) if command.conn == conn]
    return refused.status, msgspec.json.decode(refused.body)


async def test_connect_with_a_good_token_is_accepted_as_its_user(autojump_clock: MockClock, rig: Rig) -> None:
    conn = rig.plane.connect(rig.query("ann"))
    await rig.settle()
    assert rig.plane.last(Accept) == Accept(conn, "demo", "ann")


async def test_the_plane_knows_the_limits_of_an_app_before_its_first_connection(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.connect()
    kinds = [type(command) for command in rig.plane.commands]
    assert kinds.index(ConfigureApp) < kinds.index(Accept)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"token": None}, id="no token"),
        pytest.param({"app_id": None}, id="no app"),
        pytest.param({"token": "x.y.z"}, id="no JWT"),
        pytest.param({"app_id": "Not An App"}, id="no app id"),
        pytest.param({"app_id": "nobody"}, id="an app that is not there"),
        pytest.param({"app_id": "other"}, id="another app's"),
        pytest.param({"token": "valid_token_ann"}, id="development's token outside of the mode"),
    ],
)
async def test_connect_with_what_is_no_credential_gets_403(
    autojump_clock: MockClock, rig: Rig, change: dict[str, str | None]
) -> None:
    await rig.tenant("other")
    shown = {"app_id": "demo", "token": rig.token("ann")} | change
    status, body = await refusal(rig, urlencode({k: v for k, v in shown.items() if v is not None}))
    assert (status, body["status"], body["code"]) == (403, 403, "unauthorized")
    assert rig.plane.of(Accept) == []


async def test_connect_to_an_app_that_is_not_there_is_answered_like_one_with_a_wrong_signature(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.tenant("other")
    absent = await refusal(rig, urlencode({"app_id": "nobody", "token": rig.token("ann", "other")}))
    present = await refusal(rig, urlencode({"app_id": "demo", "token": rig.token("ann", "other")}))
    assert absent == present


async def test_connect_with_an_api_key_as_token_is_refused(autojump_clock: MockClock, rig: Rig) -> None:
    status, body = await refusal(rig, urlencode({"app_id": "demo", "token": rig.tenants["demo"].key}))
    assert (status, body["code"]) == (403, "unauthorized")


async def test_connect_takes_the_token_of_the_sub_protocol_before_the_one_in_the_query(
    autojump_clock: MockClock, rig: Rig
) -> None:
    text = base64.b64encode(rig.token("ann").encode()).decode().rstrip("=")
    protocols = ("sec-websocket-protocol", f"phoenix, base64url.bearer.phx.{text}")
    conn = rig.plane.connect(urlencode({"app_id": "demo", "token": "old"}), protocols)
    await rig.settle()
    assert rig.plane.last(Accept).conn == conn


@pytest.mark.parametrize("alphabet", [b"+/", b"-_"], ids=["ordinary", "of URLs"])
@pytest.mark.parametrize("token", ["t", "to", "tok", "~?>~?>ÿ"])
def test_an_auth_token_may_be_in_either_alphabet_with_or_without_padding(alphabet: bytes, token: str) -> None:
    text = base64.b64encode(token.encode(), alphabet).decode()
    for written in (text, text.rstrip("=")):
        assert auth_token([("sec-websocket-protocol", f"phoenix, base64url.bearer.phx.{written}")]) == token


async def test_connect_with_an_auth_token_that_is_no_base64_is_refused(autojump_clock: MockClock, rig: Rig) -> None:
    protocols = ("sec-websocket-protocol", "phoenix, base64url.bearer.phx.%%%")
    status, body = await refusal(rig, "app_id=demo", protocols)
    assert (status, body["code"]) == (403, "unauthorized")


@pytest.mark.parametrize(
    "query", ["app_id=demo&app_id=other&token=t", "&".join(["app_id=demo"] * 65), "app_id=%ff&token=t"]
)
async def test_connect_with_a_query_of_two_meanings_is_refused(
    autojump_clock: MockClock, rig: Rig, query: str
) -> None:
    status, body = await refusal(rig, query)
    assert status == 403
    assert body["code"] in ("unauthorized", "invalid")


async def test_connect_of_a_foreign_page_is_refused_unless_its_origin_is_listed(autojump_clock: MockClock) -> None:
    async with open_rig(origins=["https://app.example.com"]) as rig:
        await rig.tenant()
        status, body = await refusal(rig, rig.query("ann"), ("origin", "https://evil.example"))
        assert (status, body["code"]) == (403, "forbidden")
        for origin in ("https://app.example.com", "http://localhost:4000"):
            conn = rig.plane.connect(rig.query("ann"), ("origin", origin))
            await rig.settle()
            assert rig.plane.last(Accept).conn == conn


# --- the address ---


async def test_an_address_that_opens_too_many_is_refused_before_its_credential_is_looked_at(
    autojump_clock: MockClock,
) -> None:
    async with open_rig(per_address=2) as rig:
        await rig.tenant()
        for _ in range(20):
            assert (await refusal(rig, "app_id=demo&token=guess"))[0] == 403
        reads = rig.registry.app_reads
        status, body = await refusal(rig, rig.query("ann"))
        assert (status, body["code"]) == (429, "rate_limited")
        assert ("retry-after", "1") in rig.plane.last(Refuse).headers
        assert (await refusal(rig, "app_id=other&token=guess"))[0] == 429
        assert rig.registry.app_reads == reads
        assert (await refusal(rig, "app_id=demo&token=guess", address="192.0.2.2"))[0] == 403
        await trio.sleep(1)
        await rig.connect()


async def test_behind_a_trusted_proxy_the_forwarded_address_counts(autojump_clock: MockClock) -> None:
    async with open_rig(per_address=1, trusted_proxies=[ip_network("10.0.0.0/8")]) as rig:
        for client in ("198.51.100.1", "198.51.100.2"):
            for _ in range(10):
                seen = await refusal(rig, "", ("x-forwarded-for", client), address="10.0.0.1")
                assert seen[0] == 403
            limited = await refusal(rig, "", ("x-forwarded-for", f"203.0.113.9, {client}"), address="10.0.0.1")
            assert limited[0] == 429


async def test_a_client_that_is_no_trusted_proxy_can_not_choose_its_address(autojump_clock: MockClock) -> None:
    async with open_rig(per_address=1) as rig:
        statuses = [(await refusal(rig, "", ("x-forwarded-for", f"198.51.100.{n}")))[0] for n in range(11)]
        assert statuses == [403] * 10 + [429]


# --- development mode ---


async def test_development_mode_takes_its_token_from_this_machine(autojump_clock: MockClock) -> None:
    async with open_rig(development=True) as rig:
        await rig.tenant("chat-app")
        conn = rig.plane.connect("app_id=chat-app&token=valid_token_ann", ("origin", "http://127.0.0.1:8080"))
        await rig.settle()
        assert rig.plane.last(Accept) == Accept(conn, "chat-app", "ann")


@pytest.mark.parametrize(
    "header",
    [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("host", "evil.example"),
    ],
)
async def test_development_mode_refuses_what_comes_from_elsewhere(
    autojump_clock: MockClock, header: tuple[str, str]
) -> None:
    async with open_rig(development=True) as rig:
        await rig.tenant("chat-app")
        status, body = await refusal(rig, "app_id=chat-app&token=valid_token_ann", header)
        assert (status, body["code"]) == (403, "forbidden")


# --- the app ---


async def test_a_suspended_app_is_refused_until_it_is_resumed(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.registry.suspend_app("demo", rig.wall_us())
    await rig.gateway.registry_changed()
    status, body = await refusal(rig, rig.query("ann"))
    assert (status, body["code"]) == (403, "forbidden")
    await rig.registry.resume_app("demo")
    await rig.gateway.registry_changed()
    await rig.connect()


async def test_connections_beyond_the_quota_get_429_until_one_has_gone(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(connections=2)
        first = await rig.connect("ann")
        await rig.connect("bob")
        status, body = await refusal(rig, rig.query("cid"))
        assert (status, body["code"], body["quota"]) == (429, "quota_exceeded", "connections")
        rig.plane.drop(first)
        await rig.settle()
        await rig.connect("cid")
        assert await rig.broker.connections("demo") == 2


async def test_new_connections_beyond_the_rate_get_429_but_users_just_seen_come_back(
    autojump_clock: MockClock,
) -> None:
    async with open_rig() as rig:
        await rig.tenant(connects_per_second=1)
        conns = [await rig.connect(f"user{n}") for n in range(5)]
        status, body = await refusal(rig, rig.query("late"))
        assert (status, body["code"]) == (429, "rate_limited")
        assert 0 < body["retry_after_ms"] <= 1000
        for conn in conns:
            rig.plane.drop(conn)
        await trio.sleep(0.1)
        for n in range(5):
            await rig.connect(f"user{n}")
        assert await rig.broker.connections("demo") == 5


async def test_a_user_who_left_more_than_a_minute_ago_counts_as_new(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(connects_per_second=1)
        rig.plane.drop(await rig.connect("ann"))
        await trio.sleep(61)
        for n in range(5):
            await rig.connect(f"user{n}")
        assert (await refusal(rig, rig.query("ann")))[1]["code"] == "rate_limited"


async def test_a_user_who_is_connected_may_open_another_device_whatever_the_rate(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(connects_per_second=1)
        await rig.connect("ann")
        await trio.sleep(300)
        for n in range(5):
            await rig.connect(f"user{n}")
        await rig.connect("ann")


async def test_an_app_that_was_quiet_for_long_is_made_known_to_the_plane_again(
    autojump_clock: MockClock, rig: Rig
) -> None:
    rig.plane.drop(await rig.connect())
    await trio.sleep(120)
    rig.plane.forget()
    await rig.connect()
    assert len(rig.plane.of(ConfigureApp)) == 1


async def test_new_limits_hold_while_the_broker_is_away(autojump_clock: MockClock, rig: Rig) -> None:
    async def lost(app_id: str, limit: str, per_second: int) -> float:
        raise Unavailable("the broker is lost")

    await rig.connect("ann")
    rig.broker.lease_rate = lost  # type: ignore[method-assign]
    await rig.registry.patch_limits("demo", LimitsPatch(connections=1, payload_bytes=9))
    await rig.gateway.registry_changed()
    assert rig.plane.last(ConfigureApp).limits.payload_bytes == 9
    assert (await refusal(rig, rig.query("bob")))[1]["code"] == "quota_exceeded"


async def test_a_peer_that_goes_before_it_is_let_in_takes_no_place(autojump_clock: MockClock, rig: Rig) -> None:
    conn = rig.plane.connect(rig.query("ann"))
    rig.plane.drop(conn)
    await rig.settle()
    await trio.sleep(1)
    assert await rig.broker.connections("demo") == 0
    assert rig.gateway.counters().connections == 0


@pytest.mark.parametrize(("meanwhile", "status"), [("suspended", 403), ("deleted", 403), ("draining", 503)])
async def test_what_changes_while_a_connect_waits_counts(
    autojump_clock: MockClock, rig: Rig, meanwhile: str, status: int
) -> None:
    take = rig.broker.take_connections

    async def slow(app_id: str, count: int, limit: int) -> bool:
        await trio.sleep(1)
        return await take(app_id, count, limit)

    rig.broker.take_connections = slow  # type: ignore[method-assign]  # as slow as a broker over a network may be
    conn = rig.plane.connect(rig.query("ann"))
    await rig.settle()
    if meanwhile == "draining":
        await rig.gateway.drain()
    elif meanwhile == "deleted":
        await rig.registry.delete_app("demo", rig.wall_us())
    else:
        await rig.registry.suspend_app("demo", rig.wall_us())
    await trio.sleep(2)
    assert [(command.conn, command.status) for command in rig.plane.of(Refuse)] == [(conn, status)]
    assert await rig.broker.connections("demo") == 0


async def test_a_broker_that_does_not_answer_gets_503(autojump_clock: MockClock, rig: Rig) -> None:
    async def stuck(app_id: str, count: int, limit: int) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    rig.broker.take_connections = stuck  # type: ignore[method-assign]
    conn = rig.plane.connect(rig.query("ann"))
    await trio.sleep(9.5)
    (refused,) = rig.plane.of(Refuse)
    assert (refused.conn, refused.status) == (conn, 503)


async def test_a_lowered_quota_holds_for_the_next_connect(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.connect("ann")
    await rig.registry.patch_limits("demo", LimitsPatch(connections=1))
    await rig.gateway.registry_changed()
    assert rig.plane.last(ConfigureApp).limits.connections == 1
    assert (await refusal(rig, rig.query("bob")))[1]["code"] == "quota_exceeded"


# --- tokens that run out ---


async def test_a_token_that_runs_out_ends_the_connection_with_4001_after_a_notice(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect("ann", ttl_s=120)
    await rig.joined(conn)
    await trio.sleep(59)
    assert "token_expiring" not in notices(rig, conn)
    await trio.sleep(2)
    assert notices(rig, conn) == ["token_expiring"]
    await trio.sleep(68)
    assert rig.plane.of(Disconnect) == []
    await trio.sleep(2)
    assert [(c.conn, c.code) for c in rig.plane.of(Disconnect)] == [(conn, 4001)]
    assert rig.gateway.counters().connections == 0


def notices(rig: Rig, conn: int) -> list[str]:
    return [command.code for command in rig.plane.of(Notice) if command.conn == conn]


async def test_a_token_that_lives_under_a_minute_is_told_of_at_once_on_each_channel(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect("ann", ttl_s=30)
    sub = await rig.joined(conn)
    assert [one["code"] for one in rig.plane.sent_to(sub, "system")] == ["token_expiring"]


async def test_a_shorter_token_moves_the_end_forward(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", ttl_s=3000)
    new = msgspec.json.encode({"access_token": rig.token("ann", ttl_s=100)})
    await rig.push(conn, await rig.joined(conn), "access_token", new)
    await trio.sleep(115)
    assert [c.code for c in rig.plane.of(Disconnect)] == [4001]


async def test_a_new_token_moves_the_end(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann", ttl_s=100)
    sub = await rig.joined(conn)
    ok, _ = await rig.push(
        conn, sub, "access_token", msgspec.json.encode({"access_token": rig.token("ann", ttl_s=300)})
    )
    assert ok
    await trio.sleep(200)
    assert rig.plane.of(Disconnect) == []
    assert notices(rig, conn) == []
    await trio.sleep(115)
    assert [(c.conn, c.code) for c in rig.plane.of(Disconnect)] == [(conn, 4001)]
