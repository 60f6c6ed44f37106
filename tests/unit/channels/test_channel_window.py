"""The window: what it holds under its three bounds, and how it is read page by page."""

import pytest
from channel_events import SECOND_US, STATEFUL, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from polyglotd.channels.window import Window
from polyglotd.model import Event, tombstone


def filled(count: int, *, history_events: int = 100, size: int = 10, bytes_max: int = 1 << 20) -> Window:
    window = Window(history_events, 3600, bytes_max=bytes_max)
    for seq in range(1, count + 1):
        window.append(event(seq), size)
    return window


def seqs(events: list[Event]) -> list[int]:
    return [e.seq for e in events]


@pytest.mark.parametrize(
    ("after", "before", "limit", "bytes_max", "expected", "more"),
    [
        (None, None, 3, 1000, [8, 9, 10], True),
        (None, None, 10, 1000, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], False),
        (None, 4, 2, 1000, [2, 3], True),
        (None, 4, 3, 1000, [1, 2, 3], False),
        (None, 1, 3, 1000, [], False),
        (None, 99, 1, 1000, [10], True),
        (None, None, 5, 25, [9, 10], True),
        (None, None, 5, 1, [10], True),
        (0, None, 3, 1000, [1, 2, 3], True),
        (7, None, 3, 1000, [8, 9, 10], False),
        (10, None, 3, 1000, [], False),
        (99, None, 3, 1000, [], False),
        (0, None, 5, 25, [1, 2], True),
        (0, None, 5, 1, [1], True),
        (2, 5, 9, 1000, [3, 4], False),
        (2, 5, 1, 1000, [3], True),
        (5, 5, 9, 1000, [], False),
        (0, None, 0, 1000, [], True),
        (None, -5, 3, 1000, [], False),
        (-5, None, 2, 1000, [1, 2], True),
    ],
)
def test_a_page_is_the_oldest_after_or_the_newest_before(
    after: int | None, before: int | None, limit: int, bytes_max: int, expected: list[int], more: bool
) -> None:
    page = filled(10).page(after=after, before=before, limit=limit, bytes_max=bytes_max)
    assert (seqs(page.events), page.more) == (expected, more)


def test_more_counts_what_is_kept_elsewhere_when_the_caller_says_so() -> None:
    window = filled(10, history_events=8, bytes_max=30)
    assert window.first == 8
    assert not window.page(after=None, before=None, limit=9, bytes_max=999).more
    oldest = window.oldest(kept_elsewhere=True)
    assert oldest == 3
    assert window.page(after=None, before=None, limit=9, bytes_max=999, oldest=oldest).more
    assert window.page(after=None, before=5, limit=9, bytes_max=999, oldest=oldest) == ([], True)
    assert window.page(after=None, before=3, limit=9, bytes_max=999, oldest=oldest) == ([], False)


def test_an_event_larger_than_the_byte_bound_leaves_the_window_empty_and_the_next_one_begins_it() -> None:
    window = filled(3, bytes_max=100)
    window.append(event(4), 101)
    assert (len(window), window.first, window.last) == (0, 5, 4)
    assert not window.covers(3)
    window.append(event(5), 100)
    assert seqs(window.newest(9, 1000)) == [5]


def test_an_event_of_exactly_history_s_is_held_and_a_microsecond_later_is_not() -> None:
    window = Window(10, 60)
    window.append(event(1, ts_us=5), 1)
    assert window.next_expiry_us() == 5 + 60 * SECOND_US + 1
    window.expire(5 + 60 * SECOND_US)
    assert len(window) == 1
    window.expire(5 + 60 * SECOND_US + 1)
    assert len(window) == 0
    assert window.next_expiry_us() is None


def test_what_expired_is_old_elsewhere_too_until_the_policy_allows_more() -> None:
    window = Window(100, 60)
    for seq in range(1, 11):
        window.append(event(seq, ts_us=seq * SECOND_US), 1)
    window.expire(64 * SECOND_US)
    assert window.oldest(kept_elsewhere=True) == 4
    window.rebound(100, 3600)
    assert window.oldest(kept_elsewhere=True) == 1
    assert window.oldest(kept_elsewhere=False) == 4
    assert not window.covers(2)


@pytest.mark.parametrize("seq", [0, 3, 5, 6])
def test_append_when_the_seq_does_not_follow_is_a_bug(seq: int) -> None:
    window = filled(3)
    with pytest.raises(ValueError, match="does not follow 3"):
        window.append(event(seq if seq != 3 else 3), 1)
    assert window.last == 3


def test_a_channel_without_history_holds_nothing_and_still_counts() -> None:
    window = filled(5, history_events=0)
    assert (len(window), window.last, window.oldest(kept_elsewhere=True)) == (0, 5, 6)
    assert window.covers(5)
    assert not window.covers(4)


