"""Many keys in bounded memory."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyglotd.limits.gcra import Gcra
from polyglotd.limits.keyed import KeyedGcra

S_US = 1_000_000


def test_each_key_has_a_rate_of_its_own():
    limits = KeyedGcra(1, 2)

    assert [limits.take("a", 1, 0) for _ in range(3)] == [0, 0, S_US]
    assert limits.take("b", 1, 0) == 0


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from([0, 1, 499_999, 500_000, 999_999, 1_000_000, 1_499_999]) | st.integers(0, S_US),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=80,
    )
)
@example(calls=[("a", 0, 1), ("b", 499_999, 1), ("a", 0, 3)])
def test_letting_idle_keys_go_changes_no_answer(calls):
    limits, plain, now_us = KeyedGcra(2, 3, keys_max=100), {}, 0
    for key, pause_us, n in calls:
        now_us += pause_us
        assert limits.take(key, n, now_us) == plain.setdefault(key, Gcra(2, 3)).take(n, now_us)


@given(
    keys=st.lists(st.integers(0, 30).map(str), max_size=200),
    keys_max=st.integers(1, 5),
    pause_us=st.integers(0, S_US),
)
def test_the_table_never_holds_more_keys_than_it_may(keys, keys_max, pause_us):
    limits = KeyedGcra(1, 1, keys_max=keys_max)
    for turn, key in enumerate(keys):
        limits.take(key, 1, turn * pause_us)
        assert len(limits) <= keys_max


def test_a_key_that_has_been_idle_is_let_go():
    limits = KeyedGcra(1, 1)
    for key in "abcd":
        limits.take(key, 1, 0)

    for turn in range(4):
        limits.take("z", 1, 10 * S_US + turn)

    assert len(limits) == 1
    assert limits.evicted_early == 0


def test_among_busy_keys_the_one_used_longest_ago_is_let_go_and_counted():
    limits = KeyedGcra(1, 1, keys_max=2)
    limits.take("a", 1, 0)
    limits.take("b", 1, 1)
    limits.take("a", 1, 2)  # refused, but a sign of life

    assert limits.take("c", 1, 3) == 0
    assert limits.evicted_early == 1
    assert limits.take("a", 1, 4) > 0  # still known
    assert limits.take("b", 1, 5) == 0  # forgotten: has its burst again


def test_a_flood_of_new_keys_locks_nobody_out():
    limits = KeyedGcra(1, 1, keys_max=100)
    for n in range(1000):
        limits.take(f"attacker {n}", 1, 0)

    assert limits.take("somebody", 1, 0) == 0


def test_a_change_of_rate_holds_for_known_and_new_keys():
    limits = KeyedGcra(1, 1)
    limits.take("a", 1, 0)

    limits.reconfigure(10, 2, 0)

    assert [limits.take("a", 1, 0) for _ in range(2)] == [0, 100_000]
    assert [limits.take("b", 1, 0) for _ in range(3)] == [0, 0, 100_000]


def test_a_table_for_no_keys_is_a_bug():
    with pytest.raises(ValueError):
        KeyedGcra(1, 1, keys_max=0)
