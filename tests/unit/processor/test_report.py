"""How a processor in a process of its own says how it is, with time under control."""

from collections.abc import Callable
from pathlib import Path

import trio
import trio.testing

from polyglotd.processor.pipeline import ProcessorHealth, StageHealth
from polyglotd.processor.report import BUSY_S, EVERY_S, StateFile, read_state, state_path

WATCHED_S = 20.0


async def said_in(data: Path, position: Callable[[], int]) -> int:
    """How often it says something while that is where its stage is."""
    said = 0

    def health() -> ProcessorHealth:
        nonlocal said
        said += 1
        stage = StageHealth(
            position=position(), events_total=0, failures_total=0, set_aside_total=0, lag_events=0, lag_bytes=0,
            lag_s=0.0, waiting_for=None,
        )  # fmt: skip
        return ProcessorHealth(stages={"store": stage}, pruned_total=0)

    with trio.move_on_after(WATCHED_S):
        await StateFile(state_path(data), health, clock=lambda: int(trio.current_time() * 1e6)).run()
    return said


async def test_a_processor_at_rest_says_how_it_is_once_a_second(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    assert abs(await said_in(tmp_path, lambda: 7) - WATCHED_S / EVERY_S) <= 2


async def test_one_that_gets_on_says_so_soon(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    steps = iter(range(1, 1000))
    said = await said_in(tmp_path, lambda: next(steps))
    assert abs(said - WATCHED_S / BUSY_S) <= 2
    report = read_state(tmp_path, "own", clock=lambda: int(trio.current_time() * 1e6))
    assert report is not None
    assert report.health is not None
    assert report.health.stages["store"].position == said


async def test_a_file_that_cannot_be_written_does_not_end_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    assert await said_in(tmp_path / "gone", lambda: 7) > 2
