"""What operators do to users, and what a change of the registry does to everything alive."""

import msgspec
import pytest
import trio
from gateway_rig import Rig, open_rig, request
from jwt.utils import base64url_decode
from trio.testing import MockClock

from polyglotd.access.admin_tokens import new_admin_token
from polyglotd.access.api_keys import new_api_key
from polyglotd.access.revocation import keep_until_us
from polyglotd.gateway.callers import Credentials
from polyglotd.gateway.gateway import StreamEnded
from polyglotd.gateway.requests import SignalRequest
from polyglotd.log.interface import ChannelHead
from polyglotd.model import (
    Forbidden,
    Invalid,
    LimitsPatch,
    NotFound,
    PayloadTooLarge,
    PolicyOverride,
    RevocationSubject,
    Scope,
    Unauthorized,
    Unavailable,
)
from polyglotd.plane.interface import (
    Admit,
    CloseTopic,
    ConfigureApp,
    Disconnect,
    EndSubscription,
    NewEpoch,
    OpenTopic,
    Refuse,
    SetCapabilities,
    SetPolicy,
)


def jti_of(token: str) -> str:
    claims = base64url_decode(token.split(".")[1])
    jti: str = msgspec.json.decode(claims)["jti"]
    return jti


async def ends(rig: Rig) -> list[tuple[int, int]]:
    await rig.settle()
    return [(command.conn, command.code) for command in rig.plane.of(Disconnect)]


# --- kick, signal, disconnect, revoke ---


async def test_a_kick_ends_a_users_subscriptions_of_one_channel(autojump_clock: MockClock, rig: Rig) -> None:
    conns = [await rig.connect(user) for user in ("ann", "ann", "bob")]
    subs = [await rig.joined(conn) for conn in conns]
    await rig.joined(conns[0], "room:other")
    assert await rig.gateway.kick(await rig.key_caller(), "room:lobby", "ann") == 2
    await rig.settle()
    assert rig.plane.of(EndSubscription) == [EndSubscription(conns[n], subs[n], "closed") for n in (0, 1)]
    assert await rig.gateway.kick(await rig.key_caller(), "room:lobby", "ann") == 0
    await rig.joined(conns[0])


