"""kill -9 while Python and a thread in the driver's place write through the writer in C++: what was acknowledged is
there, and whole."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from contracts.log_events import EPOCH
from log_writers import WRITERS
from native_library import native_log_path

from polyglotd.log.interface import LogSettings
from polyglotd.log.segment_reader import open_segments_reader

PROGRAM = """
import ctypes, os, sys, threading, trio
from pathlib import Path
from contracts.log_events import event
from driver import write
from polyglotd.log.interface import LogSettings
from polyglotd.log.native_log import open_native_segments

def drive(log):  # tells nobody
    for seq in range(1, 1 << 30):
        write(log, [event(seq, "room:driver")])
        os.write(1, b"driver %d\\n" % seq)

async def main(directory, library):
    settings = LogSettings(segment_bytes=20_000)
    async with open_native_segments(Path(directory), settings, ctypes.CDLL(library)) as log:
        threading.Thread(target=drive, args=(log,), daemon=True).start()
        seq = 0
        while True:
            seq += 1
            end = log.append([event(seq, "room:python", data=b'"' + b"x" * (seq % 900) + b'"')])
            os.write(1, b"python %d\\n" % seq)
            await trio.sleep(0)

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("writer", WRITERS)
async def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "log"
    arguments = [sys.executable, "-c", PROGRAM, str(path), str(native_log_path())]
    tests = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{tests}:{tests / 'unit/log'}"}
    process = await trio.lowlevel.open_process(arguments, stdout=subprocess.PIPE, env=environment)
    said = b""
    try:
        assert process.stdout is not None
        with trio.fail_after(20):
            while said.count(b"\n") < random.randint(300, 2_000):
                said += await process.stdout.receive_some()
        process.send_signal(signal.SIGKILL)
        async for more in process.stdout:
            said += more
    finally:
        process.kill()
        await process.wait()
    acknowledged = {b"driver": 0, b"python": 0}
    for line in said.splitlines():
        if len(parts := line.split(b" ")) == 2 and parts[1].isdigit():
            acknowledged[parts[0]] = max(acknowledged[parts[0]], int(parts[1]))
    assert min(acknowledged.values()) > 0
    async with WRITERS[writer](path, LogSettings(segment_bytes=20_000)) as log:
        heads = {who: log.head("app", f"room:{who.decode()}") for who in acknowledged}
        for who, seq in acknowledged.items():
            assert heads[who].epoch == EPOCH
            assert heads[who].seq >= seq
            tail = await log.tail("app", f"room:{who.decode()}", 0, 1 << 40, limit=1 << 40)
            assert [found.seq for found in tail] == list(range(1, heads[who].seq + 1))
        async with open_segments_reader(path, "r", 0) as reader:  # all is whole
            count = 0
            while count < sum(head.seq for head in heads.values()):
                count += len((await reader.next_batch(1_000)).records)
