"""What is known of the processor, wherever it runs: what `/health` and the metrics show.

A processor in a process of its own leaves its health in `DATA/processor.json` once a second, five times while it has
work (`StateFile`), and the gateway on the same directory reads it (`read_state`). What is old is not passed on as
news.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import trio

from polyglotd.model import now_us
from polyglotd.processor.pipeline import ProcessorHealth

logger = logging.getLogger(__name__)

EVERY_S = 1.0
BUSY_S = 0.2  # while stages get on: whoever watches them wants to see when they are done
AGE_MAX_S = 10.0  # a processor that has said nothing for so long is stuck, or is not there
FILE_BYTES_MAX = 1 << 20

Where = Literal["shared", "own", "separate"]
"""In the gateway's process; in a child of it; in one that somebody else started."""


class ProcessorReport(msgspec.Struct, frozen=True, kw_only=True):
    """`health` None: nothing is known. `problem`: why that is so, or why it may be out of date."""

    where: Where
    health: ProcessorHealth | None
    problem: str | None = None
    pid: int | None = None
    restarts_total: int = 0  # of a child, by its parent


class _State(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    written_us: int
    health: ProcessorHealth


def state_path(data: Path) -> Path:
    return data / "processor.json"


class StateFile:
    """The service that writes it."""

    def __init__(self, path: Path, health: Callable[[], ProcessorHealth], clock: Callable[[], int] = now_us) -> None:
        self._path = path
        self._health = health
        self._clock = clock

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. A file that can't be written is no reason to stop the processor."""
        said = False
        positions: list[int] = []
        task_status.started()
        while True:
            health = self._health()
            before, positions = positions, [stage.position for stage in health.stages.values()]
            try:
                self._write(health)
                said = False
            except OSError as error:
                if not said:
                    logger.warning(
                        "%s can't be written, so the gateway does not know how we are: %s", self._path, error
                    )
                said = True
            await trio.sleep(EVERY_S if positions == before else BUSY_S)

    def _write(self, health: ProcessorHealth) -> None:
        """Raises OSError. A few hundred bytes into the page cache, on trio's thread."""
        state = _State(pid=os.getpid(), written_us=self._clock(), health=health)
        part = self._path.with_name(self._path.name + ".tmp")
        part.write_bytes(msgspec.json.encode(state))
        part.replace(self._path)


def read_state(
    data: Path, where: Where, *, restarts_total: int = 0, clock: Callable[[], int] = now_us
) -> ProcessorReport | None:
    """What the processor on this directory last said; None where none ever said anything."""
    try:
        with state_path(data).open("rb") as file:
            state = msgspec.json.decode(file.read(FILE_BYTES_MAX), type=_State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        problem = f"{state_path(data)} can't be read: {error}"
        return ProcessorReport(where=where, health=None, problem=problem, restarts_total=restarts_total)
    age_s = (clock() - state.written_us) / 1_000_000
    problem_of_age = f"no word from the processor for {age_s:.0f} s" if age_s > AGE_MAX_S else None
    return ProcessorReport(
        where=where, health=state.health, problem=problem_of_age, pid=state.pid, restarts_total=restarts_total
    )
