"""What the daemon does at its start with an event log that somebody or something has bitten.

A torn end that nobody was told of is cut and reported, and all goes on as it was. Where acknowledged events are gone
with it, every channel begins a new epoch: members saw their seqs, and a seq is never used twice. A hole with whole
records behind it is no crash's doing: the daemon refuses to start, says where, and touches nothing.
"""

import os
import random
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from daemon_process import DaemonProcess
from event_store_file import stored_events
from phoenix_wire import connect

CHANNELS = ("room:a", "post:b")
EVENTS = 12  # in each channel
KEY = {"X-API-Key": "valid_key_chat-app"}
EVENT_TYPE = 1  # docs/log-format.md
REPAIRED = "the event log was repaired"
RENEWED = "Every channel begins a new epoch"


@dataclass(frozen=True)
class Left:
    """A data directory that a daemon left, and what its channels had shown to the world."""

    data: Path
    epochs: dict[str, str]
    ids: dict[str, list[str]]


def publish(url: str, channel: str, count: int = 1) -> list[Any]:
    events = [{"channel": channel, "type": "m", "data": {"n": n, "pad": "x" * 40}} for n in range(count)]
    answer = httpx.post(f"{url}/apps/chat-app/publish", json={"events": events}, headers=KEY)
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    return results


def history(url: str, channel: str) -> Any:
    answer = httpx.get(f"{url}/apps/chat-app/channels/{channel}/history", params={"limit": 1000}, headers=KEY)
    assert answer.status_code == 200, answer.text
    return answer.json()


def leave(end: Callable[[DaemonProcess], object]) -> Left:
    """Publish, and end the daemon at once."""
    daemon = DaemonProcess(Path(tempfile.mkdtemp(prefix="polyglot-")))
    daemon.start()
    try:
        for channel in CHANNELS:
            publish(daemon.url, channel, EVENTS - 1)
        pages = [history(daemon.url, channel) for channel in CHANNELS]
        for channel in CHANNELS:
            (last,) = publish(daemon.url, channel)
            assert last["seq"] == EVENTS
            pages[CHANNELS.index(channel)]["events"].append(last)
    finally:
        end(daemon)
    epochs = {page["channel"]: page["epoch"] for page in pages}
    return Left(daemon.data, epochs, {page["channel"]: [e["id"] for e in page["events"]] for page in pages})


@pytest.fixture(scope="module")
def killed() -> Iterator[Left]:
    left = leave(DaemonProcess.kill)
    yield left
    shutil.rmtree(left.data)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Left]:
    left = leave(DaemonProcess.stop)
    yield left
    shutil.rmtree(left.data)


