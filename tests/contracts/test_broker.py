"""What every broker promises (`broker.interface`), run against each make of it.

A make is a factory: `open()` gives one node's broker. Everything here holds for one node of a cluster as well.
"""

from collections import defaultdict

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglotd.broker.interface import PresenceChange, PresenceMeta
from polyglotd.broker.memory import PRESENT_DEADLINE_S, MemoryBroker, open_memory_broker
from polyglotd.model import Unavailable

MAKES = {"memory": open_memory_broker}
DEADLINE_S = 5.0


@pytest.fixture(params=MAKES.values(), ids=MAKES.keys())
async def broker(request):
    async with request.param() as opened:
        yield opened


def joined(user, ref, *, channel="room:lobby", app="chat-app", info=None, replaces=None):
    return PresenceChange(app, channel, user, PresenceMeta(ref, info, replaces), replaces)


def left(user, ref, *, channel="room:lobby", app="chat-app"):
    return PresenceChange(app, channel, user, None, ref)


async def changes(broker, count):
    """The next `count` changes, in however many batches they come."""
    taken = []
    with trio.fail_after(DEADLINE_S):
        while len(taken) < count:
            batch = await broker.presence_changes()
            assert batch, "an empty batch is no news"
            taken += batch
    return taken


async def refs(broker, channel="room:lobby", app="chat-app"):
    roster = await broker.roster(app, channel)
    return {user: [meta.ref for meta in metas] for user, metas in roster.items()}


async def test_changes_come_back_in_their_order(broker):
    await broker.roster("chat-app", "room:lobby")
    sent = [joined("ann", "1"), joined("bob", "2"), left("ann", "1"), joined("ann", "3", info=b'{"a":1}')]

    await broker.present(sent[:2])
    await broker.present(sent[2:])

    assert await changes(broker, 4) == sent


async def test_a_roster_holds_who_is_present_now_by_user_with_a_meta_for_each_connection(broker):
    await broker.present([joined("ann", "1"), joined("ann", "2"), joined("bob", "3", info=b'{"x":1.50}')])
    await broker.present([left("ann", "1")])

    roster = await broker.roster("chat-app", "room:lobby")

    assert {user: list(metas) for user, metas in roster.items()} == {
        "ann": [PresenceMeta("2", None)],
        "bob": [PresenceMeta("3", b'{"x":1.50}')],
    }


async def test_an_update_takes_the_place_of_the_ref_that_it_replaces(broker):
    await broker.present([joined("ann", "1"), joined("ann", "2", info=b"{}", replaces="1")])

    assert await refs(broker) == {"ann": ["2"]}


async def test_a_user_whose_last_connection_left_is_gone(broker):
    await broker.present([joined("ann", "1"), left("ann", "1")])

    assert await refs(broker) == {}


async def test_leaving_twice_or_without_having_come_changes_nothing(broker):
    await broker.present([joined("ann", "1"), left("ann", "9"), left("bob", "1"), left("bob", "1")])

    assert await refs(broker) == {"ann": ["1"]}


async def test_joining_twice_with_one_ref_is_one_meta(broker):
    await broker.present([joined("ann", "1"), joined("ann", "1", info=b"{}")])

    assert await refs(broker) == {"ann": ["1"]}


async def test_apps_and_channels_do_not_see_each_other(broker):
    await broker.present([joined("ann", "1"), joined("bob", "2", app="other"), joined("cid", "3", channel="room:b")])
    await broker.present([left("ann", "1", app="other"), left("ann", "1", channel="room:b")])

    assert await refs(broker) == {"ann": ["1"]}
    assert await refs(broker, app="other") == {"bob": ["2"]}
    assert await refs(broker, channel="room:b") == {"cid": ["3"]}
    assert await refs(broker, app="none") == {}


async def test_a_roster_that_was_handed_out_does_not_change_afterwards(broker):
    await broker.present([joined("ann", "1")])
    roster = await broker.roster("chat-app", "room:lobby")

    await broker.present([joined("ann", "2"), joined("bob", "3")])

    assert [meta.ref for meta in roster["ann"]] == ["1"]
    assert "bob" not in roster


REFS = st.sampled_from(["1", "2", "3"])
USERS = st.sampled_from(["ann", "bob"])
STEPS = st.lists(
    st.builds(joined, USERS, REFS) | st.builds(left, USERS, REFS) | st.builds(joined, USERS, REFS, replaces=REFS),
    max_size=20,
)


@settings(max_examples=50)
@given(steps=STEPS, asked_after=st.integers(0, 20))
async def test_a_roster_and_the_changes_after_it_lead_to_the_same_end_whenever_it_was_asked(steps, asked_after):
    """Changes may come that the roster shows already: by their refs they change nothing in the end."""
    for make in MAKES.values():
        async with make() as broker:
            await broker.roster("chat-app", "room:lobby")
            await broker.present(steps[:asked_after])
            merged = defaultdict(set, {user: set(names) for user, names in (await refs(broker)).items()})
            await broker.present(steps[asked_after:])
            for change in await changes(broker, len(steps)):
                merged[change.user_id].discard(change.left)
                if change.joined is not None:
                    merged[change.user_id].add(change.joined.ref)

            final = {user: set(names) for user, names in (await refs(broker)).items()}
            assert {user: names for user, names in merged.items() if names} == final


