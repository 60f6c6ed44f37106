"""How busy the machine was, with what is measured and with all else. Linux only."""

import os
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


def others_busy(before: Busy, after: Busy) -> float:
    """Cores that everything else on the machine kept busy between two readings."""
    elapsed = after.at - before.at
    return max(0.0, (after.machine - before.machine) - (after.ours - before.ours)) / elapsed
