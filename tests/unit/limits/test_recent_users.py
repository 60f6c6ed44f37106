"""Who was here within the last minute."""

from hypothesis import given
from hypothesis import strategies as st

from polyglotd.limits.recent_users import RecentUsers

MINUTE_US = 60_000_000


def test_a_user_is_recent_for_a_minute_after_each_mark():
    users = RecentUsers()
    assert not users.seen("ann", 0)

    users.mark("ann", 0)
    assert users.seen("ann", MINUTE_US - 1)
    assert not users.seen("ann", MINUTE_US)

    users.mark("ann", MINUTE_US)
    assert users.seen("ann", 2 * MINUTE_US - 1)
    assert not users.seen("bob", MINUTE_US)


def test_past_the_bound_the_one_marked_longest_ago_is_forgotten():
    users = RecentUsers(users_max=2)
    users.mark("ann", 1)
    users.mark("bob", 2)
    users.mark("ann", 3)
    users.mark("cid", 4)

    assert [user for user in ("ann", "bob", "cid") if users.seen(user, 5)] == ["ann", "cid"]


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, MINUTE_US)), max_size=60))
def test_within_the_bound_it_agrees_with_a_plain_list_and_keeps_nobody_longer_than_it_must(marks):
    users, plain, now_us = RecentUsers(users_max=7), {}, 0
    for user, pause_us in marks:
        now_us += pause_us
        users.mark(user, now_us)
        plain[user] = now_us
        recent = {name for name, at_us in plain.items() if at_us > now_us - MINUTE_US}
        assert {name for name in "abcdefg" if users.seen(name, now_us)} == recent
        assert len(users) == len(recent)
