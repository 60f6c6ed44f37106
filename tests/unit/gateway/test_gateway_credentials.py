"""Who a caller over HTTP is, from what he shows."""

import pytest
from gateway_rig import Rig, open_rig
from trio.testing import MockClock

from polyglotd.access.api_keys import new_api_key
from polyglotd.gateway.callers import Credentials, KeyCaller, OperatorCaller, UserCaller
from polyglotd.model import Forbidden, Invalid, NotFound, Unauthorized


async def test_a_key_comes_in_either_header(autojump_clock: MockClock, rig: Rig) -> None:
    tenant = rig.tenants["demo"]
    for shown in (
        Credentials(api_key=tenant.key),
        Credentials(bearer=tenant.key),
        Credentials(api_key=tenant.key, bearer=tenant.key),
    ):
        caller = await rig.gateway.authenticate("demo", shown)
        assert isinstance(caller, KeyCaller)
        assert caller.credential.key_id == tenant.api_key.key_id


async def test_a_token_makes_its_user(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.gateway.authenticate("demo", Credentials(bearer=rig.token("ann")))
    assert isinstance(caller, UserCaller)
    assert (caller.app.app_id, caller.user_id) == ("demo", "ann")


async def test_two_different_credentials_are_refused(autojump_clock: MockClock, rig: Rig) -> None:
    shown = Credentials(api_key=rig.tenants["demo"].key, bearer=rig.token("ann"))
    with pytest.raises(Invalid):
        await rig.gateway.authenticate("demo", shown)


async def test_a_token_in_a_query_lives_five_minutes_at_most(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.gateway.authenticate("demo", Credentials(query_token=rig.token("ann", ttl_s=300)))
    assert isinstance(caller, UserCaller)
    with pytest.raises(Unauthorized, match="5 minutes"):
        await rig.gateway.authenticate("demo", Credentials(query_token=rig.token("ann", ttl_s=302)))


async def test_a_key_in_a_query_is_refused(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Unauthorized, match="URL"):
        await rig.gateway.authenticate("demo", Credentials(query_token=rig.tenants["demo"].key))


@pytest.mark.parametrize("app_id", ["demo", "other", "ghost", "not an app"])
async def test_a_credential_of_no_such_app_is_answered_in_the_same_words(
    autojump_clock: MockClock, rig: Rig, app_id: str
) -> None:
    await rig.tenant("other")
    shown, _ = new_api_key("demo", now_us=0)
    with pytest.raises(Unauthorized) as key_refusal:
        await rig.gateway.authenticate(app_id, Credentials(api_key=shown))
    assert str(key_refusal.value) == "the API key is not one of this app"


async def test_no_credential_is_unauthorized(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Unauthorized):
        await rig.gateway.authenticate("demo", Credentials())


async def test_a_suspended_app_is_forbidden_to_its_own_and_open_to_operators(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.registry.suspend_app("demo", rig.wall_us())
    await rig.gateway.registry_changed()
    for bearer in (rig.tenants["demo"].key, rig.token("ann")):
        with pytest.raises(Forbidden):
            await rig.gateway.authenticate("demo", Credentials(bearer=bearer))
    assert isinstance(await rig.gateway.operator("demo"), OperatorCaller)
    with pytest.raises(NotFound):
        await rig.gateway.operator("ghost")


async def test_the_literals_are_good_in_development_mode_alone(autojump_clock: MockClock, rig: Rig) -> None:
    shown = [Credentials(bearer="valid_token_ann"), Credentials(api_key="valid_key_chat-app")]
    await rig.tenant("chat-app")
    for one in shown:
        with pytest.raises(Unauthorized):
            await rig.gateway.authenticate("chat-app", one)
    assert await rig.gateway.development_reader("chat-app") is None


async def test_development_mode_knows_its_literals_for_one_app(autojump_clock: MockClock) -> None:
    async with open_rig(development=True) as rig:
        await rig.tenant("chat-app")
        await rig.tenant("demo")
        user = await rig.gateway.authenticate("chat-app", Credentials(bearer="valid_token_ann"))
        assert isinstance(user, UserCaller)
        for shown in (Credentials(bearer="valid_key_chat-app"), Credentials(api_key="valid_key_chat-app")):
            key = await rig.gateway.authenticate("chat-app", shown)
            assert isinstance(key, KeyCaller)
            with pytest.raises(Unauthorized):
                await rig.gateway.authenticate("demo", shown)
        query = await rig.gateway.authenticate("chat-app", Credentials(query_token="valid_token_ann"))
        assert isinstance(query, UserCaller)
        assert isinstance(await rig.gateway.development_reader("chat-app"), KeyCaller)
        assert await rig.gateway.development_reader("demo") is None
