"""A child process that lives as long as we do: started again when it ends, gone when we are, even by `kill -9`.

The composition root runs one. The child's standard input is a pipe of ours: its first line is what it has to know,
later ones are requests, and its end is the child's end (`ParentWords` is the child's side of that). A signal at our
death would not do: the kernel sends it when the *thread* ends that forked. Its standard error is ours.
"""

import contextlib
import logging
import os
import subprocess
import threading
from collections.abc import Sequence

import trio

logger = logging.getLogger(__name__)

BACK_OFF_S, BACK_OFF_S_MAX = 0.5, 30.0
WELL_AFTER_S = 60.0  # one that lived so long was well: the next start is a first one
END_WITHIN_S = 2.0  # of a child whose input has ended
STDIN, READ_BYTES = 0, 1 << 16


class WatchedProcess:
    def __init__(self, name: str, command: Sequence[str], first_line: bytes, *, fds: Sequence[int] = ()) -> None:
        """`fds`: descriptors that it gets, under the same numbers."""
        self._name = name
        self._command = command
        self._first_line = first_line
        self._fds = tuple(fds)
        self._process: trio.Process | None = None
        self._finishing = trio.Event()
        self._ended = trio.Event()
        self.starts_total = 0
        self.started_at = 0.0  # the last time, by trio's clock
        self.problem: str | None = None  # why it does not run, in words for the operator

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until it ended as `finish` asked for; the child is gone then."""
        task_status.started()
        pause_s = BACK_OFF_S
        try:
            while True:
                began = trio.current_time()
                how = await self._run_once()
                if self._finishing.is_set():
                    break
                pause_s = BACK_OFF_S if trio.current_time() - began >= WELL_AFTER_S else pause_s
                self.problem = f"{how}; it is started again"
                logger.error("%s %s, and is started again in %.1f s", self._name, how, pause_s)
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACK_OFF_S_MAX)
        finally:
            self._ended.set()

    async def finish(self, request: bytes) -> None:
        """Ask it to end by itself once it has done this, and wait for that; for a drain, under the caller's
        deadline."""
        self._finishing.set()
        if self._process is None or not await self._say(request):
            return
        await self._ended.wait()

    async def _run_once(self) -> str:
        """How it ended."""
        try:
            process = await trio.lowlevel.open_process(list(self._command), stdin=subprocess.PIPE, pass_fds=self._fds)
        except OSError as error:
            return f"can't be started: {error}"
        self._process = process
        self.starts_total += 1
        self.started_at = trio.current_time()
        try:
            await self._say(self._first_line)
            self.problem = None
            code = await process.wait()
        finally:
            self._process = None
            with trio.CancelScope(shield=True):
                await _end(process)
        return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"

    async def _say(self, line: bytes) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(line + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # it has just ended: whoever waits for it is told
        return True


async def _end(process: trio.Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()
    with trio.move_on_after(END_WITHIN_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


class ParentWords:
    """The child's side. Made first of all: from then on the process ends with its parent, whatever it is doing."""

    def __init__(self) -> None:
        self._buffer = b""
        self._token: trio.lowlevel.TrioToken | None = None
        self._lines: list[bytes] = []
        self._said = trio.Event()
        self.first_line = self._read_line()
        threading.Thread(target=self._listen, name="parent's words", daemon=True).start()

    async def next_line(self) -> bytes:
        """Wait for the next request."""
        self._token = trio.lowlevel.current_trio_token()
        while not self._lines:
            await self._said.wait()
            self._said = trio.Event()
        return self._lines.pop(0)

    # --- in its thread ---

    def _listen(self) -> None:
        while True:
            self._lines.append(self._read_line())
            if (token := self._token) is not None:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._tell)

    def _tell(self) -> None:
        self._said.set()

    def _read_line(self) -> bytes:
        """Not by `sys.stdin`: a thread that waits in there keeps the interpreter from ending."""
        while b"\n" not in self._buffer:
            part = os.read(STDIN, READ_BYTES)
            if not part:
                os._exit(0)  # nothing is lost: what the parent was told of is durable
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
