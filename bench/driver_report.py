"""What rows came to: medians, ratios to the floor, promises kept or not; as lines, and as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec

from bench.driver_promises import Promise, Row, Traffic
from bench.driver_runs import Sample

BUSY_ENOUGH = 0.9  # of a core: a closed loop in which nobody was so busy measures waiting
_FIELDS = (
    "cpu_us", "per_s", "p50_us", "p99_us", "bytes", "core_percent", "p99_of_quiet", "quiet_p99_us",
    "server_busy", "generator_busy", "others_busy", "processor_busy",
)  # fmt: skip


@dataclass
class Outcome:
    """All samples of one row, by whose they are; "ours" and, with a floor, "floor" and "ws"."""

    row: Row
    samples: dict[str, list[Sample]]
    notes: dict[str, float] = field(default_factory=dict)  # of the processor beside us

    @property
    def measured(self) -> bool:
        return bool(self.samples["ours"])

    def median(self, whose: str, name: str) -> float | None:
        values = [value for one in self.samples.get(whose, []) if (value := getattr(one, name)) is not None]
        return median(values) if values else None

    def figure(self, promise: Promise) -> float | None:
        """What the promise is about: a median, or the median of the rounds' ratios to the floor."""
        if not promise.ratio:
            return self.median("ours", promise.metric)
        pairs = zip(self.samples["ours"], self.samples.get("floor", []), strict=True)
        ratios = [getattr(a, promise.metric) / getattr(b, promise.metric) for a, b in pairs]
        return median(ratios) if ratios else None

    def spread(self, promise: Promise) -> tuple[float, float] | None:
        if not promise.ratio:
            values = [getattr(one, promise.metric) for one in self.samples["ours"]]
        else:
            pairs = zip(self.samples["ours"], self.samples["floor"], strict=True)
            values = [getattr(a, promise.metric) / getattr(b, promise.metric) for a, b in pairs]
        return (min(values), max(values)) if values else None

    def idled(self) -> list[str]:
        """Whose closed loop left all cores waiting."""
        if not isinstance(self.row, Traffic) or not self.row.closed:
            return []
        busy = {
            whose: max(self.median(whose, "server_busy") or 0, self.median(whose, "generator_busy") or 0)
            for whose, samples in self.samples.items()
            if samples
        }
        return [f"{whose} {most:.2f}" for whose, most in busy.items() if most < BUSY_ENOUGH]

    def kept(self) -> bool:
        """Every "must", and a closed loop that counts."""
        figures = [(promise, self.figure(promise)) for promise in self.row.promises]
        if any(value is None for _, value in figures):
            return False
        return not any(
            promise.must is not None and value is not None and not promise.kept(value, promise.must)
            for promise, value in figures
        ) and not (self.row.promises and self.idled())


def lines(outcome: Outcome) -> Iterator[str]:
    """For people."""
    yield f"{outcome.row.name}: {outcome.row.title}"
    if not outcome.measured:
        yield "  not measured: this server does not tell its latencies in /metrics"
        return
    for whose, samples in outcome.samples.items():
        if samples:
            yield f"  {whose:<6}" + "  ".join(_figures(outcome, whose))
    for promise in outcome.row.promises:
        yield "  " + _verdict(outcome, promise)
    if idled := outcome.idled():
        yield f"  does not count: neither server nor generator was {BUSY_ENOUGH:.0%} busy: {', '.join(idled)}"
    if outcome.notes:
        yield "  processor: " + ", ".join(f"{name} {value:,.1f}" for name, value in outcome.notes.items())


_SHOWN = {
    "cpu_us": "{:.3f} us CPU",
    "per_s": "{:,.0f}/s",
    "quiet_p99_us": "quiet p99 {:,.0f} us",
    "p50_us": "p50 {:,.0f} us",
    "p99_us": "p99 {:,.0f} us",
    "bytes": "{:,.0f} bytes each",
    "core_percent": "{:.2f} % of a core",
}


def _figures(outcome: Outcome, whose: str) -> Iterator[str]:
    for name, words in _SHOWN.items():
        value = outcome.median(whose, name)
        if value is not None:
            yield words.format(value)
    busy = [
        f"{name.removesuffix('_busy')} {value:.2f}"
        for name in ("server_busy", "generator_busy", "processor_busy", "others_busy")
        if (value := outcome.median(whose, name))
    ]
    if busy:
        yield "busy: " + ", ".join(busy)


def _verdict(outcome: Outcome, promise: Promise) -> str:
    value = outcome.figure(promise)
    if value is None:
        return f"{promise.metric}: not measured"
    low, high = outcome.spread(promise) or (value, value)
    sign = "<=" if promise.most else ">="
    said = f"{_number(value)}{' x floor' if promise.ratio else ''} ({_number(low)} to {_number(high)})"
    verdicts = [
        f"{name} {sign} {_number(bound)}: {'met' if promise.kept(value, bound) else 'MISSED'}"
        for name, bound in (("must", promise.must), ("strive", promise.strive))
        if bound is not None
    ]
    return f"{promise.metric} {said}  {'; '.join(verdicts)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def as_json(outcomes: list[Outcome], machine: str, when: str, plane: str) -> bytes:
    """All samples, medians and verdicts."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        promises = [
            {
                "metric": promise.metric,
                "of_floor": promise.ratio,
                "value": outcome.figure(promise) if outcome.measured else None,
                "must": promise.must,
                "strive": promise.strive,
            }
            for promise in outcome.row.promises
        ]
        medians = {
            whose: {name: value for name in _FIELDS if (value := outcome.median(whose, name)) is not None}
            for whose in outcome.samples
        }
        rows.append(
            {
                "name": outcome.row.name,
                "title": outcome.row.title,
                "kept": outcome.measured and outcome.kept(),
                "promises": promises,
                "medians": medians,
                "processor": outcome.notes,
                "samples": outcome.samples,
            }
        )
    report = {"when": when, "machine": machine, "plane": plane, "rows": rows}
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
