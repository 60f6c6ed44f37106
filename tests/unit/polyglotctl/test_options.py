"""What people type, and what it is taken for."""

import pytest

from polyglotctl.failure import WrongUsage
from polyglotctl.options import json_value, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("2w", 1_209_600), (" 1 h ", 3600)],
)
def test_a_time_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert seconds(text, "--ttl") == expected


@pytest.mark.parametrize("text", ["", "h", "1.5h", "-1h", "1y", "1h30m", "١h x"])
def test_a_time_of_another_form_is_wrong_usage_that_names_the_option(text: str) -> None:
    with pytest.raises(WrongUsage, match="--ttl"):
        seconds(text, "--ttl")


@pytest.mark.parametrize("text", ["{", "hello", "", "[" * 100_000])
def test_json_that_is_none_is_wrong_usage_that_shows_how_to_quote_it(text: str) -> None:
    with pytest.raises(WrongUsage, match="--data"):
        json_value(text, "--data")
