"""Runs and spans against what they stand for: a position for each event."""

from bisect import bisect_left, bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.log import runs
from polyglotd.log.runs import JOINED_BYTES, Runs, Spans

sizes = st.integers(30, 40_000)  # of an event, and of what stands between two
events = st.lists(st.tuples(sizes, sizes), min_size=1, max_size=30)


def places(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where events begin and end."""
    found, position = [], 0
    for gap, size in gaps:
        found.append((position + gap, position + gap + size))
        position += gap + size
    return found


def runs_over(at: list[tuple[int, int]], first_seq: int) -> Runs:
    found = Runs(first_seq, *at[0])
    for seq, (start, end) in enumerate(at[1:], first_seq + 1):
        found.add(seq, start, end)
    return found


@given(gaps=events, first_seq=st.integers(1, 1 << 60), data=st.data())
def test_the_parts_of_a_tail_hold_each_event_once(
    gaps: list[tuple[int, int]], first_seq: int, data: st.DataObject
) -> None:
    at = places(gaps)
    head = first_seq + len(at) - 1
    tail = runs_over(at, first_seq)
    first = data.draw(st.integers(first_seq, head))
    last = data.draw(st.integers(first, head))
    seq = first
    for part in tail.parts(first, last, head):
        assert (part.first, part.first <= part.last) == (seq, True)
        for _ in range(part.first, part.last + 1):
            start, end = at[seq - first_seq]
            assert part.start <= start
            assert end <= part.stop
            seq += 1
        assert part.last == last or part.stop - part.start >= JOINED_BYTES or part.stop == at[seq - first_seq][0]
    assert seq == last + 1


@given(gaps=events, data=st.data())
def test_a_trimmed_tail_still_holds_all_that_stands_behind_the_floor(
    gaps: list[tuple[int, int]], data: st.DataObject
) -> None:
    at = places(gaps)
    tail = runs_over(at, 1)
    floors = sorted(data.draw(st.lists(st.integers(0, at[-1][1] - 1), min_size=1, max_size=4)))
    for floor in floors:
        tail.trim(floor)
        behind = bisect_left(at, (floor, 0))  # the first event that begins there
        assert tail.first_seq <= behind + 1
        if tail.first_start < floor:  # the store is within a run, or behind its last event
            following = tail.parts(tail.first_seq, len(at), len(at))[1:]
            assert not following or following[0].start > floor
            if behind < len(at):
                tail.begin_at(behind + 1, at[behind][0])
                assert (tail.first_seq, tail.first_start) == (behind + 1, at[behind][0])
        else:
            assert tail.first_seq == behind + 1
        if behind < len(at):
            assert tail.parts(behind + 1, len(at), len(at))[0].first == behind + 1


@given(gaps=events, data=st.data())
def test_trimmed_spans_hold_every_id_behind_the_floor(gaps: list[tuple[int, int]], data: st.DataObject) -> None:
    at = places(gaps)
    spans = Spans()
    for start, end in at:
        spans.add(start, end)
    floor = data.draw(st.integers(0, at[-1][1]))
    left = spans.trim(floor)
    newest_first = spans.newest_first()
    assert left == bool(newest_first)
    assert newest_first == sorted(newest_first, reverse=True)
    for start, end in at[bisect_right([end for _, end in at], floor) :]:
        assert any(span_start <= start and end <= span_end for span_start, span_end in newest_first)
    assert all(end > floor for _, end in newest_first)


def test_spans_keep_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "JOINED_BYTES", 1)
    spans = Spans()
    for number in range(1_000):
        spans.add(number * 10, number * 10 + 10)
        spans.keep_newest(7)
        assert len(spans.newest_first()) <= 14
        newest = [(at * 10, at * 10 + 10) for at in range(number, max(-1, number - 7), -1)]
        assert spans.newest_first()[:7] == newest
