"""Start servers to measure, each a process of its own, and stop them again."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
READY_WITHIN_S = 30
ENVIRONMENT = {
    "POLYGLOTD_LISTEN__PER_ADDRESS": "100000",  # the load comes from one address
    "POLYGLOTD_METRICS__PER_APP": "true",
}


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    pid: int
    host: str
    port: int
    data: Path | None = None


@contextmanager
def polyglotd(
    data: Path | None = None, quota: "dict[str, int] | None" = None, plane: str | None = None
) -> Iterator[Server]:
    """A daemon in development mode, its app's limits raised by `quota`. `plane` None: its default."""
    with tempfile.TemporaryDirectory(prefix="pg-bench") as temporary:
        directory = data or Path(temporary)
        arguments = ["-m", "polyglotd.cli", "serve", "--dev", "--port", "0", "--data", str(directory)]
        arguments += ["--plane", plane] if plane else []
        with started(arguments, "ready http://") as (pid, line):
            host, _, port = line.partition("ready http://")[2].rpartition(":")
            if quota:
                _set_quota(directory, quota)
            yield Server(pid, host, int(port), directory)


@dataclass(frozen=True)
class Pair:
    """A gateway and the processor beside it, each a process of its own."""

    gateway: Server
    processor_pid: int
    data: Path


@contextmanager
def gateway_and_processor(plane: str | None = None) -> Iterator[Pair]:
    """Not in development mode: all checks are on, and there is no app yet."""
    with tempfile.TemporaryDirectory(prefix="pg-bench") as temporary:
        serve = ["-m", "polyglotd.cli", "serve", "--port", "0", "--data", temporary]
        planes = ["--plane", plane] if plane else []
        with (
            started([*serve, "--role", "gateway", *planes], "ready http://") as (pid, line),
            started([*serve, "--role", "processor"], "ready processor") as (processor_pid, _),
        ):
            host, _, port = line.partition("ready http://")[2].rpartition(":")
            yield Pair(Server(pid, host, int(port), Path(temporary)), processor_pid, Path(temporary))


@contextmanager
def empty_endpoint() -> Iterator[Server]:
    """An ASGI app that reads the body and answers, on hypercorn's trio worker with the daemon's own settings."""
    with started(["-m", "bench.empty_endpoint"], "listening ") as (pid, line):
        yield Server(pid, "127.0.0.1", int(line.rpartition(" ")[2]))


@contextmanager
def started(
    arguments: "list[str]", until: str, environment: "Mapping[str, str] | None" = None
) -> Iterator["tuple[int, str]"]:
    """Its process, and the line that said that it serves."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    timer = threading.Timer(READY_WITHIN_S, process.kill)
    timer.start()
    try:
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if until in line:
                break
        else:
            raise SystemExit(f"{arguments} did not start:\n{''.join(said[-20:])}")
        timer.cancel()
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield process.pid, line.strip()
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _set_quota(data: Path, quota: "dict[str, int]") -> None:
    options = [word for name, value in quota.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    subprocess.run(
        [sys.executable, "-m", "polyglotctl.main", "quota", "set", "chat-app", *options, "--output", "json"],
        cwd=ROOT,
        env=os.environ | {"POLYGLOT_DATA": str(data)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def as_json(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
