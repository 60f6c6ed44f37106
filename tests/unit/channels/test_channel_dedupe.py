"""Repeats: whose an id is, how long it is known, and what a repeat finds while the first is under way."""

import pytest
from channel_events import SECOND_US, STATEFUL
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from polyglotd.channels.dedupe import Dedupe, Held, Known
from polyglotd.log.interface import RecentId


def test_an_id_belongs_to_its_publisher() -> None:
    dedupe: Dedupe[str] = Dedupe()
    dedupe.remember("ann", "x", 1, 0)
    assert dedupe.lookup("ann", "x", 0) == Known(1, 0)
    assert dedupe.lookup("bob", "x", 0) is None
    assert dedupe.lookup(None, "x", 0) is None
    assert dedupe.lookup("ann", "X", 0) is None


@pytest.mark.parametrize(("age_us", "known"), [(0, True), (300 * SECOND_US - 1, True), (300 * SECOND_US, False)])
def test_an_id_is_known_for_five_minutes_from_its_event(age_us: int, known: bool) -> None:
    dedupe: Dedupe[str] = Dedupe()
    dedupe.remember("ann", "x", 1, 1000)
    assert (dedupe.lookup("ann", "x", 1000 + age_us) is not None) == known


def test_a_repeat_does_not_make_an_id_live_longer() -> None:
    dedupe: Dedupe[str] = Dedupe(window_s=10)
    dedupe.remember("ann", "x", 1, 0)
    assert dedupe.lookup("ann", "x", 9 * SECOND_US) == Known(1, 0)
    assert dedupe.lookup("ann", "x", 10 * SECOND_US) is None


def test_an_id_that_is_given_again_after_its_time_is_among_the_newest() -> None:
    dedupe: Dedupe[str] = Dedupe(window_s=10, ids_max=2)
    dedupe.remember("ann", "x", 1, 0)
    dedupe.remember("ann", "y", 2, 9 * SECOND_US)
    dedupe.remember("ann", "x", 3, 10 * SECOND_US)
    dedupe.remember("ann", "z", 4, 11 * SECOND_US)
    assert dedupe.lookup("ann", "x", 11 * SECOND_US) == Known(3, 10 * SECOND_US)
    assert dedupe.lookup("ann", "y", 11 * SECOND_US) is None


def test_a_new_answer_frees_those_whose_time_is_over() -> None:
    dedupe: Dedupe[str] = Dedupe(window_s=10)
    dedupe.remember("ann", "x", 1, 0)
    dedupe.remember("ann", "y", 2, 1)
    dedupe.remember("ann", "z", 3, 10 * SECOND_US)
    assert len(dedupe) == 2


def test_a_clock_that_steps_back_forgets_nothing() -> None:
    dedupe: Dedupe[str] = Dedupe(window_s=10)
    dedupe.remember("ann", "x", 1, 100 * SECOND_US)
    dedupe.remember("ann", "y", 2, 50 * SECOND_US)
    assert dedupe.lookup("ann", "x", 50 * SECOND_US) == Known(1, 100 * SECOND_US)


def test_the_newest_ten_thousand_ids_are_known() -> None:
    dedupe: Dedupe[str] = Dedupe()
    for n in range(10_001):
        dedupe.remember(None, f"id{n}", n + 1, n)
    assert dedupe.lookup(None, "id0", 10_001) is None
    assert dedupe.lookup(None, "id1", 10_001) == Known(2, 1)
    assert len(dedupe) == 10_000


def test_a_repeat_while_the_first_is_under_way_finds_its_ticket_and_then_its_answer() -> None:
    dedupe: Dedupe[list[str]] = Dedupe()
    waiting: list[str] = []
    dedupe.hold("ann", "x", waiting)
    found = dedupe.lookup("ann", "x", 0)
    assert isinstance(found, Held)
    assert found.ticket is waiting
    dedupe.settle("ann", "x", 4, 7)
    assert dedupe.lookup("ann", "x", 7) == Known(4, 7)


