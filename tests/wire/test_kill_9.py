"""The daemon is killed with -9 under load, at random times, again and again, on one data directory.

After each start: what was acknowledged is there once, in its place, in the same epoch; ids that were given before are
known; subscribers go on without a gap. The seed is printed; POLYGLOT_TEST_SEED runs the same again (as far as two
processes can). POLYGLOT_TEST_FULL=1 has 360 rounds over the ways to sync instead of 14, and 40 with two processes
that are started apart.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from daemon_process import DaemonProcess, serving_plane
from event_store_file import counted, stored_events
from kill_ledger import Ledger
from kill_load import (
    CHANNELS,
    KEY,
    Metered,
    Source,
    Subscriber,
    publish_batches,
    publish_by_socket,
    publish_one_by_one,
    read_history,
    repeat,
)

FULL = os.environ.get("POLYGLOT_TEST_FULL") == "1"
# How long a round's load lasts: some acknowledgements, as machines are more or less busy, and a moment.
LOAD_EVENTS_MAX = 400
LOAD_S_MAX = 5.0
MOMENT_S_MAX = 0.05
CHILD_GONE_S_MAX = 1.0  # in which it may have been started again
REPEATS = 40  # acknowledged ids that are published once more after each restart
STORE_WITHIN_S = 30.0
SETTLE_S = 0.5  # what publishers had on the wire when they were called off may still be stored
LIMITS = {"publishes_per_connection": 100_000, "publishes_per_app": 100_000, "api_publishes": 100_000}
BY_SOCKET = {"ann", "bob"}


@pytest.fixture
def data() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="polyglot-"))  # short: the path of a socket has to fit
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("POLYGLOT_TEST_SEED", random.randrange(1 << 32)))
    print(f"POLYGLOT_TEST_SEED={seed}")
    return random.Random(seed)


class Run:
    """Rounds on one data directory, and the books over them."""

    def __init__(self, gateway: DaemonProcess, rng: random.Random) -> None:
        self.gateway = gateway
        self.rng = rng
        self.ledger = Ledger()
        self.metered = Metered()
        self.subscribers = [Subscriber("cyd"), Subscriber("dan")]
        users = ("ann", "bob", None, "batcher", "batcher2")
        self._sources = [Source(user, self.ledger, random.Random(rng.random())) for user in users]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Subscribers are there, go on where they were, and have caught up with what history holds."""
        async with trio.open_nursery() as nursery:
            for subscriber in self.subscribers:
                await nursery.start(subscriber.run, self.gateway.port)
            heads = {channel: self.ledger.head(channel) for channel in CHANNELS}
            for subscriber in self.subscribers:
                await subscriber.has_all(heads)
            yield
            nursery.cancel_scope.cancel()

    def start_load(self, nursery: trio.Nursery) -> None:
        ann, bob, key, batcher, batcher2 = self._sources
        nursery.start_soon(publish_by_socket, self.gateway.port, ann)
        nursery.start_soon(publish_by_socket, self.gateway.port, bob)
        nursery.start_soon(publish_one_by_one, self.gateway.url, key)
        nursery.start_soon(publish_batches, self.gateway.url, batcher)
        nursery.start_soon(publish_batches, self.gateway.url, batcher2)
        nursery.start_soon(self.metered.publish, self.gateway.url)

    async def load_until_death(self) -> None:
        """Everybody publishes; the gateway is killed in the middle; everybody notices."""
        async with self.following(), trio.open_nursery() as nursery:
            self.start_load(nursery)
            await self.some_load()
            if self.rng.random() < 0.5 and (child := processor_child(self.gateway)) is not None:
                os.kill(child, signal.SIGKILL)
                await trio.sleep(self.rng.uniform(0, CHILD_GONE_S_MAX))
            killed_at = trio.current_time()
            self.gateway.kill()
            nursery.cancel_scope.deadline = trio.current_time() + 10
        self.metered.killed(killed_at)
        assert not nursery.cancel_scope.cancelled_caught, "a publisher did not notice the end of its connection"

    async def some_load(self) -> None:
        enough = len(self.ledger.acknowledged) + self.rng.randrange(LOAD_EVENTS_MAX)
        with trio.move_on_after(LOAD_S_MAX):
            while len(self.ledger.acknowledged) < enough:
                await trio.sleep(0.002)
        await trio.sleep(self.rng.uniform(0, MOMENT_S_MAX))

    async def start_again(self) -> None:
        """Sometimes it is killed before it listens, too: a start must be repeatable at any point."""
        if self.rng.random() < 0.25:
            await self.die_at_start()
        self.gateway.start()

    async def die_at_start(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, start_and_maybe_die, self.gateway)
            await trio.sleep(self.rng.uniform(0.3, 1.0))
            self.gateway.kill()

    async def check(self) -> None:
        """After a start: history, then repeats of ids, then history with those that were new after all."""
        async with self.client() as client:
            await read_history(client, self.ledger)
            self.ledger.check_acknowledged()
            names = self.ledger.to_repeat(self.rng, REPEATS)
            await repeat(client, self.gateway.port, self.ledger, names, BY_SOCKET)
            await read_history(client, self.ledger)
            self.ledger.check_acknowledged()
        assert not self.ledger.refused, list(self.ledger.refused.items())[:5]

    async def check_whole(self) -> None:
        """At the end: all of history read anew, what subscribers saw, and the store."""
        await self.check()
        async with self.following():
            pass
        anew = Ledger(sent=self.ledger.sent, epochs=dict(self.ledger.epochs))
        async with self.client() as client:
            await read_history(client, anew)
        assert anew.order == self.ledger.order
        for subscriber in self.subscribers:
            for seen in subscriber.seen.values():
                seen.check(self.ledger)
        assert sum(map(len, self.ledger.order.values())) > 200, "hardly anything was published: nothing was tried"
        await self.check_store()
        await self.check_metering()

    async def check_store(self) -> None:
        """Once the processor caught up, the store has each event once, and nothing else."""
        expected = {
            (channel, seq): (name.id, name.user)
            for channel, names in self.ledger.order.items()
            for seq, name in enumerate(names, 1)
        }
        with trio.fail_after(STORE_WITHIN_S):
            while len(rows := stored_events(self.gateway.data)) < len(expected):
                await trio.sleep(0.1)
        assert len(rows) == len(expected)
        assert {(row.channel, row.seq): (row.id, row.user_id) for row in rows} == expected
        assert {(row.channel, row.epoch) for row in rows} == set(self.ledger.epochs.items())

    async def check_metering(self) -> None:
        """The bill: each event in the store, and those of memory kinds, of which a kill may lose the last second."""
        assert self.gateway.stop() == 0
        self.metered.drained()
        self.gateway.start()
        with trio.move_on_after(STORE_WITHIN_S):  # the last meters were written after the processor had ended
            while (found := counted(self.gateway.data)).usage_events - found.rows < self.metered.kept:
                await trio.sleep(0.1)
        assert (found.stored_events, found.stored_bytes) == (found.rows, found.rows_bytes)
        metered = found.usage_events - found.rows
        assert self.metered.kept <= metered <= self.metered.sent
        assert found.usage_bytes - found.rows_bytes == metered * Metered.BYTES

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.gateway.url, headers=KEY, timeout=10)

    async def raise_limits(self) -> None:
        async with self.client() as client:
            operator = {"Authorization": f"Bearer {self.gateway.admin_token}"}
            del client.headers["X-API-Key"]
            answer = await client.patch("/admin/apps/chat-app/quota", json=LIMITS, headers=operator)
            assert answer.status_code == 200, answer.text


