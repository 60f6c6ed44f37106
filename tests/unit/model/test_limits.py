"""Limits: the contract's defaults, and patches."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import Limits, LimitsPatch, apply_patch

DEFAULTS: dict[str, int | None] = {
    "connections": 10_000,
    "connects_per_second": 200,
    "channels_per_connection": 100,
    "joins_per_second": 50,
    "publishes_per_connection": 100,
    "publishes_per_app": 5_000,
    "api_publishes": 10_000,
    "payload_bytes": 65_536,
    "channels": 100_000,
    "types_per_ticker": 256,
    "events_per_month": None,
    "stored_bytes": None,
}


def test_the_defaults_are_those_of_the_contract() -> None:
    assert json.loads(msgspec.json.encode(Limits())) == DEFAULTS


def test_a_patch_has_the_names_of_the_limits() -> None:
    assert LimitsPatch.__struct_fields__ == Limits.__struct_fields__


@pytest.mark.parametrize(
    "body",
    [
        {"connections": -1},
        {"connections": "5"},
        {"connections": 1.5},
        {"connections": True},
        {"connections": 10**18},
        {"publishes_per_app": 0},
        {"payload_bytes": 0},
        {"payload_bytes": 8 * 1024 * 1024 + 1},
        {"publishes-per-app": 5},
        {"nope": 5},
    ],
)
def test_a_patch_of_the_wrong_shape_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(body), type=LimitsPatch)


@given(
    patches=st.lists(
        st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.none() | st.integers(1, 100_000)), max_size=4
    )
)
def test_patches_are_put_in_place_one_after_another_and_null_is_the_default(patches: list[dict[str, Any]]) -> None:
    limits = Limits()
    expected = dict(DEFAULTS)
    for patch in patches:
        limits = apply_patch(limits, msgspec.json.decode(json.dumps(patch), type=LimitsPatch))
        expected |= {name: DEFAULTS[name] if value is None else value for name, value in patch.items()}
    assert json.loads(msgspec.json.encode(limits)) == expected
