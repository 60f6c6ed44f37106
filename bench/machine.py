"""How busy the machine was besides what is measured, and what it is. Linux only."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Busy:
    """CPU seconds since the boot."""

    at: float
    machine: float
    ours: float


def busy(pids: "list[int]") -> Busy:
    """Read now. `pids`: the processes that are measured, besides this one; they must live to the next reading."""
    fields = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return Busy(
        at=time.monotonic(),
        machine=(sum(fields[:8]) - idle) * TICK_S,
        ours=cpu_s(os.getpid()) + sum(cpu_s(pid) for pid in pids),
    )


def cpu_s(pid: int) -> float:
    """User and system seconds that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def rss_bytes(pid: int) -> int:
    """A process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def others_busy(before: Busy, after: Busy) -> float:
    """Cores that everything else on the machine kept busy between two readings."""
    elapsed = after.at - before.at
    return max(0.0, (after.machine - before.machine) - (after.ours - before.ours)) / elapsed


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