async def test_a_kick_catches_a_join_that_is_under_way(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    rig.plane.mute.add(Admit)
    sub = await rig.join(conn)
    assert await rig.gateway.kick(await rig.key_caller(), "room:lobby", "ann") == 0
    await rig.settle()
    assert rig.plane.of(EndSubscription) == [EndSubscription(conn, sub, "closed")]


async def test_a_signal_reaches_each_device_that_joined_the_channel(autojump_clock: MockClock, rig: Rig) -> None:
    first, second = await rig.connect("ann"), await rig.connect("ann")
    one, two = await rig.joined(first), await rig.joined(second)
    elsewhere = await rig.joined(second, "room:other")
    signal = SignalRequest("room:lobby", "call", b'{"n": 1.10}')
    assert await rig.gateway.signal_user(await rig.key_caller(), "ann", signal) == 2
    await rig.settle()
    for sub in (one, two):
        (sent,) = rig.plane.sent_to(sub, "signal")
        assert (sent["type"], sent["data"], sent["meta"]["user_id"]) == ("call", {"n": 1.1}, None)
    assert rig.plane.sent_to(elsewhere, "signal") == []


async def test_a_signal_to_nobody_is_not_found(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.connect("ann")
    with pytest.raises(NotFound):
        await rig.gateway.signal_user(await rig.key_caller(), "ann", SignalRequest("room:lobby", "call", b"1"))


@pytest.mark.parametrize(
    ("signal", "error"),
    [
        (SignalRequest("lobby", "call", b"1"), Invalid),
        (SignalRequest("room:lobby", "no type", b"1"), Invalid),
        (SignalRequest("room:lobby", "call", b"1" * 65_537), PayloadTooLarge),
    ],
)
async def test_a_signal_that_is_wrong_is_refused(
    autojump_clock: MockClock, rig: Rig, signal: SignalRequest, error: type[Exception]
) -> None:
    await rig.joined(await rig.connect("ann"))
    with pytest.raises(error):
        await rig.gateway.signal_user(await rig.key_caller(), "ann", signal)


async def test_a_disconnect_closes_a_users_connections_who_may_come_back(autojump_clock: MockClock, rig: Rig) -> None:
    conns = [await rig.connect("ann"), await rig.connect("ann")]
    await rig.connect("bob")
    assert await rig.gateway.disconnect_user(await rig.key_caller(), "ann") == 2
    assert await ends(rig) == [(conn, 4003) for conn in conns]
    await rig.connect("ann")


async def test_a_revoked_user_is_out_at_once_and_back_with_a_new_token(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect("ann")
    await rig.connect("bob")
    old = rig.query("ann")
    await rig.gateway.revoke_user(await rig.key_caller(), "ann")
    assert await ends(rig) == [(conn, 4003)]
    late = rig.plane.connect(old)
    await rig.settle()
    assert late not in rig.plane.conns
    await trio.sleep(1)
    await rig.connect("ann")


@pytest.mark.parametrize("scope", ["publish", "read", "presence"])
async def test_operations_take_the_scope(autojump_clock: MockClock, rig: Rig, scope: Scope) -> None:
    shown, key = new_api_key("demo", now_us=0, scopes=[scope])
    await rig.registry.add_key(key)
    await rig.gateway.registry_changed()
    limited = await rig.gateway.authenticate("demo", Credentials(api_key=shown))
    for caller in (limited, await rig.user_caller("ann")):
        with pytest.raises(Forbidden):
            await rig.gateway.kick(caller, "room:lobby", "ann")
        with pytest.raises(Forbidden):
            await rig.gateway.signal_user(caller, "ann", SignalRequest("room:lobby", "call", b"1"))
        with pytest.raises(Forbidden):
            await rig.gateway.disconnect_user(caller, "ann")
        with pytest.raises(Forbidden):
            await rig.gateway.revoke_user(caller, "ann")
    assert rig.registry.log == []


# --- revocations by whatever process ---


@pytest.mark.parametrize("what", ["token", "user", "app"])
async def test_a_revocation_of_another_process_ends_live_connections_within_a_second(
    autojump_clock: MockClock, rig: Rig, what: RevocationSubject
) -> None:
    await rig.tenant("twin")
    token = rig.token("ann")
    conn = rig.plane.connect(f"app_id=demo&token={token}")
    await rig.settle()
    twin = await rig.connect("ann", "twin")
    at_us = rig.wall_us()
    if what == "app":
        await rig.registry.suspend_app("demo", at_us)
    else:
        subject = "ann" if what == "user" else jti_of(token)
        await rig.registry.revoke("demo", what, subject, at_us, keep_until_us(at_us, ttl_max_s=60, leeway_s=1))
    await trio.sleep(0.5)
    assert await ends(rig) == [(conn, 4003)]
    assert twin in rig.plane.conns
    for _ in range(2):
        again = rig.plane.connect(f"app_id=demo&token={token}")
        await rig.settle()
        assert rig.plane.last(Refuse).conn == again


async def test_a_revocation_that_is_older_than_the_token_does_not_end_it(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.connect("ann")
    rig.registry._revoke("demo", "user", "ann", rig.wall_us() - 1_000_000)
    await trio.sleep(1)
    assert await ends(rig) == []


async def test_a_suspended_app_can_still_be_watched_by_operators(autojump_clock: MockClock, rig: Rig) -> None:
    operator = await rig.gateway.operator("demo")
    async with rig.gateway.open_stream(operator, "room:a", kind="tail", since=None, request=request()) as tail:
        await rig.connect("ann")
        await rig.registry.suspend_app("demo", rig.wall_us())
        assert await tail.frames(5) == []
        assert len(rig.plane.conns) == 1


async def test_a_registry_that_does_not_change_is_not_read_again(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.connect()
    reads = rig.registry.app_reads
    await trio.sleep(30)
    assert rig.registry.app_reads == reads


async def test_a_connect_that_was_let_in_just_before_its_revocation_was_read_ends_too(
    autojump_clock: MockClock, rig: Rig
) -> None:
    rig.registry._revoke("demo", "user", "ann", rig.wall_us() + 1)
    conn = await rig.connect("ann")
    await trio.sleep(0.5)
    assert await ends(rig) == [(conn, 4003)]


async def test_what_was_revoked_before_the_start_is_known_before_anybody_is_let_in(
    autojump_clock: MockClock,
) -> None:
    async with open_rig() as rig:
        await rig.tenant()
        rig.registry._revoke("demo", "user", "ann", rig.wall_us() + 1)
        registry = rig.registry
        query = rig.query("ann")
    async with open_rig() as again:
        again.registry.__dict__.update(registry.__dict__)
        await again.gateway.registry_changed()
        conn = again.plane.connect(query)
        await again.settle()
        assert again.plane.last(Refuse).conn == conn


async def test_an_app_that_is_deleted_loses_its_connections_and_its_past(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    await rig.joined(conn)
    await rig.registry.delete_app("demo", rig.wall_us())
    await rig.gateway.registry_changed()
    assert await ends(rig) == [(conn, 4003)]
    with pytest.raises(Unauthorized):
        await rig.key_caller()
    await trio.sleep(10)
    assert rig.log.forgotten == []  # a topic of it is open: the plane may still append
    rig.plane.idle(rig.plane.topic("room:lobby").opened.topic)
    await trio.sleep(10)
    assert rig.log.forgotten == ["demo"]


async def test_a_rotated_key_ends_its_streams_with_its_grace(autojump_clock: MockClock, rig: Rig) -> None:
    tenant = rig.tenants["demo"]
    caller = await rig.key_caller()
    async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()) as stream:
        _, new = new_api_key("demo", now_us=rig.wall_us())
        await rig.registry.rotate_key("demo", tenant.api_key.key_id, new, rig.wall_us() + 5_000_000)
        await rig.gateway.registry_changed()
        assert await stream.frames(4) == []
        with pytest.raises(StreamEnded) as ended:
            await stream.frames(2)
        assert ended.value.code == 4003
    with pytest.raises(Unauthorized):
        await rig.key_caller()


async def test_a_revoked_key_ends_its_streams(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.key_caller()
    async with rig.gateway.open_stream(caller, "room:a", kind="sse", since=None, request=request()) as stream:
        await rig.registry.revoke_key("demo", rig.tenants["demo"].api_key.key_id, rig.wall_us())
        with pytest.raises(StreamEnded) as ended:
            await stream.frames(1)
        assert ended.value.code == 4003


# --- limits and kinds ---


async def test_a_change_by_another_process_reaches_the_plane(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.joined(await rig.connect())
    await rig.registry.patch_limits("demo", LimitsPatch(payload_bytes=10))
    await trio.sleep(0.75)
    assert rig.plane.last(ConfigureApp).limits.payload_bytes == 10


async def test_a_policy_is_built_in_then_configured_then_the_apps_own(autojump_clock: MockClock) -> None:
    kinds = {"demo": {"room": PolicyOverride(history_events=7, presence="none"), "news": PolicyOverride()}}
    async with open_rig(kinds=kinds) as rig:
        await rig.tenant()
        await rig.tenant("other")
        conn = await rig.connect()
        await rig.joined(conn)
        policy = rig.plane.last(OpenTopic).policy
        assert (policy.history_events, policy.presence, policy.durability) == (7, "none", "logged")
        await rig.joined(conn, "news:1")
        await rig.set_kind("room", history_events=3)
        policy = rig.plane.last(SetPolicy).policy
        assert (policy.history_events, policy.presence) == (3, "none")
        other = await rig.connect(app_id="other")
        await rig.joined(other)
        assert rig.plane.last(OpenTopic).policy.history_events == 1000
        assert rig.plane.join_refusal(await rig.join(other, "news:1"))["reason"] == "unknown_channel_kind"


async def test_a_new_durability_begins_a_new_epoch_that_the_log_knows(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    await rig.joined(conn)
    await rig.publish("room:lobby", b"1")
    await rig.set_kind("room", durability="memory", route="local-first")
    epoch, policy = rig.plane.last(NewEpoch), rig.plane.last(SetPolicy)
    assert rig.plane.commands.index(epoch) < rig.plane.commands.index(policy)
    memory_epoch = epoch.epoch
    assert rig.log.head("demo", "room:lobby").epoch != memory_epoch
    assert rig.log.head("demo", "room:lobby").seq == 0
    await rig.joined(conn)
    await rig.publish("room:lobby", b"2")
    await rig.set_kind("room", durability="logged")
    epoch = rig.plane.last(NewEpoch)
    assert rig.log.head("demo", "room:lobby") == ChannelHead(epoch.epoch, 0)
    await rig.publish("room:lobby", b"3")
    assert rig.log.head("demo", "room:lobby").seq == 1


async def test_a_new_durability_does_not_wait_for_a_topic_that_closes(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.publish("room:lobby", b"1")
    topic = rig.plane.topic("room:lobby").opened.topic
    rig.plane.mute.add(CloseTopic)
    rig.plane.idle(topic)
    await rig.settle()
    del rig.plane.topics[topic]
    begun = trio.current_time()
    await rig.set_kind("room", durability="memory", route="local-first")
    assert trio.current_time() == begun


async def test_a_policy_that_takes_publishing_away_takes_it_from_members(autojump_clock: MockClock, rig: Rig) -> None:
    conn = await rig.connect()
    sub = await rig.joined(conn)
    await rig.set_kind("room", publish="none")
    assert rig.plane.of(SetCapabilities) == [SetCapabilities(conn, sub, False, True)]
    await rig.set_kind("room", join="capability")
    assert rig.plane.of(EndSubscription) == [EndSubscription(conn, sub, "closed")]


async def test_a_kind_that_is_gone_is_left_by_everybody(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.set_kind("news", history_events=1)
    conn = await rig.connect()
    sub = await rig.joined(conn, "news:1")
    await rig.registry.set_kind("demo", "news", None)
    await rig.gateway.registry_changed()
    await rig.settle()
    assert rig.plane.of(EndSubscription) == [EndSubscription(conn, sub, "closed")]
    assert rig.plane.join_refusal(await rig.join(conn, "news:1"))["reason"] == "unknown_channel_kind"


async def test_an_override_that_contradicts_the_configuration_is_ignored_and_said(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = {"demo": {"room": PolicyOverride(retention_s=90_000)}}
    async with open_rig(kinds=kinds) as rig:
        await rig.tenant()
        await rig.set_kind("room", history_s=100_000)  # fine by itself, but more than the configured retention
        await rig.joined(await rig.connect())
        assert rig.plane.last(OpenTopic).policy.history_s == 86_400
        assert "ignored" in caplog.text


# --- the registry is away ---


async def test_while_the_registry_is_away_the_last_state_holds_and_health_says_so(
    autojump_clock: MockClock, rig: Rig
) -> None:
    conn = await rig.connect()
    rig.registry.lost = True
    await trio.sleep(3)
    await rig.joined(conn)
    assert rig.gateway.health().ready
    await trio.sleep(3)
    assert rig.gateway.health().checks["registry"] != "ok"
    assert rig.gateway.health().ready  # it serves whom it knows
    with pytest.raises(Unavailable):
        await rig.gateway.registry_changed()
    rig.registry.lost = False
    await trio.sleep(2)
    assert rig.gateway.health().checks["registry"] == "ok"


async def test_an_app_that_is_not_there_is_asked_for_once(autojump_clock: MockClock, rig: Rig) -> None:
    for _ in range(3):
        with pytest.raises(NotFound):
            await rig.gateway.find_app("ghost")
    assert rig.registry.app_reads == 1
    await rig.tenant("ghost")
    assert (await rig.gateway.find_app("ghost")).app_id == "ghost"


async def test_an_admin_token_is_known_when_it_was_added(autojump_clock: MockClock, rig: Rig) -> None:
    shown, digest = new_admin_token()
    assert not await rig.gateway.is_operator(shown)
    await rig.registry.add_admin_token(digest, "test", rig.wall_us())
    await rig.gateway.registry_changed()
    assert await rig.gateway.is_operator(shown)
    assert not await rig.gateway.is_operator(shown + "x")


async def test_an_operator_is_known_while_the_registry_is_away(autojump_clock: MockClock, rig: Rig) -> None:
    shown, digest = new_admin_token()
    await rig.registry.add_admin_token(digest, "test", rig.wall_us())
    await rig.gateway.registry_changed()
    assert await rig.gateway.is_operator(shown)
    await rig.tenant("later")  # the registry has changed: what is known may be old, but it can't be read
    await rig.gateway.registry_changed()
    rig.registry.lost = True
    assert await rig.gateway.is_operator(shown)
    assert not await rig.gateway.is_operator(shown + "x")
