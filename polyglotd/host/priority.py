"""Whose turn it is on a busy machine: clients wait for gateways, and nobody waits for a processor."""

import os


def give_way(nice: int) -> None:
    """Run this process and the threads that it starts from now on at this niceness, if its own is not higher."""
    if os.getpriority(os.PRIO_PROCESS, 0) < nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
