"""What every registry promises (polyglotd/store/interface.py), run on each make of it."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest
import trio
from contracts.stores import Make

from polyglotd.model import (
    ALL_SCOPES,
    ApiKey,
    App,
    Conflict,
    Endpoint,
    EndpointPatch,
    EndpointSecret,
    Invalid,
    Limits,
    LimitsPatch,
    NotFound,
    PolicyOverride,
    SigningSecret,
)
from polyglotd.store.interface import Registry

NOW = 1_795_508_130_000_000
DAY_US = 86_400 * 1_000_000

OpenRegistry = Callable[[], AbstractAsyncContextManager[Registry]]


@pytest.fixture
def open_registry(make: Make) -> OpenRegistry:
    """Opens the same registry each time, also twice at once, as two processes do."""
    return make.open_registry


@pytest.fixture
async def registry(open_registry: OpenRegistry) -> AsyncIterator[Registry]:
    async with open_registry() as registry:
        yield registry


def app(app_id: str = "chat", **fields: object) -> App:
    return App(app_id=app_id, **({"name": "Chat", "created_us": NOW} | fields))  # type: ignore[arg-type]


def key(key_id: str = "key_1", app_id: str = "chat", **fields: object) -> ApiKey:
    values: dict[str, object] = {
        "digest": hashlib.sha256(key_id.encode()).digest(),
        "scopes": ALL_SCOPES,
        "name": "first",
        "created_us": NOW,
    }
    return ApiKey(key_id=key_id, app_id=app_id, **(values | fields))  # type: ignore[arg-type]


def secret(secret_id: str = "sec_1", app_id: str = "chat", **fields: object) -> SigningSecret:
    values: dict[str, object] = {"algorithm": "HS256", "material": b"\x00\xff" * 20, "created_us": NOW}
    return SigningSecret(secret_id=secret_id, app_id=app_id, **(values | fields))  # type: ignore[arg-type]


async def create(registry: Registry, *app_ids: str) -> None:
    for app_id in app_ids:
        await registry.create_app(app(app_id), key(f"key_{app_id}", app_id), secret(f"sec_{app_id}", app_id))


# --- apps ---


async def test_a_created_app_is_there_with_key_and_secret_after_a_restart(open_registry: OpenRegistry) -> None:
    created = app(
        name="Chat \U0001f600",
        limits=Limits(connections=7, payload_bytes=1_000),
        kinds={"room": PolicyOverride(history_events=5), "poll": PolicyOverride(durability="logged")},
    )
    first = key(scopes=frozenset({"read"}), expires_us=NOW + 5)
    async with open_registry() as registry:
        await registry.create_app(created, first, secret(algorithm="EdDSA"))
    async with open_registry() as registry:
        assert await registry.app("chat") == created
        assert await registry.keys("chat") == [first]
        assert await registry.secrets("chat") == [secret(algorithm="EdDSA")]


async def test_an_app_id_is_taken_once(registry: Registry) -> None:
    await create(registry, "chat")
    with pytest.raises(Conflict):
        await registry.create_app(app(name="Other"), key("key_2"), secret("sec_2"))
    assert (await registry.app("chat")).name == "Chat"
    assert [k.key_id for k in await registry.keys("chat")] == ["key_chat"]


async def test_an_app_whose_key_is_taken_is_not_created_at_all(registry: Registry) -> None:
    await create(registry, "chat")
    with pytest.raises(Conflict):
        await registry.create_app(app("other"), key("key_chat", "other"), secret("sec_2", "other"))
    with pytest.raises(NotFound):
        await registry.app("other")


async def test_apps_come_by_id_in_pages(registry: Registry) -> None:
    await create(registry, "c", "a", "d", "b")
    assert [a.app_id for a in await registry.apps("", 3)] == ["a", "b", "c"]
    assert [a.app_id for a in await registry.apps("c", 3)] == ["d"]
    assert await registry.apps("d", 3) == []


async def test_an_app_is_renamed_suspended_and_resumed(registry: Registry) -> None:
    await create(registry, "chat")
    assert (await registry.rename_app("chat", "New")).name == "New"
    assert (await registry.suspend_app("chat", NOW)).suspended
    assert (await registry.app("chat")).suspended
    resumed = await registry.resume_app("chat")
    assert resumed == app("chat", name="New")
    (revocation,) = await registry.revocations(0, 10)
    assert (revocation.app_id, revocation.what, revocation.subject, revocation.at_us) == ("chat", "app", "chat", NOW)


async def test_a_deleted_app_is_gone_and_its_id_stays_taken_until_it_is_erased(registry: Registry) -> None:
    await create(registry, "chat", "other")
    await registry.revoke("chat", "token", "jti_1", NOW, NOW + DAY_US)
    await registry.delete_app("chat", NOW)
    with pytest.raises(NotFound):
        await registry.app("chat")
    with pytest.raises(NotFound):
        await registry.keys("chat")
    with pytest.raises(NotFound):
        await registry.secrets("chat")
    assert [(r.what, r.subject) for r in await registry.revocations(0, 10)] == [("token", "jti_1"), ("app", "chat")]
    assert await registry.deleted_apps() == ["chat"]
    with pytest.raises(Conflict):
        await create(registry, "chat")
    await registry.app_erased("chat")
    assert await registry.deleted_apps() == []
    await create(registry, "chat")
    assert [k.key_id for k in await registry.keys("other")] == ["key_other"]


# --- limits and kinds ---


async def test_a_patch_sets_limits_and_null_puts_the_default_back(registry: Registry) -> None:
    await create(registry, "chat")
    patched = await registry.patch_limits("chat", LimitsPatch(connections=5, channels=6))
    assert patched.limits == Limits(connections=5, channels=6)
    patched = await registry.patch_limits("chat", LimitsPatch(connections=None, joins_per_second=7))
    assert patched.limits == (await registry.app("chat")).limits == Limits(channels=6, joins_per_second=7)


async def test_patches_at_once_are_all_kept(open_registry: OpenRegistry) -> None:
    async with open_registry() as one, open_registry() as two:
        await create(one, "chat")
        names = [name for name in Limits.__struct_fields__ if name != "payload_bytes"]
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                patch = LimitsPatch(**{name: 17})  # type: ignore[arg-type]
                nursery.start_soon((one, two)[number % 2].patch_limits, "chat", patch)
        limits = (await two.app("chat")).limits
        assert msgspec.structs.asdict(limits) == dict.fromkeys(names, 17) | {"payload_bytes": 65_536}


async def test_a_kinds_override_is_replaced_and_removed(registry: Registry) -> None:
    await create(registry, "chat")
    await registry.set_kind("chat", "room", PolicyOverride(history_events=5, history_s=60))
    await registry.set_kind("chat", "poll", PolicyOverride(presence="count"))
    changed = await registry.set_kind("chat", "room", PolicyOverride(history_events=7))
    assert changed.kinds == {"room": PolicyOverride(history_events=7), "poll": PolicyOverride(presence="count")}
    changed = await registry.set_kind("chat", "poll", None)
    assert changed.kinds == (await registry.app("chat")).kinds == {"room": PolicyOverride(history_events=7)}
    assert (await registry.set_kind("chat", "never", None)) == changed


async def test_a_kind_that_contradicts_itself_is_refused(registry: Registry) -> None:
    await create(registry, "chat")
    with pytest.raises(Invalid):
        await registry.set_kind("chat", "room", PolicyOverride(retention_s=1))
    assert (await registry.app("chat")).kinds == {}


# --- keys ---


async def test_keys_come_newest_first_with_revoked_and_expired_ones(registry: Registry) -> None:
    await create(registry, "chat")
    await registry.add_key(key("key_2", created_us=NOW + 1))
    await registry.add_key(key("key_3", created_us=NOW + 2))
    await registry.revoke_key("chat", "key_2", NOW + 9)
    keys = await registry.keys("chat")
    assert [k.key_id for k in keys] == ["key_3", "key_2", "key_chat"]
    assert [k.revoked_us for k in keys] == [None, NOW + 9, None]
    (revocation,) = await registry.revocations(0, 10)
    assert (revocation.what, revocation.subject) == ("key", "key_2")


async def test_a_key_revoked_twice_keeps_its_first_time(registry: Registry) -> None:
    await create(registry, "chat")
    await registry.revoke_key("chat", "key_chat", NOW + 1)
    await registry.revoke_key("chat", "key_chat", NOW + 2)
    assert (await registry.keys("chat"))[0].revoked_us == NOW + 1


async def test_a_rotation_adds_the_new_key_and_lets_the_old_one_expire(registry: Registry) -> None:
    await create(registry, "chat")
    await registry.rotate_key("chat", "key_chat", key("key_2", created_us=NOW + 1), NOW + DAY_US)
    new, old = await registry.keys("chat")
    assert (new.key_id, new.expires_us) == ("key_2", None)
    assert (old.key_id, old.expires_us, old.revoked_us) == ("key_chat", NOW + DAY_US, None)
    await registry.rotate_key("chat", "key_chat", key("key_3"), NOW + 2 * DAY_US)
    assert {k.key_id: k.expires_us for k in await registry.keys("chat")}["key_chat"] == NOW + DAY_US  # never later


async def test_a_rotation_to_a_key_that_is_there_changes_nothing(registry: Registry) -> None:
    await create(registry, "chat", "other")
    with pytest.raises(Conflict):
        await registry.rotate_key("chat", "key_chat", key("key_other"), NOW + DAY_US)
    assert (await registry.keys("chat"))[0].expires_us is None


# --- secrets ---


async def test_secrets_come_newest_first_with_revoked_ones(registry: Registry) -> None:
    await create(registry, "chat")
    await registry.add_secret(secret("sec_2", algorithm="RS256", material=b"-----BEGIN", created_us=NOW + 1))
    await registry.revoke_secret("chat", "sec_chat", NOW + 5)
    new, old = await registry.secrets("chat")
    assert (new.secret_id, new.algorithm, new.material, new.revoked_us) == ("sec_2", "RS256", b"-----BEGIN", None)
    assert (old.secret_id, old.revoked_us) == ("sec_chat", NOW + 5)


# --- what is not there ---


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda r: r.app("none"), id="app"),
        pytest.param(lambda r: r.rename_app("none", "x"), id="rename_app"),
        pytest.param(lambda r: r.suspend_app("none", NOW), id="suspend_app"),
        pytest.param(lambda r: r.resume_app("none"), id="resume_app"),
        pytest.param(lambda r: r.delete_app("none", NOW), id="delete_app"),
        pytest.param(lambda r: r.patch_limits("none", LimitsPatch(channels=1)), id="patch_limits"),
        pytest.param(lambda r: r.set_kind("none", "room", PolicyOverride()), id="set_kind"),
        pytest.param(lambda r: r.add_key(key("key_9", "none")), id="add_key"),
        pytest.param(lambda r: r.keys("none"), id="keys"),
        pytest.param(lambda r: r.rotate_key("chat", "none", key("key_9"), NOW), id="rotate_key"),
        pytest.param(lambda r: r.rotate_key("other", "key_chat", key("key_9", "other"), NOW), id="another app's key"),
        pytest.param(lambda r: r.revoke_key("chat", "none", NOW), id="revoke_key"),
        pytest.param(lambda r: r.revoke_key("other", "key_chat", NOW), id="revoke another app's key"),
        pytest.param(lambda r: r.add_secret(secret("sec_9", "none")), id="add_secret"),
        pytest.param(lambda r: r.secrets("none"), id="secrets"),
        pytest.param(lambda r: r.revoke_secret("chat", "none", NOW), id="revoke_secret"),
        pytest.param(lambda r: r.revoke_secret("other", "sec_chat", NOW), id="revoke another app's secret"),
    ],
)
async def test_what_is_not_there_is_not_found_and_nothing_changes(
    registry: Registry, call: Callable[[Registry], object]
) -> None:
    await create(registry, "chat", "other")
    version = await registry.version()
    with pytest.raises(NotFound):
        await call(registry)  # type: ignore[misc]
    assert await registry.version() == version
    assert [k.key_id for k in await registry.keys("chat")] == ["key_chat"]
    assert await registry.revocations(0, 10) == []


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda r: r.add_key(key("key_chat", "other")), id="key id"),
        pytest.param(
            lambda r: r.add_key(key("key_9", "other", digest=hashlib.sha256(b"key_chat").digest())), id="digest"
        ),
        pytest.param(lambda r: r.add_secret(secret("sec_chat", "other")), id="secret id"),
    ],
)
async def test_what_is_there_already_is_a_conflict(registry: Registry, call: Callable[[Registry], object]) -> None:
    await create(registry, "chat", "other")
    with pytest.raises(Conflict):
        await call(registry)  # type: ignore[misc]


# --- revocations ---


async def test_revocations_are_read_by_cursor(registry: Registry) -> None:
    for number in range(5):
        await registry.revoke("chat", "token", f"jti_{number}", NOW + number, NOW + DAY_US)
    first = await registry.revocations(0, 3)
    assert [r.subject for r in first] == ["jti_0", "jti_1", "jti_2"]
    assert [r.subject for r in await registry.revocations(first[-1].cursor, 10)] == ["jti_3", "jti_4"]
    assert await registry.revocations(first[-1].cursor + 2, 10) == []


async def test_revocations_that_nothing_needs_any_more_are_dropped_and_cursors_rise(registry: Registry) -> None:
    await registry.revoke("chat", "user", "old", NOW, NOW + 10)
    (old,) = await registry.revocations(0, 10)
    await registry.revoke("chat", "user", "new", NOW + 11, NOW + DAY_US)
    (new,) = await registry.revocations(0, 10)
    assert new.subject == "new"
    assert new.cursor > old.cursor


async def test_who_follows_revocations_while_others_write_misses_none(open_registry: OpenRegistry) -> None:
    seen: list[str] = []
    async with open_registry() as one, open_registry() as two, open_registry() as reader:

        async def write(registry: Registry, writer: str) -> None:
            for number in range(20):
                await registry.revoke("chat", "token", f"{writer}_{number}", NOW, NOW + DAY_US)

        left = 4
        cursor = 0

        async def write_all(registry: Registry, writer: str) -> None:
            nonlocal left
            await write(registry, writer)
            left -= 1

        async with trio.open_nursery() as writers:
            for name, registry in (("a", one), ("b", two), ("c", one), ("d", two)):
                writers.start_soon(write_all, registry, name)
            while True:
                done = not left
                found = await reader.revocations(cursor, 7)
                seen += [line.subject for line in found]
                cursor = max([cursor, *(line.cursor for line in found)])
                if done and not found:
                    break
    assert len(set(seen)) == 80


# --- admin tokens and versions ---


async def test_admin_tokens_are_known_by_their_digest(registry: Registry) -> None:
    assert await registry.admin_tokens() == {}
    await registry.add_admin_token(b"\x01" * 32, "first", NOW)
    await registry.add_admin_token(b"\x02" * 32, "second", NOW + 1)
    assert await registry.admin_tokens() == {b"\x01" * 32: "first", b"\x02" * 32: "second"}
    with pytest.raises(Conflict):
        await registry.add_admin_token(b"\x01" * 32, "again", NOW)


async def test_the_version_rises_with_every_change_also_of_another_process(open_registry: OpenRegistry) -> None:
    async with open_registry() as one, open_registry() as two:
        versions = [await two.version()]
        await create(one, "chat")
        for change in (
            one.rename_app("chat", "x"),
            one.patch_limits("chat", LimitsPatch(channels=1)),
            one.set_kind("chat", "room", PolicyOverride()),
            one.add_key(key("key_2")),
            one.revoke_key("chat", "key_2", NOW),
            one.add_secret(secret("sec_2")),
            one.revoke_secret("chat", "sec_2", NOW),
            one.revoke("chat", "user", "u", NOW, NOW + DAY_US),
            one.add_admin_token(b"d", "t", NOW),
            one.delete_app("chat", NOW),
            one.app_erased("chat"),
        ):
            versions.append(await two.version())
            await change
        versions.append(await two.version())
        assert versions == sorted(set(versions))
        assert await one.version() == versions[-1]


# --- webhooks ---


def endpoint(endpoint_id: str = "whe_1", app_id: str = "chat", **fields: object) -> Endpoint:
    values: dict[str, object] = {
        "url": "https://hooks.example.com/polyglot?x=%20",
        "types": ("event.published", "member.joined"),
        "secrets": (EndpointSecret("whsec_new"), EndpointSecret("whsec_old", NOW + 9)),
        "created_us": NOW,
        "since_us": NOW + 3,
        "channels": ("room:*", "post:1"),
        "event_types": ("message",),
        "name": "Chat \U0001f600",
    }
    return Endpoint(endpoint_id=endpoint_id, app_id=app_id, **(values | fields))  # type: ignore[arg-type]


async def test_a_webhook_is_there_after_a_restart_as_it_was_added(open_registry: OpenRegistry) -> None:
    async with open_registry() as registry:
        await create(registry, "chat", "other")
        await registry.add_webhook(endpoint(), 2)
        await registry.add_webhook(endpoint("whe_0", created_us=NOW + 1, channels=(), event_types=()), 2)
        await registry.add_webhook(endpoint("whe_2", "other"), 2)
    async with open_registry() as registry:
        assert [one.endpoint_id for one in await registry.webhooks("chat")] == ["whe_1", "whe_0"]
        assert (await registry.webhooks("chat"))[0] == endpoint()
        assert [one.app_id for one in await registry.all_webhooks()] == ["chat", "chat", "other"]
        with pytest.raises(NotFound):
            await registry.webhooks("nobody")


async def test_an_app_has_so_many_webhooks_at_most_and_an_id_is_taken_once(registry: Registry) -> None:
    await create(registry, "chat", "other")
    await registry.add_webhook(endpoint(), 1)
    with pytest.raises(Conflict):
        await registry.add_webhook(endpoint("whe_2"), 1)
    with pytest.raises(Conflict):
        await registry.add_webhook(endpoint("whe_1", "other"), 1)
    with pytest.raises(NotFound):
        await registry.add_webhook(endpoint("whe_3", "nobody"), 1)
    assert len(await registry.all_webhooks()) == 1


async def test_a_change_of_a_webhook_leaves_what_it_does_not_name(registry: Registry) -> None:
    await create(registry, "chat", "other")
    await registry.add_webhook(endpoint(), 9)
    version = await registry.version()
    changed = await registry.change_webhook(
        "chat", "whe_1", EndpointPatch(enabled=False, disabled_why="it answered 410", channels=())
    )
    assert changed == endpoint(enabled=False, disabled_why="it answered 410", channels=())
    assert await registry.webhooks("chat") == [changed]
    assert await registry.version() > version
    enabling = EndpointPatch(enabled=True, disabled_why=None, since_us=NOW + 9)
    assert await registry.change_webhook("chat", "whe_1", enabling) == endpoint(channels=(), since_us=NOW + 9)
    again = msgspec.structs.replace(enabling, since_us=NOW + 99)  # it is enabled: nothing that waits may be skipped
    assert await registry.change_webhook("chat", "whe_1", again) == endpoint(channels=(), since_us=NOW + 9)
    with pytest.raises(NotFound):
        await registry.change_webhook("other", "whe_1", EndpointPatch(name="x"))


async def test_secrets_of_a_webhook_are_replaced_unless_somebody_else_did(registry: Registry) -> None:
    await create(registry, "chat", "other")
    await registry.add_webhook(endpoint(), 9)
    now = (EndpointSecret("whsec_newest"), EndpointSecret("whsec_new", NOW + 5))
    assert (await registry.set_webhook_secrets("chat", "whe_1", endpoint().secrets, now)).secrets == now
    with pytest.raises(Conflict):
        await registry.set_webhook_secrets("chat", "whe_1", endpoint().secrets, ())
    with pytest.raises(NotFound):
        await registry.set_webhook_secrets("other", "whe_1", now, now)
    assert (await registry.webhooks("chat"))[0].secrets == now


async def test_a_removed_webhook_is_gone_and_a_deleted_app_takes_its_own_with_it(registry: Registry) -> None:
    await create(registry, "chat", "other")
    for one in (endpoint(), endpoint("whe_2"), endpoint("whe_3", "other")):
        await registry.add_webhook(one, 9)
    with pytest.raises(NotFound):
        await registry.remove_webhook("other", "whe_1")
    await registry.remove_webhook("chat", "whe_1")
    with pytest.raises(NotFound):
        await registry.remove_webhook("chat", "whe_1")
    assert [one.endpoint_id for one in await registry.webhooks("chat")] == ["whe_2"]
    await registry.delete_app("chat", NOW)
    assert [one.endpoint_id for one in await registry.all_webhooks()] == ["whe_3"]
