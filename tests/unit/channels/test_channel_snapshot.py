"""The snapshot: the newest event of each type, as many types as the app allows."""

from channel_events import PROPERTY, event
from hypothesis import given
from hypothesis import strategies as st

from polyglotd.channels.snapshot import Snapshot

TYPES = st.lists(st.sampled_from("abcdefgh"), max_size=40)


def kept(snapshot: Snapshot) -> list[tuple[int, str]]:
    return [(e.seq, e.type) for e in snapshot.events()]


def test_a_type_that_speaks_again_outlives_one_that_was_silent() -> None:
    snapshot = Snapshot(types_max=2)
    for seq, type_ in enumerate(["gold", "oil", "gold", "tin"], start=1):
        snapshot.put(event(seq, type_=type_))
    assert kept(snapshot) == [(3, "gold"), (4, "tin")]


def test_a_smaller_bound_lets_the_oldest_go() -> None:
    snapshot = Snapshot(types_max=3)
    for seq, type_ in enumerate("abc", start=1):
        snapshot.put(event(seq, type_=type_))
    snapshot.rebound(1)
    assert kept(snapshot) == [(3, "c")]


def test_a_new_epoch_begins_from_nothing() -> None:
    snapshot = Snapshot(types_max=3)
    snapshot.put(event(1))
    snapshot.clear()
    assert len(snapshot) == 0


@PROPERTY
@given(types=TYPES, types_max=st.integers(1, 8))
def test_a_snapshot_is_the_newest_of_the_types_that_spoke_last(types: list[str], types_max: int) -> None:
    snapshot = Snapshot(types_max)
    for seq, type_ in enumerate(types, start=1):
        snapshot.put(event(seq, type_=type_))
    newest = {type_: seq for seq, type_ in enumerate(types, start=1)}
    assert kept(snapshot) == sorted((seq, type_) for type_, seq in newest.items())[-types_max:]