async def test_waiting_for_changes_ends_when_one_comes(broker):
    await broker.roster("chat-app", "room:lobby")
    seen = []

    async def wait():
        seen.extend(await changes(broker, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        await broker.present([joined("ann", "1")])

    assert seen == [joined("ann", "1")]


async def test_a_cancelled_wait_for_changes_loses_none(broker):
    await broker.roster("chat-app", "room:lobby")
    with trio.move_on_after(0):
        await broker.presence_changes()
    await broker.present([joined("ann", "1")])
    with trio.CancelScope() as scope:
        scope.cancel()
        await broker.presence_changes()

    assert await changes(broker, 1) == [joined("ann", "1")]


async def test_presenting_nothing_wakes_nobody(broker):
    await broker.present([])

    with trio.move_on_after(0.01) as waited:
        await broker.presence_changes()
    assert waited.cancelled_caught


async def test_a_single_node_may_spend_the_whole_of_a_rate(broker):
    assert await broker.lease_rate("chat-app", "publishes_per_app", 5000) == 5000.0


async def test_connections_are_taken_up_to_the_limit_and_then_refused_with_nothing_taken(broker):
    assert await broker.take_connections("chat-app", 2, 3)
    assert not await broker.take_connections("chat-app", 2, 3)
    assert await broker.connections("chat-app") == 2
    assert await broker.take_connections("chat-app", 1, 3)
    assert not await broker.take_connections("chat-app", 1, 3)
    assert await broker.connections("chat-app") == 3


async def test_given_back_connections_can_be_taken_again(broker):
    await broker.take_connections("chat-app", 3, 3)
    await broker.give_connections("chat-app", 2)

    assert await broker.connections("chat-app") == 1
    assert await broker.take_connections("chat-app", 2, 3)


async def test_connections_are_counted_by_app(broker):
    await broker.take_connections("chat-app", 3, 3)

    assert await broker.connections("other-app") == 0
    assert await broker.take_connections("other-app", 3, 3)


async def test_a_lowered_limit_refuses_until_enough_were_given_back(broker):
    await broker.take_connections("chat-app", 5, 10)

    assert not await broker.take_connections("chat-app", 1, 2)
    await broker.give_connections("chat-app", 4)
    assert await broker.take_connections("chat-app", 1, 2)


async def test_many_takers_at_once_never_pass_the_limit(broker):
    results = []

    async def take():
        results.append(await broker.take_connections("chat-app", 1, 10))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(take)

    assert results.count(True) == 10
    assert await broker.connections("chat-app") == 10


# --- the memory make's own bounds --------------------------------------------------------------------------------


async def test_memory_present_waits_while_nobody_takes_changes_and_goes_on_in_order(autojump_clock):
    broker = MemoryBroker(changes_max=2)
    await broker.present([joined("ann", "1"), joined("ann", "2")])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.present, [joined("ann", "3")])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(broker.present, [joined("ann", "4")])
        await trio.testing.wait_all_tasks_blocked()
        assert await refs(broker) == {"ann": ["1", "2"]}
        taken = list(await changes(broker, 4))

    assert [change.joined.ref for change in taken] == ["1", "2", "3", "4"]


async def test_memory_present_keeps_its_turn_when_another_comes_while_room_is_made():
    for _ in range(20):  # the scheduler decides by chance who runs first
        broker = MemoryBroker(changes_max=1)
        await broker.present([joined("ann", "0")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.present, [joined("ann", "1")])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(broker.presence_changes)
            nursery.start_soon(broker.present, [joined("ann", "2")])
            await trio.testing.wait_all_tasks_blocked()
            taken = list(await changes(broker, 2))

        assert [change.joined.ref for change in taken] == ["1", "2"]


async def test_memory_present_gives_up_with_nothing_applied_where_the_consumer_is_stuck(autojump_clock):
    broker = MemoryBroker(changes_max=1)
    await broker.present([joined("ann", "1")])
    began = trio.current_time()

    with pytest.raises(Unavailable):
        await broker.present([joined("bob", "2"), joined("cid", "3")])

    assert trio.current_time() - began == pytest.approx(PRESENT_DEADLINE_S)
    assert await refs(broker) == {"ann": ["1"]}
    assert await changes(broker, 1) == [joined("ann", "1")]


async def test_memory_giving_back_more_connections_than_were_taken_is_a_bug():
    broker = MemoryBroker()
    await broker.take_connections("chat-app", 1, 5)

    with pytest.raises(ValueError):
        await broker.give_connections("chat-app", 2)
    assert await broker.connections("chat-app") == 1


async def test_memory_connections_can_be_given_back_by_a_cancelled_task():
    broker = MemoryBroker()
    await broker.take_connections("chat-app", 1, 5)
    with trio.CancelScope() as scope:
        scope.cancel()
        await broker.give_connections("chat-app", 1)

    assert await broker.connections("chat-app") == 0


async def test_memory_a_channel_that_everybody_left_takes_no_room():
    broker = MemoryBroker()
    await broker.present([joined("ann", str(n), channel=f"room:{n}") for n in range(100)])
    await broker.present([left("ann", str(n), channel=f"room:{n}") for n in range(100)])
    await broker.present([left("bob", "x", channel="room:never")])

    assert broker.channels_present == 0
