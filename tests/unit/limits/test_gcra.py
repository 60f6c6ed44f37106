"""The rate as a law: what it admits, what it answers, what a change of limits leaves."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from polyglotd.limits.gcra import RETRY_MAX_US, Gcra

S_US = 1_000_000
RATES = st.one_of(st.integers(1, 10**6), st.floats(0.001, 10**6))
BURSTS = st.integers(1, 10_000)
CALLS = st.lists(st.tuples(st.integers(0, 3 * S_US), st.integers(1, 20)), min_size=1, max_size=60)


def exact(rate):
    """The rate that is kept: whole thousandths."""
    return Fraction(round(rate * 1000), 1000)


@given(rate=RATES, burst=BURSTS, calls=CALLS)
def test_over_any_window_no_more_than_rate_times_time_plus_burst_is_admitted(rate, burst, calls):
    gcra = Gcra(rate, burst)
    now_us, admitted = 0, []
    for pause_us, n in calls:
        now_us += pause_us
        if gcra.take(n, now_us) == 0:
            admitted.append((now_us, n))

    for first, (from_us, _) in enumerate(admitted):
        total = 0
        for at_us, n in admitted[first:]:
            total += n
            assert total <= exact(rate) * (at_us - from_us) / S_US + burst


@given(rate=RATES, burst=BURSTS, calls=CALLS, n=st.integers(1, 20))
def test_a_refused_caller_succeeds_after_exactly_the_time_it_was_told(rate, burst, calls, n):
    gcra = Gcra(rate, burst)
    now_us = 0
    for pause_us, taken in calls:
        now_us += pause_us
        gcra.take_up_to(taken, now_us)
    n = min(n, burst)

    retry_us = gcra.take(n, now_us)

    if 0 < retry_us < RETRY_MAX_US:
        assert gcra.peek(n, now_us + retry_us - 1) > 0
        assert gcra.take(n, now_us + retry_us) == 0


@given(rate=RATES, burst=BURSTS, calls=CALLS)
def test_after_burst_over_rate_idle_all_of_the_burst_is_back(rate, burst, calls):
    gcra = Gcra(rate, burst)
    now_us = 0
    for pause_us, n in calls:
        now_us += pause_us
        gcra.take_up_to(n, now_us)
    idle_us = -(-burst * S_US // exact(rate))

    assert gcra.restored_after_us(now_us) <= min(idle_us, RETRY_MAX_US)
    assert gcra.remaining(now_us + idle_us) == burst
    assert gcra.take(burst, now_us + idle_us) == 0


@pytest.mark.parametrize("rate", [3, 7, 30, 60, 999, 1001, 1 / 3])
def test_a_rate_that_does_not_divide_a_second_does_not_drift(rate):
    """Asked as soon as it says, for a million seconds' worth: whoever rounds loses or gains by then."""
    gcra = Gcra(rate, 1)
    now_us = 10**15
    start_us, admitted = now_us, 0
    for _ in range(3000):
        assert gcra.take(1, now_us) == 0
        admitted += 1
        now_us += gcra.peek(1, now_us)

    spent = exact(rate) * (now_us - start_us) / S_US
    assert admitted <= spent + 1
    assert spent - admitted < 3000 * exact(rate) / S_US + 1  # late by less than a µs a call, for time is whole µs


def test_asked_every_microsecond_it_admits_exactly_the_rate():
    gcra = Gcra(300_000, 2)  # a burst of one would have to wait for the next whole µs each time

    assert sum(gcra.take(1, us) == 0 for us in range(10_000)) == 3000 + 1


def test_what_was_refused_costs_nothing():
    gcra = Gcra(1, 2)
    assert gcra.take(2, 0) == 0

    assert [gcra.take(1, 0) for _ in range(50)] == [S_US] * 50


def test_take_is_all_or_nothing_and_take_up_to_takes_what_there_is():
    gcra = Gcra(10, 5)

    assert gcra.take(6, 0) > 0
    assert gcra.remaining(0) == 5
    assert gcra.take_up_to(6, 0) == 5
    assert gcra.take_up_to(6, 0) == 0
    assert gcra.take_up_to(6, 250_000) == 2


def test_the_last_billionth_counts():
    gcra = Gcra(0.001, 1)
    assert gcra.take(1, 0) == 0

    assert gcra.take(1, 1000 * S_US - 1) == 1
    assert gcra.take(1, 1000 * S_US) == 0


def test_peek_takes_nothing():
    gcra = Gcra(1, 1)

    assert [gcra.peek(1, 0) for _ in range(3)] == [0, 0, 0]
    assert gcra.take(1, 0) == 0
    assert gcra.peek(1, 400_000) == 600_000


def test_a_clock_that_steps_back_gives_nothing_away():
    gcra = Gcra(1, 1)
    assert gcra.take(1, 10 * S_US) == 0

    assert gcra.take(1, 0) == S_US
    assert gcra.take(1, 10 * S_US) == S_US
    assert gcra.take(1, 11 * S_US) == 0


def test_a_change_of_rate_leaves_what_was_taken():
    gcra = Gcra(100, 100)
    assert gcra.take(100, 0) == 0

    gcra.reconfigure(1000, 1000, 0)
    assert gcra.remaining(0) == 900  # not a fresh burst

    gcra.reconfigure(10, 10, 0)
    assert gcra.remaining(0) == 0
    assert gcra.peek(1, 0) == 9_100_000  # a debt of 100 runs off to 9 at 10 a second


def test_a_rate_of_nothing_admits_its_burst_once():
    gcra = Gcra(0, 1)

    assert gcra.take(1, 0) == 0
    assert gcra.take(1, 10**15) == RETRY_MAX_US
    assert Gcra(0, 0).take(1, 0) == RETRY_MAX_US


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), -0.001, 2e12])
def test_a_rate_or_burst_that_is_no_number_of_requests_is_a_bug(bad):
    with pytest.raises(ValueError):
        Gcra(bad, 1)
    with pytest.raises(ValueError):
        Gcra(1, bad)


class AgainstABucket(RuleBasedStateMachine):
    """The same as a bucket of exact fractions that fills at the rate."""

    @initialize(rate=st.integers(1, 1000), burst=st.integers(1, 50))
    def begin(self, rate, burst):
        self.gcra, self.rate, self.burst = Gcra(rate, burst), rate, burst
        self.debt, self.now_us = Fraction(0), 0

    @rule(pause_us=st.integers(0, 2 * S_US))
    def wait(self, pause_us):
        self.now_us += pause_us
        self.debt = max(Fraction(0), self.debt - Fraction(self.rate * pause_us, S_US))

    @rule(n=st.integers(0, 60))
    def take(self, n):
        fits = self.debt + n <= self.burst
        assert (self.gcra.take(n, self.now_us) == 0) == fits
        if fits:
            self.debt += n

    @rule(n=st.integers(0, 60))
    def take_up_to(self, n):
        taken = max(0, min(n, int((self.burst - self.debt) // 1)))
        assert self.gcra.take_up_to(n, self.now_us) == taken
        self.debt += taken

    @rule(rate=st.integers(1, 1000), burst=st.integers(1, 50))
    def reconfigure(self, rate, burst):
        self.gcra.reconfigure(rate, burst, self.now_us)
        self.rate, self.burst = rate, burst

    @precondition(lambda self: hasattr(self, "gcra"))
    @invariant()
    def the_same_remains(self):
        assert self.gcra.remaining(self.now_us) == max(0, int((self.burst - self.debt) // 1))


TestAgainstABucket = AgainstABucket.TestCase
TestAgainstABucket.settings = settings(max_examples=40, stateful_step_count=25)
