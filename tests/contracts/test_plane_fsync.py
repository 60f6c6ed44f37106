"""`[log] sync = always` on a driver that runs: what is acknowledged is synced, and no failed fsync is overlooked.

How an fsync that takes its time is waited for is in native/tests/test_engine_log.cpp, which can hold one.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from plane_client import open_client
from plane_rig import Rig, native_library, open_native

from polyglotd.log.interface import LogSettings
from polyglotd.log.native_log import NativeSegmentLog, open_native_segments
from polyglotd.plane.interface import Accepted, PublishItem, Refused

MESSAGE = {"type": "m", "data": 1}


@asynccontextmanager
async def open_always(directory: Path) -> AsyncIterator[tuple[Rig, NativeSegmentLog]]:
    settings = LogSettings(sync="always")
    async with (
        open_native_segments(directory, settings, native_library().cdll) as log,
        open_native(log) as rig,
    ):
        yield rig, log


def break_fsync(directory: Path) -> None:
    """Put a file that takes all writes and can't be synced in the place of the newest segment."""
    newest = max(directory.glob("*.seg"))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for link in Path("/proc/self/fd").iterdir():
        if link.exists() and link.samefile(newest):
            os.dup2(null, int(link.name), inheritable=False)
    os.close(null)


async def test_what_is_acknowledged_is_durable(tmp_path: Path) -> None:
    async with open_always(tmp_path) as (rig, log), open_client(rig.address) as ann:
        await ann.join("room:a")
        for seq in range(1, 6):
            before = log.counters().syncs
            ref = await ann.push("room:a", "publish", MESSAGE)
            (event,) = await ann.events(1)
            assert event["seq"] == (await ann.reply(ref))["seq"] == seq
            assert log.counters().syncs > before
        (result,) = (await rig.publish(PublishItem(rig.topics["room:a"], "m", b"1", None, None))).results
        assert isinstance(result, Accepted)


async def test_after_an_fsync_that_failed_nothing_is_seen_or_acknowledged(tmp_path: Path) -> None:
    async with open_always(tmp_path) as (rig, _), open_client(rig.address) as ann, open_client(rig.address) as bob:
        await ann.join("room:a")
        await bob.join("room:a")
        break_fsync(tmp_path)
        assert (await ann.ask("room:a", "publish", MESSAGE, "error"))["reason"] == "unavailable"
        for _ in range(2):
            (result,) = (await rig.publish(PublishItem(rig.topics["room:a"], "m", b"1", None, None))).results
            assert isinstance(result, Refused)
            assert result.reason == "unavailable"
        assert await bob.silent()
        assert (await rig.window("room:a")).events == []
        await rig.publish_many("queue:a", 1)  # memory kinds go on
