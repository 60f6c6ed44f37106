"""Recovery: who resumes, who is told that it can't, and which events either gets."""

import pytest
from channel_events import SECOND_US, STATEFUL, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from polyglotd.channels.recovery import JoinPlan, NotRecovered, Recovered, decide, plan_join
from polyglotd.channels.window import Window
from polyglotd.model import Event


@pytest.mark.parametrize(
    ("since", "oldest", "expected"),
    [
        pytest.param(("e1", 7), 1, Recovered(7), id="history holds all"),
        pytest.param(("e1", 7), 8, Recovered(7), id="the first missed event is the oldest held"),
        pytest.param(("e1", 7), 9, NotRecovered("too_old"), id="the first missed event is gone"),
        pytest.param(("e1", 10), 11, Recovered(10), id="nothing was missed and nothing is held"),
        pytest.param(("e1", 11), 1, NotRecovered("future"), id="a seq from the future"),
        pytest.param(("e2", 10), 1, NotRecovered("epoch"), id="a foreign epoch, even at the same seq"),
        pytest.param(("e1", 0), 1, Recovered(0), id="from the very beginning"),
        pytest.param(("e1", 0), 2, NotRecovered("too_old"), id="the very first is gone"),
        pytest.param(("e1", -1), 1, NotRecovered("too_old"), id="no such seq"),
        pytest.param(("", 10), 1, NotRecovered("epoch"), id="an empty epoch"),
    ],
)
def test_a_member_resumes_only_where_every_missed_event_can_be_had(
    since: tuple[str, int], oldest: int, expected: Recovered | NotRecovered
) -> None:
    assert decide(since, epoch="e1", seq=10, oldest=oldest) == expected


def test_a_member_of_an_empty_channel_that_missed_nothing_resumes() -> None:
    assert decide(("e1", 0), epoch="e1", seq=0, oldest=1) == Recovered(0)


@pytest.mark.parametrize(
    ("since", "history", "oldest", "expected"),
    [
        pytest.param(None, None, 1, JoinPlan(None, 500), id="nothing asked, nothing sent"),
        pytest.param(None, 0, 1, JoinPlan(None, 500), id="none asked"),
        pytest.param(None, 20, 1, JoinPlan(None, 480), id="the newest n"),
        pytest.param(None, 20, 495, JoinPlan(None, 494), id="as many of the newest n as there are"),
        pytest.param(None, 9999, 1, JoinPlan(None, 0), id="more than there ever were"),
        pytest.param(("e1", 490), 20, 1, JoinPlan(True, 490), id="since wins over history"),
        pytest.param(("e1", 10), None, 300, JoinPlan(False, 400), id="not recovered: the newest 100"),
        pytest.param(("e1", 10), 20, 300, JoinPlan(False, 480), id="not recovered: the n that were asked for"),
        pytest.param(("e1", 10), 0, 300, JoinPlan(False, 500), id="not recovered, and none wanted"),
        pytest.param(("e2", 10), None, 450, JoinPlan(False, 449), id="not recovered: all that are left"),
        pytest.param(("e1", 500), 20, 501, JoinPlan(True, 500), id="nothing was missed"),
    ],
)
def test_a_join_plan_is_the_seq_after_which_everything_comes(
    since: tuple[str, int] | None, history: int | None, oldest: int, expected: JoinPlan
) -> None:
    assert plan_join(since, history, epoch="e1", seq=500, oldest=oldest) == expected


class MembersThatComeBack(RuleBasedStateMachine):
    """One member comes and goes while a channel lives: what it has seen is compared with all that was published."""

    @initialize(history_events=st.integers(0, 10), history_s=st.integers(0, 30), elsewhere=st.booleans())
    def begin(self, history_events: int, history_s: int, elsewhere: bool) -> None:
        self.history_events, self.history_s, self.elsewhere = history_events, history_s, elsewhere
        self.window = Window(history_events, history_s, bytes_max=60)
        self.epoch = "e0"
        self.epochs = 0
        self.now_us = 0
        self.published: list[Event] = []  # in this epoch
        self.sizes: list[int] = []
        self.seen: tuple[str, list[Event]] = ("e0", [])  # without a gap, from wherever it began

    @rule(size=st.integers(1, 30), pass_s=st.integers(0, 8))
    def publish(self, size: int, pass_s: int) -> None:
        self.now_us += pass_s * SECOND_US
        new = event(len(self.published) + 1, ts_us=self.now_us, epoch=self.epoch)
        self.published.append(new)
        self.sizes.append(size)
        self.window.append(new, size)

    @precondition(lambda self: self.published)
    @rule()
    def new_epoch(self) -> None:
        self.epochs += 1
        self.epoch = f"e{self.epochs}"
        self.published, self.sizes = [], []
        self.window.clear()

    def allowed(self) -> list[Event]:
        """What the policy lets a member have, said plainly."""
        newest = self.published[max(0, len(self.published) - self.history_events) :]
        young = [e for e in newest if e.ts_us >= self.now_us - self.history_s * SECOND_US]
        if self.elsewhere:
            return young
        return [e for e in young if sum(self.sizes[e.seq - 1 :]) <= 60]

    @rule(
        history=st.none() | st.integers(0, 12),
        pass_s=st.integers(0, 20),
        page_events=st.integers(1, 4),
        page_bytes=st.integers(1, 60),
        ask_for=st.none() | st.integers(0, 15),
    )
    def come_back(
        self, history: int | None, pass_s: int, page_events: int, page_bytes: int, ask_for: int | None
    ) -> None:
        self.now_us += pass_s * SECOND_US
        self.window.expire(self.now_us)
        epoch, seen = self.seen
        place = (seen[-1].seq if seen else 0) if ask_for is None else ask_for
        seq = len(self.published)
        plan = plan_join(
            (epoch, place),
            history,
            epoch=self.epoch,
            seq=seq,
            oldest=self.window.oldest(kept_elsewhere=self.elsewhere),
        )
        allowed = self.allowed()
        missed = self.published[place:]
        can_resume = epoch == self.epoch and place <= seq and all(e in allowed for e in missed)
        if self.elsewhere and plan.recovered and not can_resume and not self.window.covers(plan.after):
            return  # only who looks elsewhere can tell that those are too old: the caller is bound to look
        assert plan.recovered == can_resume
        got = self.read_on(plan.after, page_events, page_bytes)
        if can_resume:
            assert got == missed
        else:
            newest = allowed[max(0, len(allowed) - (100 if history is None else history)) :]
            assert got[len(got) - len(newest) :] == newest
            assert self.elsewhere or got == newest
        if ask_for is None:
            self.seen = (self.epoch, seen + got if can_resume else got or self.published[seq:])

    def read_on(self, after: int, page_events: int, page_bytes: int) -> list[Event]:
        got: list[Event] = []
        if not self.window.covers(after):  # what the log or the store gives
            got = self.published[after : self.window.first - 1]
            after = self.window.first - 1
        while True:
            page = self.window.page(after=after, before=None, limit=page_events, bytes_max=page_bytes)
            got += page.events
            if not page.more:
                return got
            after = page.events[-1].seq


TestMembersThatComeBack = MembersThatComeBack.TestCase
TestMembersThatComeBack.settings = STATEFUL
