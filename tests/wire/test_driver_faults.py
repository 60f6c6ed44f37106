"""The driver when the machine has no more: descriptors, memory, room on the disk. And when its thread dies.

Faults are real where a test can make them: a limit of the process, a small file system, a malloc that fails.
"""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process, serving_plane
from phoenix_wire import PATIENCE_S, Answer, Lost, PhoenixWire, Refused, connect
from tenants import Operator

pytestmark = pytest.mark.skipif(serving_plane() != "native", reason="about the driver")

HERE = Path(__file__).parent
KIB = 1024
FAILED = "polyglot_driver_accepts_failed_total"
ROOMY = {"POLYGLOTD_LISTEN__PER_ADDRESS": "100000", "POLYGLOTD_DRAIN__SECONDS": "1"}
SANITIZED = "POLYGLOT_TEST_DAEMON" in os.environ


async def metric(operator: Operator, name: str) -> float:
    text = (await operator.http.get("/metrics", headers=operator.credentials)).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


async def ends(daemon: DaemonProcess) -> int:
    """Wait until it has ended by itself; the exit code."""
    with trio.fail_after(PATIENCE_S):
        while daemon.alive:
            await trio.sleep(0.01)
    code = daemon.exit_code
    assert code is not None
    return code


# --- descriptors


@contextmanager
def few_descriptors(daemon: DaemonProcess, left: int) -> Iterator[None]:
    """The daemon may open so many more."""
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    newest = max(int(path.name) for path in Path(f"/proc/{daemon.pid}/fd").iterdir())
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (newest + 1 + left, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)


async def test_without_descriptors_new_ones_are_put_off_the_others_go_on_and_it_recovers() -> None:
    with daemon_process(env=ROOMY) as daemon:
        async with Operator(daemon) as operator, connect(daemon.port) as ann, trio.open_nursery() as nursery:
            await operator.ask("PATCH", "/admin/apps/chat-app/quota", {"connects_per_second": 100_000})
            _ = (await ann.join("room:few")).ok
            assert await metric(operator, FAILED) == 0
            arrived = trio.Semaphore(0)
            put_off: list[Refused] = []
            leave = trio.Event()

            async def come(number: int) -> None:
                while True:
                    try:
                        async with connect(daemon.port, f"valid_token_u{number}") as wire:
                            _ = (await wire.join("room:few")).ok
                            arrived.release()
                            await leave.wait()
                            return
                    except Refused as refused:
                        put_off.append(refused)
                        await trio.sleep(0.05)

            with few_descriptors(daemon, 80):  # of which the daemon keeps some for itself
                for number in range(100):
                    nursery.start_soon(come, number)
                with trio.fail_after(PATIENCE_S):
                    while len(put_off) < 3:
                        await trio.sleep(0.05)
                for _ in range(20):
                    assert (await ann.ask("room:few", "publish", {"type": "m", "data": 1})).ok
                assert await metric(operator, FAILED) >= 3
                assert arrived.value < 100
                async with httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(uds=str(daemon.data / "admin.sock"))
                ) as http:
                    assert (await http.get("http://localhost/health")).status_code == 200  # whom else to ask
            with trio.fail_after(3 * PATIENCE_S):
                for _ in range(100):
                    await arrived.acquire()
            assert {(one.status, one.problem["code"]) for one in put_off} == {(503, "unavailable")}
            leave.set()
            await ann.beat()
        said = [line for line in daemon.stderr.splitlines() if "Too many open files" in line]
        assert len(said) == 1, said
        assert "new connections" in said[0]


# --- memory, and the thread


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("preload") / "failing_malloc.so"
    compiler = os.environ.get("CC", "cc")
    if SANITIZED or shutil.which(compiler) is None:
        pytest.skip("a sanitizer has a malloc of its own, and without a C compiler there is none of ours")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", HERE / "failing_malloc.c", "-o", library, "-ldl"], check=True
    )
    return library


@contextmanager
def short_of_memory(preload: Path, *, least: int) -> Iterator[DaemonProcess]:
    """From a SIGUSR2 on, its driver gets no piece of `least` bytes or more."""
    data = Path(tempfile.mkdtemp(prefix="polyglot-"))
    env = ROOMY | {"LD_PRELOAD": str(preload), "FAILING_MALLOC_BYTES": str(least)}
    daemon = DaemonProcess(data, env=env)
    try:
        yield daemon.start()
    finally:
        daemon.kill()
        shutil.rmtree(data, ignore_errors=True)


