"""Watch the stages of a processor in `/health`: when each had all up to a position, and how far it lagged."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polyglotctl.bench.runner import BenchFailed
from polyglotctl.http_client import HttpClient
from polyglotctl.printable import printable

START_WITHIN_S = 20.0
START_LOOK_EVERY_S = 0.1


@dataclass
class Watched:
    """One stage. `done_at`: a time of `time.monotonic`; None as long as it does not have all."""

    position: int
    lag_events_max: int = 0
    lag_s_max: float = 0.0
    waiting_for: str | None = None
    done_at: float | None = None


class StageWatch:
    """Begins with the stages that run now; one that is not heard of for a while is where it was."""

    def __init__(self, client: HttpClient) -> None:
        """Raises `BenchFailed` where no processor is at work."""
        self._client = client
        self._target: int | None = None
        health = self._started()
        self.stages = {name: Watched(stage["position"]) for name, stage in _stages(health).items()}
        self.processor_pid: int | None = health["processor"]["pid"]

    @property
    def done(self) -> bool:
        return self._target is not None and not self.unfinished

    @property
    def unfinished(self) -> "list[str]":
        return [name for name, stage in self.stages.items() if stage.done_at is None]

    def aim(self) -> int:
        """What is in the log now is what all of them are to have; bytes to go for the one that is furthest behind."""
        self._target = self._health()["log_end"]
        return self.bytes_to_go()

    def bytes_to_go(self) -> int:
        assert self._target is not None
        return max(0, self._target - min(stage.position for stage in self.stages.values()))

    def look(self) -> None:
        for name, found in _stages(self._health()).items():
            stage = self.stages.get(name)
            if stage is None:
                continue
            stage.position = found["position"]
            stage.waiting_for = found["waiting_for"]
            stage.lag_events_max = max(stage.lag_events_max, found["lag_events"])
            stage.lag_s_max = max(stage.lag_s_max, found["lag_s"])
            if self._target is not None and stage.done_at is None and stage.position >= self._target:
                stage.done_at = time.monotonic()

    def _started(self) -> "dict[str, Any]":
        """The daemon's health once a processor that has just been started says where it is."""
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            health = self._health()
            if "log_end" not in health:
                raise BenchFailed(
                    "this daemon's /health does not say where its processor is. Is it an older release?"
                )
            problem = health["checks"].get("processor", "none has run on its data directory")
            if problem == "ok" and _stages(health):
                return health
            if problem != "ok" or time.monotonic() > deadline:
                words = "it has yet to say how far it is" if problem == "ok" else printable(problem)
                raise BenchFailed(f"the daemon's processor is not at work: {words}.")
            time.sleep(START_LOOK_EVERY_S)

    def _health(self) -> "dict[str, Any]":
        found: dict[str, Any] = self._client.call("GET", "/health")
        return found


def _stages(health: "Mapping[str, Any]") -> "Mapping[str, Any]":
    processor = health.get("processor")
    return processor["stages"] if processor else {}
