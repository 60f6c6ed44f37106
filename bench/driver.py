"""`python -m bench driver [--all] [ROW …]`: the gateway beside a raw epoll loop and npm's ws, row by row.

The daemon runs as gateway, its processor beside it. In each round every server is measured once, one after another,
on new connections, in an order that rotates; what is compared are medians of the rounds' ratios. With `--write`
figures and a picture go to docs/.
"""

import argparse
import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.daemon import ROOT, gateway_and_processor
from bench.driver_neighbours import neighbours_samples
from bench.driver_picture import picture
from bench.driver_promises import ROWS, Connects, IdleCrowd, Neighbours, Row, Traffic
from bench.driver_report import Outcome, as_json, lines
from bench.driver_runs import (
    Ours,
    Sample,
    connect_sample,
    frame_sizes,
    idle_sample,
    ours_on,
    peer_target,
    traffic_sample,
)
from bench.machine import describe
from bench.peers.start import floor, npm_ws, prepare_floor, prepare_libraries, prepare_npm_ws

ROUNDS = 5
FIGURES, PICTURE = ROOT / "docs/performance-driver.json", ROOT / "docs/performance-driver.svg"
DESCRIPTORS_KEPT = 500  # of the process's limit, for all that is no connection


def main(arguments: list[str]) -> int:
    """Exit code 0 where every row that was run kept what must be."""
    names = {row.name: row for row in ROWS}
    parser = argparse.ArgumentParser(prog="python -m bench driver", description=__doc__)
    parser.add_argument("--all", action="store_true", help="long runs")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how many (default {ROUNDS})")
    parser.add_argument("--seconds", type=float, help="of each measurement (default 3, with --all 10)")
    parser.add_argument("--plane", choices=("native", "asgi"), help="the default where not given")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES.name} and {PICTURE.name} to docs/")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}; all where none")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.rows) - set(names):
        parser.error(f"no row {', '.join(sorted(unknown))}")
    rows = [names[name] for name in asked.rows] or list(ROWS)
    seconds = asked.seconds or (10.0 if asked.all else 3.0)
    head = f"{time.strftime('%Y-%m-%d %H:%M')}, {describe()}"
    print(head, flush=True)
    outcomes, plane = _measure(rows, seconds, asked.rounds, asked.plane, long=asked.all)
    if asked.write:
        when = time.strftime("%Y-%m-%d")
        FIGURES.write_bytes(as_json(outcomes, describe(), when, plane))
        PICTURE.write_text(picture(outcomes, f"{when}, {describe()}, plane {plane}"))
        print(f"written: {FIGURES.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")
    missed = [one.row.name for one in outcomes if one.row.promises and not (one.measured and one.kept())]
    print(f"missed or not measured: {', '.join(missed)}" if missed else "every promise was kept in this run")
    return 1 if missed else 0


def run(*, long: bool) -> bool:
    """As one of the benchmarks of `python -m bench`."""
    return main(["--all"] if long else []) == 0


def _measure(
    rows: list[Row], seconds: float, rounds: int, plane: str | None, *, long: bool
) -> tuple[list[Outcome], str]:
    prepare_libraries()
    prepare_floor()
    has_ws = any(isinstance(row, Traffic) for row in rows) and prepare_npm_ws()
    outcomes: list[Outcome] = []
    plane_name = "?"
    with _lasting_pair(plane) as ours:
        plane_name = ours.client.call("GET", "/health")["plane"]
        print(f"plane {plane_name}; {rounds} rounds of {seconds:g} s; medians\n", flush=True)
        for row in rows:
            outcome = _outcome(row, ours, seconds, rounds, plane, has_ws=has_ws, long=long)
            outcomes.append(outcome)
            print("\n".join(lines(outcome)) + "\n", flush=True)
    return outcomes, plane_name


@contextmanager
def _lasting_pair(plane: str | None) -> Iterator[Ours]:
    with gateway_and_processor(plane) as pair, ours_on(pair) as ours:
        yield ours


def _outcome(
    row: Row, ours: Ours, seconds: float, rounds: int, plane: str | None, *, has_ws: bool, long: bool
) -> Outcome:
    ours.wait_until_quiet()
    if isinstance(row, Traffic):
        return _traffic(row, ours, seconds, rounds, has_ws=has_ws)
    if isinstance(row, Connects):
        samples: list[Sample] = []
        for _ in range(rounds):
            samples.append(connect_sample(row, ours, 8_000 if long else 2_000))
            ours.wait_until_quiet()
        return Outcome(row, {"ours": samples})
    if isinstance(row, IdleCrowd):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS_KEPT
        with _lasting_pair(plane) as fresh:
            return Outcome(row, {"ours": [idle_sample(row, fresh, 60 if long else 20, limit)]})
    assert isinstance(row, Neighbours)
    return Outcome(row, {"ours": neighbours_samples(row, ours, max(seconds, 3.0), rounds)})


def _traffic(row: Traffic, ours: Ours, seconds: float, rounds: int, *, has_ws: bool) -> Outcome:
    sizes = frame_sizes(row, ours)
    with ExitStack() as stack:
        servers = {"floor": stack.enter_context(floor(sizes.event))}
        if has_ws:
            servers["ws"] = stack.enter_context(npm_ws(sizes.event))
        targets = {whose: peer_target(row, server, sizes) for whose, server in servers.items()}
        targets["ours"] = ours.target()
        samples: dict[str, list[Sample]] = {whose: [] for whose in ("floor", "ours", "ws") if whose in targets}
        processor = _Processor(ours)
        for number in range(rounds):
            order = list(samples)
            for whose in order[number % len(order) :] + order[: number % len(order)]:
                samples[whose].append(traffic_sample(row, targets[whose], seconds))
                if whose == "ours":
                    processor.look()
        return Outcome(row, samples, processor.notes())


class _Processor:
    """What the processor spends on an event, and how far it is behind after a run."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._cpu_s = ours.processor_cpu_s()
        self._events = self._logged()
        self._behind_s: list[float] = []

    def look(self) -> None:
        """After a run of ours; returns when it has caught up."""
        self._behind_s.append(self._ours.wait_until_quiet())

    def notes(self) -> dict[str, float]:
        events = self._logged() - self._events
        cpu_s = self._ours.processor_cpu_s() - self._cpu_s
        return {
            "us of CPU each event": cpu_s / events * 1e6 if events else 0.0,
            "s to catch up after a run, at most": max(self._behind_s, default=0.0),
        }

    def _logged(self) -> float:
        with contextlib.suppress(StopIteration, ValueError):
            line = next(one for one in self._ours.metrics().splitlines() if one.startswith("polyglot_events_total "))
            return float(line.split()[1])
        return 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
