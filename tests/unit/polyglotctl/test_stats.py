"""`polyglotctl stats`: the small pictures, the table, the PNG, and what is said where it can't be drawn."""

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from polyglotctl.commands.stats import _time
from polyglotctl.failure import WrongUsage
from polyglotctl.stats_plot import check_can_plot, draw
from polyglotctl.stats_table import show_stats, sparkline

LATENCY = {"events": 4, "mean_ms": 0.5, "p50_ms": 0.4, "p90_ms": 0.9, "p99_ms": 1.25}
NOTHING = {
    "events": 0, "bytes": 0, "deliveries": 0, "connections_peak": 0, "publishers": 0, "unique_users": 0,
    "latency": None,
}  # fmt: skip
SOMETHING = {
    "events": 1234, "bytes": 2048, "deliveries": 9, "connections_peak": 3, "publishers": 2, "unique_users": 1,
    "latency": LATENCY,
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "app_id": "chat-app",
    "from": "2026-11-24T10:00:00.000000Z",
    "to": "2026-11-24T10:03:00.000000Z",
    "step": "1m",
    "counted_until": "2026-11-24T10:02:30.500000Z",
    "total": SOMETHING,
    "series": [
        {"ts": "2026-11-24T10:00:00.000000Z", **NOTHING},
        {"ts": "2026-11-24T10:01:00.000000Z", **SOMETHING},
        {"ts": "2026-11-24T10:02:00.000000Z", **NOTHING},
    ],
}
CHANNEL = {"events": 5, "bytes": 50, "publishers": 2, "unique_users": 1}


@pytest.mark.parametrize(
    ("values", "picture"),
    [
        ([0, 1, 4, 8], " ▂▅█"),
        ([0, 0.001, 1000], " ▁█"),  # little is not nothing
        ([0, 0], "  "),
        ([], ""),
        ([1, 1, 3, 3], "▃▃██"),
    ],
)
def test_a_picture_has_a_column_a_step(values: list[float], picture: str) -> None:
    assert sparkline(values, 10, sum) == picture


def test_many_steps_share_columns_by_sum_or_by_the_most() -> None:
    values = [1.0] * 30 + [3.0] * 10
    assert sparkline(values, 4, sum) == sparkline(values, 4, max) == "▃▃▃█"
    assert len(sparkline([1.0] * 1_000, 7, sum)) == 7


def test_the_table_shows_steps_in_which_something_happened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    show_stats(ANSWER)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "chat-app   2026-11-24 10:00:00Z to 2026-11-24 10:03:00Z, steps of 1m"
    assert "1,234" in lines[1]
    assert "█" in lines[1]
    assert sum(line.startswith("2026-11-24 10:0") for line in lines) == 1
    assert "1.25 ms" in lines[-1]
    assert "2 steps without anything are left out" in shown.err
    assert "counted until 2026-11-24 10:02:30Z" in shown.err


def test_a_channel_has_no_columns_of_what_is_not_counted_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    series = [{"ts": ANSWER["from"], **CHANNEL}]
    show_stats({**ANSWER, "channel": "room:\u202ea", "total": CHANNEL, "series": series, "counted_until": None})
    shown = capsys.readouterr()
    assert "deliveries" not in shown.out
    assert "latency" not in shown.out
    assert "\u202e" not in shown.out
    assert "counted until nothing yet" in shown.err


@pytest.mark.parametrize("of_channel", [False, True])
def test_a_plot_is_a_png_of_some_size(tmp_path: Path, of_channel: bool) -> None:
    answer = ANSWER
    if of_channel:
        answer = {**ANSWER, "channel": "room:$a", "series": [{"ts": p["ts"], **CHANNEL} for p in ANSWER["series"]]}
    path = tmp_path / "a.png"
    check_can_plot(path)
    draw(answer, path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width == 1200
    assert height > 500


def test_a_plot_that_can_not_be_made_is_wrong_usage_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongUsage, match=r"\.png"):
        check_can_plot(tmp_path / "a.jpg")
    with pytest.raises(WrongUsage, match="no directory"):
        check_can_plot(tmp_path / "nowhere" / "a.png")
    with pytest.raises(WrongUsage):
        draw(ANSWER, Path("/proc/none/a.png"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("polyglotctl.stats_plot.find_spec", lambda _: None)
    with pytest.raises(WrongUsage, match=r"pip install 'polyglot-realtime\[plot\]'"):
        check_can_plot(tmp_path / "a.png")


def test_times_are_passed_on_or_counted_back_from_now() -> None:
    assert _time("2026-11-24T10:00:00Z", "--from") == "2026-11-24T10:00:00Z"
    assert _time("1795508130", "--from") == "1795508130"
    assert _time(None, "--from") is None
    ago = _time("2h", "--from")
    assert ago is not None
    assert ago.endswith("Z")
    with pytest.raises(WrongUsage, match="--to soon"):
        _time("soon", "--to")