def processor_child(daemon: DaemonProcess) -> int | None:
    """Its process, where there is one."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(json.loads((daemon.data / "processor.json").read_bytes())["pid"])
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == daemon.pid:
            return pid
    return None


def start_and_maybe_die(daemon: DaemonProcess) -> None:
    try:
        daemon.start()
    except AssertionError:
        assert not daemon.alive  # it was killed meanwhile


@pytest.mark.parametrize(
    ("sync", "process", "rounds"),
    [
        (
            "os",
            "own",
            220 if FULL else 10 if serving_plane() == "native" else 3,
        ),  # the processor is killed as well, before the gateway
        ("interval", "shared", 60 if FULL else 2),
        ("always", "own", 80 if FULL else 2),
    ],
)
async def test_what_was_acknowledged_is_there_once_and_in_order_after_kill_9(
    data: Path, rng: random.Random, sync: str, process: str, rounds: int
) -> None:
    env = {
        "POLYGLOTD_LOG__SYNC": sync,
        "POLYGLOTD_PROCESSOR__PROCESS": process,
        "POLYGLOTD_LISTEN__PER_ADDRESS": "10000",
        "POLYGLOTD_DRAIN__SECONDS": "0",
    }
    gateway = DaemonProcess(data, env=env)
    run = Run(gateway, rng)
    try:
        gateway.start()
        await run.raise_limits()
        for _ in range(rounds):
            await run.load_until_death()
            await run.start_again()
            await run.check()
        await run.check_whole()
        assert "Traceback" not in gateway.stderr, gateway.stderr[-4000:]
    finally:
        gateway.kill()


async def test_gateway_and_processor_as_two_processes_may_be_killed_in_any_order(
    data: Path, rng: random.Random
) -> None:
    env = {"POLYGLOTD_LISTEN__PER_ADDRESS": "10000"}
    gateway = DaemonProcess(data, "--role", "gateway", env=env)
    processor = DaemonProcess(data, "--role", "processor", env=env)
    run = Run(gateway, rng)
    try:
        gateway.start()
        processor.start()
        await run.raise_limits()
        for number in range(40 if FULL else 4):
            match number % 4:
                case 0:  # the gateway alone: the processor waits for it
                    await run.load_until_death()
                    await run.start_again()
                case 1:  # the processor alone, under load: nobody notices
                    await under_load_kill_processor(run, processor)
                    run.metered.killed(trio.current_time())
                    run.gateway.kill()
                    await run.start_again()
                    processor.start()
                case 2:  # the gateway, then the processor before it can have caught up; it comes back first
                    await run.load_until_death()
                    processor.kill()
                    await trio.to_thread.run_sync(processor.start)
                    await run.start_again()
                case _:  # the processor dies and comes back while events come
                    await under_load_kill_processor(run, processor)
                    processor.start()
            await run.check()
        await run.check_whole()
        for process in (gateway, processor):
            assert "Traceback" not in process.stderr, process.stderr[-4000:]
    finally:
        gateway.kill()
        processor.kill()


async def under_load_kill_processor(run: Run, processor: DaemonProcess) -> None:
    async with run.following(), trio.open_nursery() as nursery:
        run.start_load(nursery)
        await run.some_load()
        processor.kill()
        await run.some_load()
        assert run.gateway.alive
        nursery.cancel_scope.cancel()
    await trio.sleep(SETTLE_S)
