"""How many there may be at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.limits.quota import CountQuota
from polyglotd.model import QuotaExceeded


def test_room_is_taken_up_to_the_limit_and_then_refused_by_name():
    quota = CountQuota("channels", 2)
    quota.take()
    quota.take()

    with pytest.raises(QuotaExceeded, match="limit of 2 channels") as refusal:
        quota.take()

    assert refusal.value.details() == {"quota": "channels"}
    assert quota.used == 2


def test_a_refused_batch_takes_nothing():
    quota = CountQuota("channels", 5)
    with pytest.raises(QuotaExceeded):
        quota.take(6)
    quota.take(5)


def test_a_lowered_limit_refuses_until_enough_was_given_back():
    quota = CountQuota("channels", 3)
    quota.take(3)
    quota.limit = 1

    quota.give(2)
    with pytest.raises(QuotaExceeded):
        quota.take()
    quota.give()
    quota.take()


def test_giving_back_more_than_was_taken_is_a_bug():
    quota = CountQuota("channels", 3)
    quota.take()
    with pytest.raises(ValueError):
        quota.give(2)


@given(limit=st.integers(0, 10), steps=st.lists(st.integers(1, 4), max_size=30))
def test_the_limit_is_never_passed(limit, steps):
    quota = CountQuota("channels", limit)
    for count in steps:
        try:
            quota.take(count)
        except QuotaExceeded:
            quota.give(quota.used)
        assert 0 <= quota.used <= limit
