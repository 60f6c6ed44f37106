"""Identifiers that the server makes: their shape, and that event ids only rise."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.model import EventIds, check_user_id, new_epoch, new_handle, new_secret

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
EVENT_ID = re.compile(rf"evt_[0-7][{CROCKFORD}]{{25}}")


@given(times=st.lists(st.integers(0, 4_000_000_000_000_000), min_size=2, max_size=30))
def test_event_ids_rise_whatever_the_clock_does(times: list[int]) -> None:
    ids = EventIds()
    made = [ids.new(ts_us) for ts_us in times]
    assert made == sorted(set(made))
    assert all(EVENT_ID.fullmatch(event_id) for event_id in made)


def test_an_event_id_holds_its_millisecond() -> None:
    event_id = EventIds().new(1_795_421_730_123_456)
    ms = 0
    for digit in event_id[4:14]:
        ms = ms * 32 + CROCKFORD.index(digit)
    assert ms == 1_795_421_730_123


def test_two_sources_of_event_ids_do_not_meet() -> None:
    assert len({EventIds().new(1_000_000) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (new_epoch, r"[0-9a-z]{10}"),
        (lambda: new_secret("plk_"), r"plk_[0-9a-z]{32}"),
        (lambda: new_handle("key_"), r"key_[0-9a-z]{12}"),
    ],
    ids=["epoch", "secret", "handle"],
)
def test_random_names_have_their_shape_and_differ(make: Callable[[], str], shape: str) -> None:
    made = {make() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(shape, name) for name in made)
    assert all(check_user_id(name) == name for name in made)
