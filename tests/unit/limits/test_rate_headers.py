"""What a refused client reads."""

import pytest

from polyglotd.limits.headers import quota_headers, rate_headers, retry_after_s


@pytest.mark.parametrize(("us", "seconds"), [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (90_000_000, 90)])
def test_a_wait_is_told_in_whole_seconds_upwards(us, seconds):
    assert retry_after_s(us) == seconds


def test_a_rate_is_told_in_both_forms_of_the_draft():
    assert rate_headers("api-publishes", 10_000, remaining=3, retry_after_us=1_200_000) == {
        "Retry-After": "2",
        "RateLimit-Policy": '"api-publishes";q=10000;w=1',
        "RateLimit": '"api-publishes";r=3;t=2',
        "RateLimit-Limit": "10000",
        "RateLimit-Remaining": "3",
        "RateLimit-Reset": "2",
    }


def test_a_quota_has_no_window_and_nothing_below_nothing_remains():
    headers = quota_headers("connections", 100, used=120, retry_after_us=5_000_000)

    assert headers["RateLimit-Policy"] == '"connections";q=100'
    assert headers["RateLimit-Remaining"] == "0"
    assert headers["Retry-After"] == "5"
