"""Silence has one deadline for all, and each socket's is still its own."""

import trio
from trio.testing import MockClock

from polyglotd.plane.asgi.silence import SilenceWatch


async def test_each_is_called_when_its_own_time_is_up(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    watch, called = SilenceWatch(60), list[tuple[str, float]]()
    begin = trio.current_time()

    def note(name: str) -> None:
        called.append((name, trio.current_time() - begin))

    nursery.start_soon(watch.run)
    await trio.sleep(5)
    watch.listen(1, lambda: note("one"))
    watch.listen(2, lambda: note("two"))
    watch.listen(3, lambda: note("three"))
    watch.listen(4, lambda: note("four"))
    await trio.sleep(30)
    watch.listen(2, lambda: note("two"))  # heard
    watch.forget(3)  # held back
    watch.forget(9)  # never listened to
    await trio.sleep(20)
    watch.forget(4)
    watch.listen(4, lambda: note("four"))
    await trio.sleep(1000)
    watch.listen(3, lambda: note("three"))
    await trio.sleep(61)

    assert called == [("one", 65), ("two", 95), ("four", 115), ("three", 1115)]
