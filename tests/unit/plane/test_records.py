"""Records on their way up: merged, in order, bounded, woken for."""

import trio
import trio.testing

from polyglotd.plane.asgi.records import RecordQueue
from polyglotd.plane.interface import AnyRecord, MailReady, Published, TopicIdle


def published(topic: int, first: int, last: int) -> Published:
    return Published(topic, first, last, position=last, size=10, deliveries=1)


def put_published(records: RecordQueue, topic: int, seq: int, deliveries: int = 1) -> None:
    records.put_published(topic, seq, position=seq, size=10, deliveries=deliveries)


async def test_published_events_of_a_topic_become_one_record() -> None:
    records = RecordQueue(10)
    put_published(records, 1, 1)
    put_published(records, 2, 1)
    put_published(records, 1, 2, deliveries=3)
    records.put(MailReady(7))
    assert await records.take() == [
        MailReady(7),
        Published(1, 1, 2, position=2, size=20, deliveries=4),
        published(2, 1, 1),
    ]


async def test_what_a_topic_published_can_be_put_before_what_follows() -> None:
    records = RecordQueue(10)
    put_published(records, 1, 1)
    records.flush_published(1)
    records.put(TopicIdle(1))
    records.flush_published(1)
    assert await records.take() == [published(1, 1, 1), TopicIdle(1)]


async def test_bookkeeping_gathers_for_a_moment_and_anything_else_comes_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    records = RecordQueue(10)
    taken: list[tuple[float, list[AnyRecord]]] = []

    async def take() -> None:
        began_s = trio.current_time()
        taken.append((trio.current_time() - began_s, await records.take()))
        taken[-1] = (trio.current_time() - began_s, taken[-1][1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        put_published(records, 1, 1)
        await trio.sleep(0.001)
        put_published(records, 1, 2)
    assert taken == [(0.005, [Published(1, 1, 2, position=2, size=20, deliveries=2)])]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        put_published(records, 1, 3)
        await trio.sleep(0.001)
        records.put(MailReady(7))
    assert taken[1] == (0.001, [MailReady(7), published(1, 3, 3)])


async def test_a_cancelled_take_takes_nothing() -> None:
    records = RecordQueue(10)
    put_published(records, 1, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await records.take()
    assert scope.cancelled_caught
    assert await records.take() == [published(1, 1, 1)]


async def test_beyond_the_bound_who_waits_for_room_waits_until_all_is_taken() -> None:
    records = RecordQueue(2)
    await records.room()
    records.put(MailReady(1))
    records.put(MailReady(2))
    assert not records.has_room
    async with trio.open_nursery() as nursery:
        nursery.start_soon(records.room)
        await trio.testing.wait_all_tasks_blocked()
        records.put(MailReady(3))  # nothing is dropped for want of room
        assert len(await records.take()) == 3
    assert records.has_room
