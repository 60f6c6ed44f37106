"""The outbox: what waits for a slow socket, what gives way, and when a connection has to be closed."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from channel_events import STATEFUL
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from polyglotd.channels.outbox import Outbox, OutboxTally

ALL = 1 << 30


def small() -> Outbox:
    return Outbox(bytes_max=10, control_bytes_max=20, topic_frames_max=3, topic_bytes_max=8, low_water=6)


def test_frames_of_every_sort_leave_in_the_order_of_their_coming() -> None:
    outbox = small()
    outbox.put_queued(b"q")
    outbox.put_conflated(1, "t", b"c")
    outbox.put_droppable(1, b"d")
    outbox.put_control(b"r")
    assert outbox.take(ALL) == [b"q", b"c", b"d", b"r"]
    assert (len(outbox), outbox.queued_bytes) == (0, 0)


def test_frames_are_shared_not_copied() -> None:
    frame = bytes(1000)
    outbox = Outbox()
    outbox.put_queued(frame)
    assert outbox.take(1)[0] is frame


@pytest.mark.parametrize(
    ("bytes_max", "taken"),
    [(0, [b"aaaa"]), (4, [b"aaaa"]), (7, [b"aaaa"]), (8, [b"aaaa", b"bbbb"]), (ALL, [b"aaaa", b"bbbb", b"c"])],
)
def test_take_gives_at_least_one_frame_and_no_more_than_fit(bytes_max: int, taken: list[bytes]) -> None:
    outbox = small()
    for frame in (b"aaaa", b"bbbb", b"c"):
        outbox.put_queued(frame)
    assert outbox.take(bytes_max) == taken


def test_take_of_nothing_is_nothing() -> None:
    assert small().take(ALL) == []


def test_a_queue_over_its_bytes_overflows_and_stays_so_until_it_is_cleared() -> None:
    outbox = small()
    assert outbox.put_queued(b"12345")
    assert outbox.put_queued(b"67890")
    assert not outbox.put_queued(b"!")
    assert outbox.overflowed
    assert not outbox.put_control(b"r")
    assert not outbox.put_droppable(1, b"d")
    assert not outbox.put_conflated(1, "t", b"c")
    outbox.clear()
    assert outbox.put_control(b"last words")
    assert outbox.take(ALL) == [b"last words"]


@pytest.mark.parametrize(
    "put",
    [
        lambda outbox, frame: outbox.put_queued(frame),
        lambda outbox, frame: outbox.put_conflated(1, "t", frame),
        lambda outbox, frame: outbox.put_droppable(1, frame),
        lambda outbox, frame: outbox.put_control(frame),
    ],
    ids=["queued", "conflated", "droppable", "control"],
)
def test_a_frame_larger_than_its_bound_goes_through_where_nothing_of_its_sort_waits(
    put: Callable[[Outbox, bytes], bool],
) -> None:
    outbox = small()
    assert put(outbox, bytes(100))
    assert outbox.take(1) == [bytes(100)]


def test_a_newer_event_of_a_type_takes_the_place_of_the_waiting_one_at_its_own_place() -> None:
    tally = OutboxTally()
    outbox = Outbox(tally)
    outbox.put_conflated(1, "gold", b"gold 1")
    outbox.put_conflated(1, "oil", b"oil 2")
    outbox.put_conflated(2, "gold", b"other gold 1")
    outbox.put_conflated(1, "gold", b"gold 3")
    assert outbox.take(ALL) == [b"oil 2", b"other gold 1", b"gold 3"]
    assert tally.conflated == 1


def test_an_event_that_was_taken_is_not_conflated_with_the_next() -> None:
    tally = OutboxTally()
    outbox = Outbox(tally)
    outbox.put_conflated(1, "gold", b"1")
    assert outbox.take(ALL) == [b"1"]
    outbox.put_conflated(1, "gold", b"2")
    assert outbox.take(ALL) == [b"2"]
    assert tally.conflated == 0


def test_any_number_of_updates_to_a_silent_socket_holds_a_frame_a_type() -> None:
    outbox = Outbox()
    for n in range(20_000):
        assert outbox.put_conflated(1, f"type{n % 5}", b"%d" % n)
    assert len(outbox) == 5
    assert outbox.take(ALL) == [b"19995", b"19996", b"19997", b"19998", b"19999"]


def test_more_types_than_fit_overflow() -> None:
    outbox = small()
    assert outbox.put_conflated(1, "a", b"12345")
    assert outbox.put_conflated(1, "b", b"12345")
    assert outbox.put_conflated(1, "a", b"54321")
    assert not outbox.put_conflated(1, "c", b"1")


@pytest.mark.parametrize(
    ("frames", "left"),
    [
        ([b"1", b"2", b"3", b"4"], [b"2", b"3", b"4"]),
        ([b"1111", b"2222", b"3"], [b"2222", b"3"]),
        ([b"1", b"2", b"33333333"], [b"33333333"]),
        ([b"1", b"2" * 9], [b"2" * 9]),
        ([b"1" * 9, b"2"], [b"2"]),
    ],
)
def test_over_a_topics_bounds_its_oldest_frames_go(frames: list[bytes], left: list[bytes]) -> None:
    tally = OutboxTally()
    outbox = Outbox(tally, topic_frames_max=3, topic_bytes_max=8)
    outbox.put_droppable("other", b"stays")
    for frame in frames:
        assert outbox.put_droppable("match", frame)
    assert outbox.take(ALL) == [b"stays", *left]
    assert tally.dropped == len(frames) - len(left)


def test_droppable_frames_close_no_connection_however_many_topics_there_are() -> None:
    outbox = small()
    for topic in range(100):
        assert outbox.put_droppable(topic, b"12345678")
    assert outbox.put_queued(b"1234567890")


def test_replies_do_not_make_a_slow_consumer_of_a_member_with_events_to_come() -> None:
    outbox = small()
    assert outbox.put_control(b"x" * 20)
    assert outbox.put_queued(b"1234567890")
    assert not outbox.put_control(b"x")


def test_bytes_that_were_taken_no_longer_count_against_any_bound() -> None:
    outbox = small()
    for _ in range(10):
        assert outbox.put_control(b"x" * 15)
        assert outbox.put_queued(b"x" * 5)
        assert outbox.put_conflated(1, "t", b"x" * 5)
        assert outbox.put_droppable(1, b"x" * 5)
        assert len(outbox.take(ALL)) == 4


def test_room_and_low_water_follow_all_that_waits() -> None:
    outbox = small()
    assert (outbox.room, outbox.below_low_water) == (10, True)
    outbox.put_control(b"123456")
    assert (outbox.room, outbox.below_low_water) == (4, False)
    outbox.put_queued(b"12345")
    assert (outbox.room, outbox.below_low_water) == (0, False)
    outbox.take(6)
    assert (outbox.room, outbox.below_low_water) == (5, True)


def test_outboxes_that_share_a_tally_add_up_and_take_themselves_out() -> None:
    tally = OutboxTally()
    one, other = Outbox(tally), Outbox(tally)
    one.put_queued(b"123")
    other.put_control(b"45")
    assert tally.queued_bytes == 5
    one.clear()
    assert tally.queued_bytes == 2
    other.take(ALL)
    assert tally.queued_bytes == 0


@dataclass(eq=False)
class Frame:
    sort: str
    topic: int
    type: str
    frame: bytes


class OutboxAgainstAList(RuleBasedStateMachine):
    """The model is a list that is searched from its head for whatever has to give way."""

    @initialize(
        bytes_max=st.integers(1, 30),
        control_bytes_max=st.integers(1, 30),
        topic_frames_max=st.integers(1, 4),
        topic_bytes_max=st.integers(1, 15),
    )
    def begin(self, bytes_max: int, control_bytes_max: int, topic_frames_max: int, topic_bytes_max: int) -> None:
        self.bounds = (bytes_max, control_bytes_max, topic_frames_max, topic_bytes_max)
        self.tally = OutboxTally()
        self.outbox = Outbox(
            self.tally,
            bytes_max=bytes_max,
            control_bytes_max=control_bytes_max,
            topic_frames_max=topic_frames_max,
            topic_bytes_max=topic_bytes_max,
        )
        self.waiting: list[Frame] = []
        self.overflowed = False
        self.conflated = self.dropped = self.made = 0

    def new(self, sort: str, topic: int, type_: str, size: int) -> Frame:
        self.made += 1
        return Frame(sort, topic, type_, b"%d" % self.made + b"." * size)

    def size(self, *sorts: str, topic: int | None = None) -> int:
        return sum(len(f.frame) for f in self.waiting if f.sort in sorts and topic in (None, f.topic))

    def admit(self, frame: Frame, bound: int, *sorts: str) -> bool:
        waiting = self.size(*sorts)
        if waiting and waiting + len(frame.frame) > bound:
            self.overflowed = True
        if not self.overflowed:
            self.waiting.append(frame)
        return not self.overflowed

    @rule(size=st.integers(0, 12))
    def put_queued(self, size: int) -> None:
        frame = self.new("queued", 0, "", size)
        fits = self.admit(frame, self.bounds[0], "queued", "conflated")
        assert self.outbox.put_queued(frame.frame) == fits

    @rule(size=st.integers(0, 12))
    def put_control(self, size: int) -> None:
        frame = self.new("control", 0, "", size)
        assert self.outbox.put_control(frame.frame) == self.admit(frame, self.bounds[1], "control")

    @rule(topic=st.integers(1, 2), type_=st.sampled_from("ab"), size=st.integers(0, 12))
    def put_conflated(self, topic: int, type_: str, size: int) -> None:
        frame = self.new("conflated", topic, type_, size)
        if not self.overflowed:
            older = [f for f in self.waiting if (f.sort, f.topic, f.type) == ("conflated", topic, type_)]
            self.conflated += len(older)
            self.waiting = [f for f in self.waiting if f not in older]
        fits = self.admit(frame, self.bounds[0], "queued", "conflated")
        assert self.outbox.put_conflated(topic, type_, frame.frame) == fits

    @rule(topic=st.integers(1, 2), size=st.integers(0, 12))
    def put_droppable(self, topic: int, size: int) -> None:
        frame = self.new("droppable", topic, "", size)
        assert self.outbox.put_droppable(topic, frame.frame) == (not self.overflowed)
        if self.overflowed:
            return
        self.waiting.append(frame)
        while True:
            of_topic = [f for f in self.waiting if f.sort == "droppable" and f.topic == topic]
            over = len(of_topic) > self.bounds[2] or self.size("droppable", topic=topic) > self.bounds[3]
            if len(of_topic) == 1 or not over:
                break
            self.waiting.remove(of_topic[0])
            self.dropped += 1

    @precondition(lambda self: self.waiting)
    @rule(bytes_max=st.integers(0, 40))
    def take(self, bytes_max: int) -> None:
        taken = [self.waiting.pop(0).frame]
        while self.waiting and sum(map(len, taken)) + len(self.waiting[0].frame) <= bytes_max:
            taken.append(self.waiting.pop(0).frame)
        assert self.outbox.take(bytes_max) == taken

    @precondition(lambda self: self.overflowed)
    @rule()
    def clear(self) -> None:
        self.outbox.clear()
        self.waiting.clear()
        self.overflowed = False

    @invariant()
    def counts_the_same(self) -> None:
        size = sum(len(f.frame) for f in self.waiting)
        assert (len(self.outbox), self.outbox.queued_bytes) == (len(self.waiting), size)
        assert self.tally == OutboxTally(size, self.conflated, self.dropped)
        assert self.outbox.overflowed == self.overflowed

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            assert self.outbox.take(ALL) == [f.frame for f in self.waiting]
            assert self.tally.queued_bytes == 0


TestOutboxAgainstAList = OutboxAgainstAList.TestCase
TestOutboxAgainstAList.settings = STATEFUL
