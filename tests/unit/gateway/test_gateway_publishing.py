"""Publishes over HTTP: what is checked, counted and answered, item by item."""

from typing import Any

import pytest
import trio
from gateway_rig import Rig, open_rig
from trio.testing import MockClock

from polyglotd.access.api_keys import new_api_key
from polyglotd.gateway.callers import Credentials
from polyglotd.gateway.requests import Published, PublishRequest
from polyglotd.model import Forbidden, Invalid, NotFound, PayloadTooLarge, RateLimited, Scope, Unavailable
from polyglotd.plane.interface import OpenTopic, Publish, PublishResults, Refused


def reasons(results: list[Any]) -> list[str]:
    return ["ok" if isinstance(result, Published) else result.reason for result in results]


async def test_a_batch_crosses_once_and_answers_in_order(autojump_clock: MockClock, rig: Rig) -> None:
    items = [PublishRequest(f"room:{n % 3}", "message", b"%d" % n) for n in range(9)]
    results = await rig.gateway.publish(await rig.key_caller(), items)
    assert [(r.seq, r.duplicate) for r in results if isinstance(r, Published)] == [
        (n // 3 + 1, False) for n in range(9)
    ]
    (crossing,) = rig.plane.of(Publish)
    assert [item.data for item in crossing.items] == [b"%d" % n for n in range(9)]
    assert len(rig.plane.of(OpenTopic)) == 3


async def test_a_refused_item_stops_no_other(autojump_clock: MockClock, rig: Rig) -> None:
    items = [
        PublishRequest("room:a", "message", b"1"),
        PublishRequest("nosuch:a", "message", b"2"),
        PublishRequest("room", "message", b"3"),
        PublishRequest("room:a", "not a type", b"4"),
        PublishRequest("room:a", "message", b"5", "evt_mine"),
        PublishRequest("room:a", "message", b"6" * 65_537),
        PublishRequest("room:a", "message", b"7", "my-7"),
    ]
    results = await rig.gateway.publish(await rig.key_caller(), items)
    assert reasons(results) == [
        "ok",
        "unknown_channel_kind",
        "invalid",
        "invalid",
        "invalid",
        "payload_too_large",
        "ok",
    ]
    assert isinstance(results[3], Invalid)
    assert results[3].field == "type"
    assert isinstance(results[5], PayloadTooLarge)
    assert results[5].limit == 65_536
    assert isinstance(results[6], Published)
    assert (results[6].id, results[6].seq) == ("my-7", 2)


async def test_a_repeated_id_gets_the_first_answer_again(autojump_clock: MockClock, rig: Rig) -> None:
    caller = await rig.key_caller()
    first = await rig.gateway.publish(caller, [PublishRequest("room:a", "message", b"1", "order-1")])
    again = await rig.gateway.publish(caller, [PublishRequest("room:a", "message", b"2", "order-1")])
    assert isinstance(first[0], Published)
    assert isinstance(again[0], Published)
    assert (again[0].seq, again[0].ts_us, again[0].duplicate) == (first[0].seq, first[0].ts_us, True)


@pytest.mark.parametrize(
    ("who", "as_user", "user_id"),
    [
        ("key", None, None),
        ("key", "bob", "bob"),
        ("operator", "bob", "bob"),
        ("ann", None, "ann"),
        ("ann", "ann", "ann"),
    ],
)
async def test_an_event_is_its_publishers(
    autojump_clock: MockClock, rig: Rig, who: str, as_user: str | None, user_id: str | None
) -> None:
    callers = {
        "key": await rig.key_caller(),
        "operator": await rig.gateway.operator("demo"),
        "ann": await rig.user_caller("ann"),
    }
    item = PublishRequest("room:a", "message", b"1")
    results = await rig.gateway.publish(callers[who], [item], as_user=as_user)
    assert reasons(results) == ["ok"]
    assert rig.plane.last(Publish).items[0].user_id == user_id


async def test_a_user_can_not_publish_as_another(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Forbidden):
        await rig.gateway.publish(await rig.user_caller("ann"), [], as_user="bob")


async def test_a_key_can_not_name_what_is_no_user(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Invalid):
        await rig.gateway.publish(await rig.key_caller(), [], as_user="a\nb")


@pytest.mark.parametrize("scope", ["read", "presence", "admin:app"])
async def test_a_key_without_the_scope_publishes_nothing(autojump_clock: MockClock, rig: Rig, scope: Scope) -> None:
    shown, key = new_api_key("demo", now_us=0, scopes=[scope])
    await rig.registry.add_key(key)
    await rig.gateway.registry_changed()
    caller = await rig.gateway.authenticate("demo", Credentials(bearer=shown))
    with pytest.raises(Forbidden):
        await rig.gateway.publish(caller, [PublishRequest("room:a", "message", b"1")])


async def test_policy_and_capabilities_hold_for_users_over_http_and_keys_pass(
    autojump_clock: MockClock, rig: Rig
) -> None:
    await rig.set_kind("news", publish="none")
    items = [PublishRequest(channel, "message", b"1") for channel in ("room:a", "ticker:a", "news:a")]
    ann = await rig.user_caller("ann")
    assert reasons(await rig.gateway.publish(ann, items)) == ["ok", "forbidden", "forbidden"]
    feed = await rig.user_caller("feed", channels={"ticker:*": ["publish"], "news:*": ["publish"]})
    assert reasons(await rig.gateway.publish(feed, items)) == ["forbidden", "ok", "forbidden"]
    assert reasons(await rig.gateway.publish(await rig.key_caller(), items)) == ["ok", "ok", "ok"]


async def test_events_beyond_the_rate_are_refused_one_by_one(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(api_publishes=5)
        results = await rig.publish("match:1", *[b"1"] * 7)
        assert reasons(results) == ["ok"] * 5 + ["rate_limited"] * 2
        assert isinstance(results[6], RateLimited)
        assert 0 < results[6].retry_after_ms <= 200
        assert reasons(await rig.publish("match:1", b"1")) == ["rate_limited"]
        await trio.sleep(1)
        assert reasons(await rig.publish("match:1", *[b"1"] * 5)) == ["ok"] * 5


async def test_one_apps_rate_is_not_anothers(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(api_publishes=1)
        await rig.tenant("other")
        assert reasons(await rig.publish("match:1", b"1", b"2")) == ["ok", "rate_limited"]
        caller = await rig.key_caller("other")
        assert reasons(await rig.publish("match:1", b"1", b"2", caller=caller)) == ["ok", "ok"]


async def test_a_batch_of_more_than_a_thousand_is_refused_whole(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Invalid):
        await rig.publish("room:a", *[b"1"] * 1001)
    assert rig.plane.of(Publish) == []


async def test_a_batch_of_nothing_is_nothing(autojump_clock: MockClock, rig: Rig) -> None:
    assert await rig.gateway.publish(await rig.key_caller(), []) == []
    assert rig.plane.of(Publish) == []


async def test_channels_beyond_the_quota_are_refused_and_others_published(autojump_clock: MockClock) -> None:
    async with open_rig() as rig:
        await rig.tenant(channels=2)
        items = [PublishRequest(f"room:{n}", "message", b"1") for n in range(4)]
        results = await rig.gateway.publish(await rig.key_caller(), items)
        assert sorted(reasons(results)) == ["ok", "ok", "quota_exceeded", "quota_exceeded"]


async def test_a_plane_that_does_not_answer_makes_it_unavailable(autojump_clock: MockClock, rig: Rig) -> None:
    rig.plane.mute.add(Publish)
    with pytest.raises(Unavailable):
        await rig.publish("room:a", b"1")
    request = rig.plane.last(Publish).request
    rig.plane.happen(PublishResults(request, []))  # nobody waits for it any more
    rig.plane.mute.clear()
    assert reasons(await rig.publish("room:a", b"1")) == ["ok"]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (Refused("unavailable", "the log is full", retry_after_ms=1234), "unavailable"),
        (Refused("rate_limited", "too fast", retry_after_ms=5), "rate_limited"),
        (Refused("quota_exceeded", "enough"), "quota_exceeded"),
        (Refused("invalid", "no JSON"), "invalid"),
        (Refused("something new", "?"), "internal"),
    ],
)
async def test_what_the_plane_refuses_is_passed_on(
    autojump_clock: MockClock, rig: Rig, refused: Refused, reason: str
) -> None:
    rig.plane.mute.add(Publish)
    results: list[Any] = []

    async def publish() -> None:
        results.extend(await rig.publish("room:a", b"1"))

    rig.nursery.start_soon(publish)
    await rig.settle()
    rig.plane.happen(PublishResults(rig.plane.last(Publish).request, [refused]))
    await rig.settle()
    assert reasons(results) == [reason]
    assert results[0].details().get("retry_after_ms") == refused.retry_after_ms


async def test_a_publish_of_a_caller_who_left_is_published_all_the_same(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.publish("room:a", b"1")
    rig.plane.mute.add(Publish)
    with trio.move_on_after(1):
        await rig.publish("room:a", b"2")
    assert [item.data for item in rig.plane.last(Publish).items] == [b"2"]


async def test_an_app_that_was_deleted_while_its_key_was_at_work_is_not_found(
    autojump_clock: MockClock, rig: Rig
) -> None:
    caller = await rig.key_caller()
    await rig.registry.delete_app("demo", rig.wall_us())
    await rig.gateway.registry_changed()
    with pytest.raises(NotFound):
        await rig.publish("room:a", b"1", caller=caller)
