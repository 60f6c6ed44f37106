"""What rows come to: ratios of rounds, promises kept or missed, a closed loop that waited."""

from xml.etree import ElementTree

import msgspec
import pytest

from bench.driver_picture import picture
from bench.driver_promises import ROWS, Connects, Promise, Traffic, ratio
from bench.driver_report import Outcome, as_json, lines
from bench.driver_runs import Sample
from polyglotctl.bench.plan import Publish


def _closed(*promises: Promise) -> Traffic:
    return Traffic("row", "a <row> & more", 1, 1, Publish(in_flight=1), promises)


def _samples(*cpu_us: float, busy: float = 1.0) -> list[Sample]:
    return [Sample(cpu_us=value, per_s=1000, server_busy=busy, generator_busy=0.3) for value in cpu_us]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    promise = ratio("cpu_us", 1.5, 1.1)
    outcome = Outcome(_closed(promise), {"floor": _samples(1, 2, 4), "ours": _samples(1.2, 2.8, 4.4)})
    assert outcome.figure(promise) == pytest.approx(1.2)
    assert outcome.spread(promise) == pytest.approx((1.1, 1.4))
    assert outcome.kept()


@pytest.mark.parametrize(("ours", "kept"), [(1.5, True), (1.51, False)])
def test_a_must_is_met_up_to_its_bound(ours: float, kept: bool) -> None:
    outcome = Outcome(_closed(ratio("cpu_us", 1.5, 1.1)), {"floor": _samples(1), "ours": _samples(ours)})
    assert outcome.kept() is kept
    text = "\n".join(lines(outcome))
    assert ("must <= 1.5: met" in text) is kept
    assert "strive <= 1.1: MISSED" in text


def test_a_promise_of_at_least_is_met_from_its_bound() -> None:
    row = Connects("row", "row", "room", (Promise("per_s", 1000, None, most=False),))
    assert Outcome(row, {"ours": _samples(1)}).kept()
    row = Connects("row", "row", "room", (Promise("per_s", 1001, None, most=False),))
    assert not Outcome(row, {"ours": _samples(1)}).kept()


def test_a_closed_loop_in_which_all_waited_does_not_count() -> None:
    row = _closed(ratio("cpu_us", 1.5, 1.1))
    outcome = Outcome(row, {"floor": _samples(1), "ours": _samples(1, busy=0.89)})
    assert not outcome.kept()
    assert "does not count" in "\n".join(lines(outcome))


def test_an_open_loop_may_wait() -> None:
    row = Traffic("row", "row", 1, 1, Publish(rate=10), (ratio("cpu_us", 1.5, 1.1),))
    assert Outcome(row, {"floor": _samples(1), "ours": _samples(1, busy=0.1)}).kept()


def test_a_row_that_could_not_be_measured_is_not_kept() -> None:
    outcome = Outcome(ROWS[-2], {"ours": []})
    assert not outcome.measured
    assert "not measured" in "\n".join(lines(outcome))


def test_the_report_holds_every_sample_and_the_picture_is_drawn() -> None:
    row = _closed(ratio("cpu_us", 1.5, 1.1))
    samples = {"floor": _samples(1, 1), "ours": _samples(1.2, 1.3), "ws": _samples(900, 900)}
    outcome = Outcome(row, samples, {"us of CPU each event": 9.0})
    report = msgspec.json.decode(
        as_json([outcome, Outcome(ROWS[-2], {"ours": []})], "a machine", "2026-11-24", "native")
    )
    assert [len(report["rows"][0]["samples"][whose]) for whose in samples] == [2, 2, 2]
    assert report["rows"][0]["promises"][0]["value"] == pytest.approx(1.25)
    assert report["rows"][1]["promises"][0]["value"] is None
    root = ElementTree.fromstring(picture([outcome], "a < caption"))
    bars = [one for one in root.iter() if one.tag.endswith("rect") and one.get("height") == "16"]
    assert len(bars) == 3
    assert all(float(one.get("x", 0)) + float(one.get("width", 0)) <= float(root.get("width", 0)) for one in bars)


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