def test_a_new_epoch_begins_from_nothing() -> None:
    window = filled(5)
    window.clear()
    assert (len(window), window.first, window.last, window.size_bytes) == (0, 1, 0, 0)
    window.append(event(1), 1)
    assert window.covers(0)


class WindowAgainstAList(RuleBasedStateMachine):
    """The model keeps (event, size) in a list, and finds the longest rest that fits by trying every one."""

    @initialize(
        history_events=st.integers(0, 8),
        history_s=st.integers(0, 20),
        bytes_max=st.integers(0, 60),
        last=st.integers(0, 3),
    )
    def begin(self, history_events: int, history_s: int, bytes_max: int, last: int) -> None:
        self.bounds = (history_events, history_s, bytes_max)
        self.window = Window(history_events, history_s, last=last, bytes_max=bytes_max)
        self.held: list[tuple[Event, int]] = []
        self.last = last
        self.now_us = 0

    def fit(self, *, by_age: bool) -> None:
        count, age_s, size = self.bounds

        def fits(rest: list[tuple[Event, int]]) -> bool:
            young = not by_age or not rest or rest[0][0].ts_us >= self.now_us - age_s * SECOND_US
            return young and len(rest) <= count and sum(s for _, s in rest) <= size

        self.held = next(rest for i in range(len(self.held) + 1) if fits(rest := self.held[i:]))

    @rule(size=st.integers(1, 40), pass_s=st.integers(0, 5))
    def append(self, size: int, pass_s: int) -> None:
        self.now_us += pass_s * SECOND_US
        self.last += 1
        new = event(self.last, ts_us=self.now_us)
        self.window.append(new, size)
        self.held.append((new, size))
        self.fit(by_age=False)

    @rule(at=st.integers(0, 8), size=st.integers(1, 40))
    def replace(self, at: int, size: int) -> None:
        if self.held:
            old, _ = self.held[at % len(self.held)]
            stone = tombstone(old)
            self.window.replace(stone, size)
            self.held[at % len(self.held)] = (stone, size)
            self.fit(by_age=False)

    @rule(pass_s=st.integers(0, 15))
    def expire(self, pass_s: int) -> None:
        self.now_us += pass_s * SECOND_US
        self.window.expire(self.now_us)
        self.fit(by_age=True)

    @rule(history_events=st.integers(0, 8), history_s=st.integers(0, 20))
    def change_policy(self, history_events: int, history_s: int) -> None:
        self.bounds = (history_events, history_s, self.bounds[2])
        self.window.rebound(history_events, history_s)
        self.fit(by_age=False)

    @rule(last=st.integers(0, 3))
    def new_epoch(self, last: int) -> None:
        self.window.clear(last)
        self.held = []
        self.last = last

    @rule(
        after=st.none() | st.integers(-1, 15),
        before=st.none() | st.integers(-1, 15),
        limit=st.integers(1, 5),
        bytes_max=st.integers(1, 60),
    )
    def read(self, after: int | None, before: int | None, limit: int, bytes_max: int) -> None:
        asked = [
            (e, s) for e, s in self.held if (after is None or e.seq > after) and (before is None or e.seq < before)
        ]
        tries = [
            asked[:n] if after is not None else asked[len(asked) - n :] for n in range(min(limit, len(asked)) + 1)
        ]
        best = max((t for t in tries if len(t) <= 1 or sum(s for _, s in t) <= bytes_max), key=len)
        page = self.window.page(after=after, before=before, limit=limit, bytes_max=bytes_max)
        assert page == ([e for e, _ in best], len(best) < len(asked))

    @rule(after=st.integers(-1, 15))
    def ask_what_is_covered(self, after: int) -> None:
        held = {e.seq for e, _ in self.held}
        assert self.window.covers(after) == all(seq in held for seq in range(after + 1, self.last + 1) if seq > 0)

    @invariant()
    def holds_the_same(self) -> None:
        assert self.window.newest(100, 1 << 30) == [e for e, _ in self.held]
        assert self.window.size_bytes == sum(s for _, s in self.held)
        assert self.window.last == self.last
        assert self.window.first == (self.held[0][0].seq if self.held else self.last + 1)


TestWindowAgainstAList = WindowAgainstAList.TestCase
TestWindowAgainstAList.settings = STATEFUL


def test_what_is_held_of_a_range_is_its_part_of_the_window() -> None:
    window = filled(10, history_events=6)
    assert seqs(window.held(1, 6)) == [5, 6]
    assert seqs(window.held(9, 99)) == [9, 10]
    assert seqs(window.held(1, 4)) == []
