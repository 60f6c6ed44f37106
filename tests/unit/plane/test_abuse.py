"""When a connection is left alone for its refusals, and when it is closed."""

from polyglotd.plane.asgi.abuse import Abuse, Verdict

SECOND = 1_000_000


def verdicts(abuse: Abuse, count: int, start_us: int, step_us: int) -> list[Verdict]:
    return [abuse.refused(start_us + n * step_us) for n in range(count)]


def test_a_hundred_refusals_within_a_second_pause_for_a_second() -> None:
    abuse = Abuse()
    assert verdicts(abuse, 99, 5 * SECOND, 10_000) == [Verdict.READ_ON] * 99
    assert abuse.refused(5 * SECOND + 999_999) is Verdict.PAUSE
    assert abuse.paused_until_us == 6 * SECOND + 999_999


def test_ninety_nine_a_second_for_ever_are_no_abuse() -> None:
    assert set(verdicts(Abuse(), 2_000, 0, -(-SECOND // 99))) == {Verdict.READ_ON}


def test_the_second_is_not_bound_to_a_clock_s_seconds() -> None:
    abuse = Abuse()
    verdicts(abuse, 60, 900_000, 1_000)
    assert Verdict.PAUSE in verdicts(abuse, 40, 1_100_000, 1_000)


def test_going_on_after_the_pause_closes() -> None:
    abuse = Abuse()
    assert verdicts(abuse, 100, 0, 1_000)[-1] is Verdict.PAUSE
    assert verdicts(abuse, 100, 2 * SECOND, 1_000)[-1] is Verdict.CLOSE


def test_ten_good_seconds_after_the_pause_are_forgiven() -> None:
    abuse = Abuse()
    assert verdicts(abuse, 100, 0, 1_000)[-1] is Verdict.PAUSE
    assert verdicts(abuse, 100, 12 * SECOND, 1_000)[-1] is Verdict.PAUSE
