"""A share of a rate, renewed while it is spent."""

from polyglotd.limits.lease import LeasedRate

S_US = 1_000_000


def test_a_share_is_spent_like_a_rate_with_a_burst_of_one_second():
    rate = LeasedRate(100, now_us=0)

    assert rate.take(100, 0) == 0
    assert rate.take(1, 0) == 10_000
    assert rate.peek(1, 0) == 10_000
    assert rate.take_up_to(1000, S_US) == 100
    assert rate.remaining(S_US + 500_000) == 50


def test_a_burst_may_be_several_seconds_worth():
    rate = LeasedRate(200, burst_s=5, now_us=0)

    assert rate.take(1000, 0) == 0
    assert rate.take(1, 0) == 5000


def test_a_renewal_is_due_once_a_second_also_after_one_that_failed():
    rate = LeasedRate(100, now_us=0)
    assert not rate.renewal_due(S_US - 1)
    assert rate.renewal_due(S_US)

    rate.renewal_failed(S_US)

    assert not rate.renewal_due(2 * S_US - 1)
    assert rate.renewal_due(2 * S_US)
    assert rate.share_per_s == 100  # the last one goes on


def test_a_renewal_with_another_share_leaves_what_was_spent():
    rate = LeasedRate(100, now_us=0)
    rate.take(100, 0)

    rate.renewed(50.5, 0)

    assert rate.share_per_s == 50.5
    assert rate.remaining(0) == 0
    assert rate.remaining(2 * S_US) == 50


def test_a_renewal_with_the_same_share_gives_no_second_burst():
    rate = LeasedRate(10, now_us=0)
    for turn in range(5):
        rate.renewed(10, turn)
        rate.take_up_to(10, turn)

    assert rate.remaining(5) == 0
