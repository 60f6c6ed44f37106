"""The daemon as a process of its own, for suites that talk to it over real sockets and end it by force.

Not async: a test under trio, a fixture of a whole module and a thread may all use it. What the daemon writes to
standard error is kept, over all its starts.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
# .ci/sanitized gives one that preloads a sanitizer's runtime.
COMMAND = os.environ.get("POLYGLOT_TEST_DAEMON") or str(Path(sys.executable).with_name("polyglotd"))
READY_WITHIN_S = 90.0  # a sanitized one on a busy machine has needed more than 30
STOP_WITHIN_S = 20.0  # the default drain takes ten
_READY = re.compile(r"^ready (?:http://(?P<host>\S+):(?P<port>\d+)|processor)$")


TEST_PLANE = os.environ.get("POLYGLOT_TEST_PLANE", "")
"""asgi or native: the plane of every daemon that a test starts and that asks for none; empty: the daemon's choice."""


def serving_plane() -> str:
    """Which one serves where a test asks for none; the driver is built wherever tests run."""
    return TEST_PLANE or "native"


def plane_arguments(arguments: Sequence[str]) -> list[str]:
    """What makes a daemon serve with the plane that is under test. A processor has none."""
    if not TEST_PLANE or "--plane" in arguments or ("--role", "processor") in pairwise(arguments):
        return []
    return ["--plane", TEST_PLANE]


class DaemonProcess:
    """`polyglotd serve`, in development mode unless told otherwise. A restart keeps data and port."""

    def __init__(
        self, data: Path, *arguments: str, dev: bool = True, port: int = 0, env: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.host = "127.0.0.1"
        self.port = port
        self._arguments = [*(["--dev"] if dev else []), *arguments, *plane_arguments(arguments)]
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._said_ready = False

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the last process; None while it runs, below 0 where a signal ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def ended_well(self) -> bool:
        """Whether it still runs, or ended because we said so."""
        return self.alive or self._process is None or self._process.returncode in (0, -signal.SIGKILL)

    @property
    def stderr(self) -> str:
        """All that was written so far, over all starts."""
        return "".join(self._lines)

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    def start(self, *, within_s: float = READY_WITHIN_S) -> "DaemonProcess":
        """Return when it serves. Raises AssertionError with what it wrote, if it ends or takes too long."""
        assert not self.alive
        if self._reader is not None:  # of a process that ended by itself: it has a last word on `_ready`
            self._reader.join(STOP_WITHIN_S)
        self._ready.clear()
        self._said_ready = False
        self._process = subprocess.Popen(
            [
                COMMAND, "serve", "--port", str(self.port), "--data", str(self.data), *self._arguments,
            ],
            cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        in_time = self._ready.wait(within_s)
        if not in_time or not self._said_ready:
            if in_time and self._process is not None:
                self._process.wait(STOP_WITHIN_S)  # it says no more, and is about to end by itself
            self.kill()
            raise AssertionError(f"the daemon did not become ready:\n{self.stderr[-4000:]}")
        return self

    def kill(self) -> None:
        """As `kill -9` does: nothing of the process gets to run any more."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As `kill` does: it drains. Returns its exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it with -9 and start it again on the same data and port."""
        self.kill()
        self.start()

    def _end(self, sign: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(sign)
        try:
            code = self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the daemon did not stop in {STOP_WITHIN_S} s:\n{self.stderr[-4000:]}") from None
        if self._reader is not None:
            self._reader.join(STOP_WITHIN_S)
        return code

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                self._lines.append(line)
                if match := _READY.match(line.rstrip("\n")):
                    if match["port"] is not None:  # a processor has none
                        self.host, self.port = match["host"], int(match["port"])
                    self._said_ready = True
                    self._ready.set()
        self._ready.set()  # it ended: whoever waits looks at `_said_ready`


@contextmanager
def daemon_process(
    *arguments: str, dev: bool = True, env: Mapping[str, str] | None = None
) -> Iterator[DaemonProcess]:
    """A started daemon with a data directory of its own, both gone afterwards. It must not have crashed meanwhile."""
    # Not pytest's tmp_path: the path of the admin socket must fit into 107 bytes.
    data = Path(tempfile.mkdtemp(prefix="polyglot-"))
    daemon = DaemonProcess(data, *arguments, dev=dev, env=env)
    try:
        yield daemon.start()
        assert daemon.ended_well, daemon.stderr[-4000:]
        assert "Traceback" not in daemon.stderr, daemon.stderr[-8000:]
    finally:
        daemon.kill()
        shutil.rmtree(data, ignore_errors=True)
