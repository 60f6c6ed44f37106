"""What the machine is, and what processes take. Linux only; `polyglotctl.bench.cpu_time` says how busy it is."""

import os
import platform
import time
from pathlib import Path


def rss_bytes(pid: int) -> int:
    """A process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def describe() -> str:
    """The machine, for the head of a report."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


def process_clock_s(pid: int) -> float:
    """CPU seconds of all threads of a process, from its own clock: in nanoseconds, where `/proc` has ticks."""
    clock = (~pid << 3) | 2  # CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it
    return time.clock_gettime(clock)