def test_an_id_whose_first_publish_was_refused_is_new_again() -> None:
    dedupe: Dedupe[str] = Dedupe()
    dedupe.hold("ann", "x", "ticket")
    dedupe.release("ann", "x")
    assert dedupe.lookup("ann", "x", 0) is None
    dedupe.release("ann", "never held")


def test_a_publish_that_a_new_epoch_overtook_is_not_remembered() -> None:
    dedupe: Dedupe[str] = Dedupe()
    dedupe.remember("ann", "w", 1, 0)
    dedupe.hold("ann", "x", "ticket")
    dedupe.clear()
    dedupe.settle("ann", "x", 4, 7)
    assert dedupe.lookup("ann", "w", 7) is None
    assert dedupe.lookup("ann", "x", 7) is None


def test_what_the_log_remembers_is_known_after_a_restart() -> None:
    dedupe: Dedupe[str] = Dedupe(ids_max=2)
    dedupe.restore(RecentId(f"id{n}", "ann", n, n * SECOND_US) for n in range(1, 4))
    assert [dedupe.lookup("ann", f"id{n}", 4 * SECOND_US) for n in range(1, 4)] == [
        None,
        Known(2, 2 * SECOND_US),
        Known(3, 3 * SECOND_US),
    ]


USERS = st.sampled_from([None, "ann", "bob"])
IDS = st.sampled_from(["a", "b", "c"])


class DedupeAgainstAList(RuleBasedStateMachine):
    """The model is the list of every answer ever given, and a dict of what is under way."""

    @initialize(ids_max=st.integers(1, 5))
    def begin(self, ids_max: int) -> None:
        self.ids_max = ids_max
        self.dedupe: Dedupe[int] = Dedupe(window_s=10, ids_max=ids_max)
        self.now_us = 0
        self.seq = 0
        self.answers: list[tuple[tuple[str | None, str], Known]] = []
        self.under_way: dict[tuple[str | None, str], int] = {}

    def expected(self, key: tuple[str | None, str]) -> Known | Held[int] | None:
        if key in self.under_way:
            return Held(self.under_way[key])
        newest = list({k: None for k, _ in reversed(self.answers)})[: self.ids_max]
        last = [known for k, known in self.answers if k == key][-1:]
        if key not in newest or self.now_us - last[0].ts_us >= 10 * SECOND_US:
            return None
        return last[0]

    @rule(user=USERS, event_id=IDS, pass_s=st.integers(0, 4), waits=st.booleans())
    def publish(self, user: str | None, event_id: str, pass_s: int, waits: bool) -> None:
        self.now_us += pass_s * SECOND_US
        found = self.dedupe.lookup(user, event_id, self.now_us)
        assert found == self.expected((user, event_id))
        if found is not None:
            return
        self.seq += 1
        if waits:
            self.dedupe.hold(user, event_id, self.seq)
            self.under_way[user, event_id] = self.seq
        else:
            self.dedupe.remember(user, event_id, self.seq, self.now_us)
            self.answers.append(((user, event_id), Known(self.seq, self.now_us)))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), admitted=st.booleans())
    def finish(self, data: st.DataObject, admitted: bool) -> None:
        user, event_id = data.draw(st.sampled_from(sorted(self.under_way, key=str)))
        seq = self.under_way.pop((user, event_id))
        if admitted:
            self.dedupe.settle(user, event_id, seq, self.now_us)
            self.answers.append(((user, event_id), Known(seq, self.now_us)))
        else:
            self.dedupe.release(user, event_id)

    @rule(pass_s=st.integers(0, 12))
    def expire(self, pass_s: int) -> None:
        self.now_us += pass_s * SECOND_US
        self.dedupe.expire(self.now_us)
        young = [k for k, known in self.answers if self.now_us - known.ts_us < 10 * SECOND_US]
        assert len(self.dedupe) == min(len(set(young)), self.ids_max) + len(self.under_way)

    @rule()
    def new_epoch(self) -> None:
        self.dedupe.clear()
        self.answers.clear()
        self.under_way.clear()

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.dedupe) <= self.ids_max + len(self.under_way)


TestDedupeAgainstAList = DedupeAgainstAList.TestCase
TestDedupeAgainstAList.settings = STATEFUL