@pytest.fixture
def left(request: pytest.FixtureRequest) -> Iterator[Left]:
    """A copy to be damaged: of what `kill -9` left, or of what a clean end left where a test says so."""
    original: Left = request.getfixturevalue(getattr(request, "param", "killed"))
    data = Path(tempfile.mkdtemp(prefix="polyglot-"))
    shutil.copytree(original.data, data, ignore=shutil.ignore_patterns("admin.sock"), dirs_exist_ok=True)
    yield Left(data, original.epochs, original.ids)
    shutil.rmtree(data)


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("POLYGLOT_TEST_SEED", random.randrange(1 << 32)))
    print(f"POLYGLOT_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def daemon(left: Left) -> Iterator[DaemonProcess]:
    """Not started yet."""
    daemon = DaemonProcess(left.data)
    yield daemon
    daemon.kill()
    assert "Traceback" not in daemon.stderr, daemon.stderr


def last_segment(data: Path) -> Path:
    return max((data / "log").glob("*.seg"))


def records(segment: Path) -> list[int]:
    """The offset of each record in the segment."""
    content, offsets, offset = segment.read_bytes(), [], 0
    while offset < len(content):
        offsets.append(offset)
        offset += 8 + struct.unpack_from("<I", content, offset)[0]
    assert offset == len(content)
    return offsets


# --- how to damage a file, from an offset on

Damage = Callable[[bytes, int, random.Random], bytes]


def cut(content: bytes, offset: int, rng: random.Random) -> bytes:
    """Anywhere inside the record."""
    return content[: rng.randrange(offset + 1, len(content))]


def cut_whole(content: bytes, offset: int, rng: random.Random) -> bytes:
    return content[:offset]


def zero(content: bytes, offset: int, rng: random.Random) -> bytes:
    start = rng.randrange(offset, len(content))
    return content[:start] + bytes(len(content) - start)


def flip(content: bytes, offset: int, rng: random.Random) -> bytes:
    at = rng.randrange(offset, len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


# --- what a write that never ended may leave behind the last record


def begun(record: bytes, rng: random.Random) -> bytes:
    return record[: rng.randrange(1, len(record))]


def zeros(record: bytes, rng: random.Random) -> bytes:
    return bytes(4096)


def noise(record: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(len(record))


# --- suites


async def is_refused_the_old_epoch(port: int, left: Left, channel: str) -> None:
    """A member that saw the lost event comes back: it is told, and learns the new epoch."""
    async with connect(port) as wire:
        since = {"epoch": left.epochs[channel], "seq": EVENTS}
        joined = (await wire.join(channel, {"since": since})).ok
        assert joined["recovered"] is False
        assert joined["epoch"] != left.epochs[channel]


@pytest.mark.parametrize(
    ("left", "damage"),
    [("killed", cut), ("killed", flip), ("stopped", cut_whole), ("stopped", zero)],
    indirect=["left"],
    ids=["cut after kill -9", "a bit flipped after kill -9", "a record gone after a clean end", "zeros after it"],
)
async def test_a_loss_of_acknowledged_events_is_repaired_reported_and_shown_by_new_epochs(
    left: Left, daemon: DaemonProcess, damage: Damage, rng: random.Random
) -> None:
    segment = last_segment(left.data)
    segment.write_bytes(damage(segment.read_bytes(), records(segment)[-1], rng))

    daemon.start()

    assert RENEWED in daemon.stderr
    assert (REPAIRED in daemon.stderr) is (damage is not cut_whole)
    epochs = {}
    for channel in CHANNELS:
        page = history(daemon.url, channel)
        assert (page["seq"], page["events"]) == (0, [])
        await is_refused_the_old_epoch(daemon.port, left, channel)
        (first,) = publish(daemon.url, channel)
        assert first["seq"] == 1
        epochs[channel] = history(daemon.url, channel)["epoch"]
        assert epochs[channel] != left.epochs[channel]

    if damage is cut:  # and so it stays
        daemon.restart()
    for channel in CHANNELS:
        page = history(daemon.url, channel)
        assert (page["epoch"], page["seq"], page["count"]) == (epochs[channel], 1, 1)
        assert publish(daemon.url, channel)[0]["seq"] == 2


@pytest.mark.parametrize(
    "torn",
    [
        begun,
        zeros,
        noise,
    ],
    ids=["the beginning of a record", "a page of zeros", "noise"],
)
async def test_a_torn_end_that_nobody_was_told_of_is_cut_and_reported_and_all_goes_on(
    left: Left, daemon: DaemonProcess, torn: Callable[[bytes, random.Random], bytes], rng: random.Random
) -> None:
    segment = last_segment(left.data)
    content = segment.read_bytes()
    segment.write_bytes(content + torn(content[records(segment)[-1] :], rng))

    daemon.start()

    assert REPAIRED in daemon.stderr
    assert RENEWED not in daemon.stderr
    for channel in CHANNELS:
        page = history(daemon.url, channel)
        assert page["epoch"] == left.epochs[channel]
        assert [(event["seq"], event["id"]) for event in page["events"]] == list(enumerate(left.ids[channel], 1))
        assert publish(daemon.url, channel)[0]["seq"] == EVENTS + 1


@pytest.mark.parametrize("damage", [flip, zero], ids=["a bit flipped", "zeros"])
def test_a_hole_with_whole_records_behind_it_stops_the_start_and_nothing_is_touched(
    left: Left, daemon: DaemonProcess, damage: Damage, rng: random.Random
) -> None:
    segment = last_segment(left.data)
    sound, offsets = segment.read_bytes(), records(segment)
    place = rng.randrange(1, len(offsets) - 1)
    start, end = offsets[place], offsets[place + 1]
    assert sound[start + 8] == EVENT_TYPE
    bitten = damage(sound[:end], start, rng) + sound[end:]
    segment.write_bytes(bitten)
    if bitten == sound:  # the record ended in zeros
        pytest.skip("nothing was damaged")

    with pytest.raises(AssertionError, match="did not become ready"):
        daemon.start()

    assert daemon.exit_code not in (0, None)
    assert daemon.exit_code > 0, "killed, not ended by itself"
    complaint = daemon.stderr
    assert segment.name in complaint
    assert str(start) in complaint, "it says at which offset"
    assert "docs/log-format.md" in complaint, "it says what to do"
    assert segment.read_bytes() == bitten

    segment.write_bytes(sound)
    daemon.start()
    for channel in CHANNELS:
        assert history(daemon.url, channel)["epoch"] == left.epochs[channel]


async def test_a_processor_of_its_own_goes_on_past_what_the_log_has_lost(left: Left, rng: random.Random) -> None:
    """It may have read, and stored, what was cut: positions, like seqs, are never used twice."""
    gateway, processor = (
        DaemonProcess(left.data, "--role", "gateway"),
        DaemonProcess(left.data, "--role", "processor"),
    )
    try:
        gateway.start()
        processor.start()
        await store_holds(left.data, "room:a", {left.epochs["room:a"]: EVENTS})
        gateway.kill()
        processor.kill()
        segment = last_segment(left.data)
        segment.write_bytes(cut(segment.read_bytes(), records(segment)[-1], rng))

        gateway.start()
        processor.start()

        publish(gateway.url, "room:a", 3)
        page = history(gateway.url, "room:a")
        assert page["epoch"] != left.epochs["room:a"]
        assert [event["seq"] for event in page["events"]] == [1, 2, 3]
        await store_holds(left.data, "room:a", {left.epochs["room:a"]: EVENTS, page["epoch"]: 3})
        assert processor.alive
        for process in (gateway, processor):
            assert "Traceback" not in process.stderr, process.stderr
    finally:
        gateway.kill()
        processor.kill()


async def store_holds(data: Path, channel: str, counts: dict[str, int]) -> None:
    """Wait until the store has so many events of each epoch."""
    with trio.fail_after(10):
        while Counter(e.epoch for e in stored_events(data) if e.channel == channel) != counts:
            await trio.sleep(0.05)
