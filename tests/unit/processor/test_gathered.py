"""The reader that waits for more: one batch of what came in a second, no loss by a cancel, no wait at the end."""

import trio
from contracts.log_events import event
from trio.testing import MockClock

from polyglotd.log.interface import ReadBatch
from polyglotd.processor import gathered
from polyglotd.processor.gathered import GATHER_S, Gathered


class Source:
    """Brings a batch of one event, 100 bytes long, each time that one is sent."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[int](1_000_000)
        self.position = 0
        self.end = 0
        self.committed = 0

    async def next_batch(self, limit: int) -> ReadBatch:
        seq = await self._receive.receive()
        self.position += 100
        return ReadBatch([event(seq)], self.position, [self.position])

    async def commit(self, position: int) -> None:
        self.committed = position

    def put(self, *seqs: int) -> None:
        for seq in seqs:
            self.send.send_nowait(seq)


def seqs(batch: ReadBatch) -> list[int]:
    return [record.seq for record in batch.records]  # type: ignore[union-attr]


async def test_what_comes_within_a_second_of_the_first_is_one_batch(autojump_clock: MockClock) -> None:
    source = Source()
    reader = Gathered(source, trio.Event())
    async with trio.open_nursery() as nursery:

        async def come() -> None:
            await trio.sleep(10)
            source.put(1)
            await trio.sleep(GATHER_S * 0.8)
            source.put(2)
            await trio.sleep(GATHER_S * 0.4)
            source.put(3)

        nursery.start_soon(come)
        batch = await reader.next_batch(10)
        assert (seqs(batch), batch.end, batch.ends) == ([1, 2], 200, [100, 200])
        assert trio.current_time() >= 10 + GATHER_S
        assert seqs(await reader.next_batch(10)) == [3]
    await reader.commit(200)
    assert source.committed == 200


async def test_it_does_not_wait_for_more_than_it_takes(autojump_clock: MockClock) -> None:
    source = Source()
    source.put(*range(gathered.GATHER_RECORDS + 5))
    begun = trio.current_time()
    batch = await Gathered(source, trio.Event()).next_batch(10)
    assert len(batch.records) == gathered.GATHER_RECORDS
    assert trio.current_time() == begun


async def test_in_a_hurry_it_gives_what_there_is(autojump_clock: MockClock) -> None:
    source, hurry = Source(), trio.Event()
    reader = Gathered(source, hurry)
    begun = trio.current_time()

    async def be_in_a_hurry() -> None:
        await trio.sleep(GATHER_S / 4)
        hurry.set()

    async with trio.open_nursery() as nursery:
        source.put(1)
        nursery.start_soon(be_in_a_hurry)
        assert seqs(await reader.next_batch(10)) == [1]
    source.put(2)
    assert seqs(await reader.next_batch(10)) == [2]
    assert trio.current_time() - begun < GATHER_S / 2


async def test_a_cancel_loses_nothing_and_the_position_waits(autojump_clock: MockClock) -> None:
    source = Source()
    reader = Gathered(source, trio.Event())
    source.put(1, 2)
    with trio.move_on_after(GATHER_S / 2):
        await reader.next_batch(10)
    assert (reader.position, source.position) == (0, 200)
    assert seqs(await reader.next_batch(10)) == [1, 2]
    assert reader.position == 200
