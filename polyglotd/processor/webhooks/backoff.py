"""When to try again: pure arithmetic on failures, for `delivery`. All times are µs."""

import random

RETRY_FIRST_S = 1.0  # after a message's first failure; doubled after each
RETRY_MAX_S = 300.0  # so that an endpoint that came back gets what waits within minutes
JITTER = 0.25  # of it, more or less: endpoints of one host do not come back all at once
BREAKER_FAILURES = 5  # in a row: from then on only a probe now and then
TRIED_FOR_US = 86_400 * 1_000_000  # then it is a dead letter

_US = 1_000_000


def retry_delay_us(failures: int, dice: random.Random) -> int:
    """After so many failures, at least one."""
    delay_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(failures - 1, 30))
    return int(delay_s * _US * dice.uniform(1 - JITTER, 1 + JITTER))


def breaker_delay_us(failures: int, dice: random.Random) -> int:
    """How long the endpoint as a whole is left alone after so many failures in a row; 0: not at all."""
    return 0 if failures < BREAKER_FAILURES else retry_delay_us(failures - BREAKER_FAILURES + 2, dice)
