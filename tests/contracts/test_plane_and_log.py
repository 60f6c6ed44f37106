"""The plane on a real log: what it acknowledged is there after a restart, and goes on from there."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from plane_client import open_client
from plane_rig import APP, MAKES, Rig, native_library

from polyglotd.log.interface import LogSettings, Sync
from polyglotd.log.native_log import open_native_segments
from polyglotd.log.segments import SegmentLog, open_segments
from polyglotd.model import Event
from polyglotd.plane.interface import Accepted, PublishItem

OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]
OpenLog = Callable[[Path, LogSettings], AbstractAsyncContextManager[SegmentLog]]


def open_log_of_driver(directory: Path, settings: LogSettings) -> AbstractAsyncContextManager[SegmentLog]:
    return open_native_segments(directory, settings, native_library().cdll)


LOGS: dict[str, OpenLog] = {"asgi": open_segments, "native": open_log_of_driver, "native-2": open_log_of_driver}
pytestmark = pytest.mark.parametrize(("open_rig", "open_log"), [(MAKES[n], LOGS[n]) for n in MAKES], ids=MAKES.keys())


async def everything(log: SegmentLog) -> list[Event]:
    reader = log.reader("test", 0)
    events: list[Event] = []
    while reader.end < log.end or not events:
        batch = await reader.next_batch(1000)
        events += [record for record in batch.records if isinstance(record, Event)]
        if batch.end >= log.end:
            break
    return events


@pytest.mark.parametrize("sync", ["os", "interval", "always"])
async def test_seqs_epoch_and_ids_go_on_after_a_restart(
    open_rig: OpenRig, open_log: OpenLog, tmp_path: Path, sync: Sync
) -> None:
    settings = LogSettings(sync=sync)
    async with open_log(tmp_path, settings) as log, open_rig(log) as rig, open_client(rig.address) as ann:
        epoch = log.head(APP, "room:a").epoch
        rig.open("room:a", epoch=epoch)
        await ann.join("room:a", {"self": False})
        for n in range(5):
            await ann.ask("room:a", "publish", {"type": "m", "data": n, "id": f"mine-{n}"})
        await rig.publish_many("room:b", 3)
    async with open_log(tmp_path, settings) as log, open_rig(log) as rig:
        head = log.head(APP, "room:a")
        assert (head.epoch, head.seq) == (epoch, 5)
        topic = rig.open("room:a", epoch=head.epoch, seq=head.seq)
        again, new = (
            await rig.publish(
                PublishItem(topic, "m", b"3", "mine-3", "ann"), PublishItem(topic, "m", b"5", "mine-5", "ann")
            )
        ).results
        assert isinstance(again, Accepted)
        assert (again.seq, again.duplicate) == (4, True)
        assert isinstance(new, Accepted)
        assert (new.seq, new.duplicate) == (6, False)
        logged = [event for event in await everything(log) if event.channel == "room:a"]
        assert [(event.seq, event.data) for event in logged] == [(n + 1, b"%d" % n) for n in range(6)]


async def test_a_full_log_refuses_and_takes_again_when_it_was_read(
    open_rig: OpenRig, open_log: OpenLog, tmp_path: Path
) -> None:
    settings = LogSettings(bytes_max=20_000, segment_bytes=4_000)
    async with open_log(tmp_path, settings) as log, open_rig(log) as rig:
        reader = log.reader("store", 0)
        topic = rig.open("room:a", epoch=log.head(APP, "room:a").epoch)
        item = PublishItem(topic, "m", b'"%b"' % (b"x" * 1_000), None, None)
        seqs: list[int] = []
        while isinstance(result := (await rig.publish(item)).results[0], Accepted):
            seqs.append(result.seq)
        assert result.reason == "unavailable"
        assert result.retry_after_ms
        await reader.commit((await reader.next_batch(1000)).end)
        result = (await rig.publish(item)).results[0]
        assert isinstance(result, Accepted)
        assert [*seqs, result.seq] == list(range(1, len(seqs) + 2))
