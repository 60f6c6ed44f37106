"""Build or install the peers where they are not there yet, and start them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.daemon import ROOT, Server

PEERS = Path(__file__).parent
FLOOR = ROOT / "build/native/floor"

Peer = Callable[[int], AbstractContextManager[Server]]  # of frames of so many bytes


@contextmanager
def floor(frame_bytes: int) -> Iterator[Server]:
    """The raw epoll loop, native/bench/floor.cpp."""
    with _listening([str(FLOOR), str(frame_bytes)]) as server:
        yield server


@contextmanager
def npm_ws(frame_bytes: int) -> Iterator[Server]:
    """npm's `ws`."""
    with _listening(["node", str(PEERS / "ws_server.mjs"), str(frame_bytes)]) as server:
        yield server


def prepare_floor() -> None:
    """Build it, in the tree of `.ci/native`, which must have been set up."""
    ninja = Path(sys.executable).with_name("ninja")
    command = ["flock", "build/native.lock", str(ninja) if ninja.exists() else "ninja", "-C", "build/native", "floor"]
    subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def prepare_libraries() -> None:
    """Build what is measured, and the load generator, where a source has changed."""
    subprocess.run([".ci/native", "library"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def prepare_npm_ws() -> bool:
    """Install it; false where there is no npm."""
    if not (shutil.which("npm") and shutil.which("node")):
        return False
    if not (PEERS / "node_modules/ws").is_dir():
        command = ["npm", "ci", "--silent", "--no-progress"]
        subprocess.run(command, cwd=PEERS, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return True


@contextmanager
def _listening(command: list[str]) -> Iterator[Server]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as peer:
        try:
            assert peer.stdout is not None
            word, _, port = peer.stdout.readline().partition(" ")
            if word != "listening":
                raise SystemExit(f"{command[0]} did not start")
            yield Server(peer.pid, "127.0.0.1", int(port))
        finally:
            peer.kill()
