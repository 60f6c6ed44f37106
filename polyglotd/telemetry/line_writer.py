"""Lines to a file descriptor, from any thread, without ever waiting for whoever reads them.

Used for standard error. A pipe whose reader has stopped fills up, and a plain write would then stop the event loop
with it. Lines wait in a bounded queue for a thread of their own; when it is full the newest are dropped and counted,
and the log says so when it moves again.
"""

import os
import select
import threading
from collections import deque

LINES_MAX = 10_000
CLOSE_WAIT_S = 1.0  # for the last lines of a process that ends
_BATCH_BYTES = 32 * 1024


class LineWriter:
    def __init__(self, fd: int, *, lines_max: int = LINES_MAX) -> None:
        self._fd = fd
        self._lines_max = lines_max
        self._lines: deque[bytes] = deque()
        self._moved = threading.Condition()
        self._closing = False
        self._busy = False  # lines were taken and are not wholly written
        self._untold = 0  # dropped since the log last said so
        self.dropped_total = 0
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line, given without its end."""
        encoded = line.encode(errors="backslashreplace") + b"\n"
        with self._moved:
            if len(self._lines) >= self._lines_max:
                self.dropped_total += 1
                self._untold += 1
                return
            self._lines.append(encoded)
            self._moved.notify_all()

    def flush(self, timeout_s: float = CLOSE_WAIT_S) -> bool:
        """Wait until everything is written; false where the reader did not take it in time."""
        with self._moved:
            return self._moved.wait_for(lambda: not self._lines and not self._busy, timeout_s)

    def close(self) -> None:
        """Write what waits, for a moment. The descriptor stays open: it is not ours."""
        self.flush()
        with self._moved:
            self._closing = True
            self._moved.notify_all()
        self._thread.join(CLOSE_WAIT_S / 10)  # a thread that hangs in a full pipe dies with the process

    def _run(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(lambda: self._lines or self._closing)
                if not self._lines:
                    return
                batch = self._take()
                self._busy = True
            self._write_all(batch)
            with self._moved:
                self._busy = False
                self._moved.notify_all()

    def _take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._lines and size < _BATCH_BYTES:
            taken.append(self._lines.popleft())
            size += len(taken[-1])
        if self._untold:
            taken.append(b"(%d log lines were dropped: nobody read them in time)\n" % self._untold)
            self._untold = 0
        return b"".join(taken)

    def _write_all(self, content: bytes) -> None:
        while content:
            try:
                content = content[os.write(self._fd, content) :]
            except BlockingIOError:  # somebody made the terminal that we share non-blocking
                select.select([], [self._fd], [])
            except OSError:  # the reader is gone: there is nobody left to tell
                return