async def test_a_driver_without_memory_ends_the_daemon_at_once_which_says_why(failing_malloc: Path) -> None:
    with short_of_memory(failing_malloc, least=0) as daemon:
        async with connect(daemon.port) as ann:
            assert (await ann.join("room:a")).ok
            os.kill(daemon.pid, signal.SIGUSR2)
            await ann.push("room:a", "publish", {"type": "m", "data": 1})
            assert await ends(daemon) == 1
            assert (await ann.end()).code == 1006
        assert "the driver's thread has ended" in daemon.stderr
        assert "there is no memory left" in daemon.stderr
        assert "Traceback" not in daemon.stderr
        daemon.start()  # and what it had acknowledged is there
        async with connect(daemon.port) as ann:
            assert (await ann.join("room:a")).ok


async def test_a_message_for_which_there_is_no_memory_ends_its_connection_alone(failing_malloc: Path) -> None:
    with short_of_memory(failing_malloc, least=40 * KIB) as daemon:
        async with connect(daemon.port) as ann, connect(daemon.port, "valid_token_bob") as bob:
            assert (await ann.join("room:a")).ok
            assert (await bob.join("room:a")).ok
            os.kill(daemon.pid, signal.SIGUSR2)
            with pytest.raises(Lost):  # half of it comes, and has to be kept
                await send_in_halves(bob, 60 * KIB)
            assert (await bob.end()).code == 1006
            assert (await ann.ask("room:a", "publish", {"type": "m", "data": "short"})).ok
            await ann.beat()
        assert daemon.alive


async def send_in_halves(wire: PhoenixWire, size: int) -> None:
    payload = b'{"type":"m","data":"%b"}' % (b"x" * size)
    text = b'["1","9","room:a","publish",' + payload + b"]"
    head = b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4)  # a mask of zeros
    half = len(text) * 3 // 4
    await wire.send_bytes(head + text[:half])
    await trio.sleep(0.3)
    await wire.send_bytes(text[half:])
    await wire.answer("9")


# --- the disk


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A file system of its own."""
    directory = Path(tempfile.mkdtemp(prefix="polyglot-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        directory.rmdir()
        pytest.skip("mounting takes root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
        directory.rmdir()


async def test_a_full_disk_refuses_logged_publishes_alone_and_recovers_by_itself() -> None:
    with small_disk(48) as disk:
        daemon = DaemonProcess(disk, env=ROOMY)
        try:
            daemon.start()
            async with connect(daemon.port) as ann, connect(daemon.port, "valid_token_bob") as bob:
                for wire in (ann, bob):
                    for channel in ("room:logged", "match:memory"):
                        assert (await wire.join(channel)).ok
                first = (await publish(ann, "room:logged", "before")).ok
                ballast = disk / "ballast"
                fill(ballast)
                refused = await first_refusal(ann, "room:logged")
                assert refused["reason"] == "unavailable"
                assert refused["retry_after_ms"] > 0
                assert (await publish(ann, "match:memory", "meanwhile")).ok
                while (await bob.event("match:memory")).payload["data"] != "meanwhile":
                    pass
                ballast.unlink()
                after = await until_taken(ann, "room:logged")
                seen = [first["seq"]]
                with trio.fail_after(PATIENCE_S):
                    while seen[-1] != after:
                        seen.append((await bob.event("room:logged")).payload["seq"])
                assert seen[1:] == list(range(first["seq"], after + 1))  # what was refused nobody saw
            daemon.restart()
            async with connect(daemon.port) as ann:
                assert (await ann.join("room:logged")).ok["seq"] == after
        finally:
            daemon.kill()
        assert "Traceback" not in daemon.stderr, daemon.stderr[-4000:]


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size >= 1:
            try:
                if file.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2


async def publish(wire: PhoenixWire, channel: str, data: object) -> Answer:
    return await wire.ask(channel, "publish", {"type": "m", "data": data})


async def first_refusal(wire: PhoenixWire, channel: str) -> dict[str, object]:
    """The last page of the log's file may have room yet."""
    for _ in range(100):
        if (answer := await publish(wire, channel, "x" * 2000)).status == "error":
            refused: dict[str, object] = answer.refused
            return refused
    raise AssertionError("the disk is full, and every publish was taken")


async def until_taken(wire: PhoenixWire, channel: str) -> int:
    with trio.fail_after(PATIENCE_S):
        while (answer := await publish(wire, channel, "after")).status == "error":
            await trio.sleep(0.05)
    seq: int = answer.ok["seq"]
    return seq
