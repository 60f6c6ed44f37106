"""Sketches that are put together from users' marks, against those that the library makes of the same users."""

import pytest

from polyglotd.store.user_sketch import EXACT_MAX, both, count, count_all, mark_of, of_marks, with_users


def made(users: list[str]) -> bytes:
    return of_marks(b"".join(mark_of(user).to_bytes(4, "little") for user in users), len(users))


def names(first: int, end: int) -> list[str]:
    return [f"user-{number}" for number in range(first, end)]


def test_a_sketch_of_marks_is_one_that_the_library_would_make() -> None:
    for many in range(EXACT_MAX + 1):
        users = names(0, many)
        sketch = made(users)
        library, counted = with_users(b"", users)
        assert (len(sketch), count(sketch)) == (len(library), counted) == (len(library), many)
        assert sketch[:8] == library[:8]
        # The same users: together they are no more.
        assert both(sketch, library)[1] == many


def test_what_is_beyond_the_exact_is_the_librarys() -> None:
    assert with_users(b"", names(0, EXACT_MAX))[0][7] & 3 == 1  # a set still
    assert with_users(b"", names(0, EXACT_MAX + 1))[0][7] & 3 == 2  # registers


@pytest.mark.parametrize("first", [0, 1, 7, 200, 384, 2_000])
@pytest.mark.parametrize("second", [0, 1, 8, 300])
def test_two_sketches_together_have_each_user_once(first: int, second: int) -> None:
    one = with_users(b"", names(0, first))[0]
    other = made(names(first // 2, first // 2 + second))
    true = max(first, first // 2 + second) if second else first
    for a, b in ((one, other), (other, one)):
        sketch, counted = both(a, b)
        assert counted == count(sketch) == count_all([a, b])
        assert abs(counted - true) <= (0 if true <= EXACT_MAX else true * 0.05)


def test_a_mark_tells_users_apart_and_is_never_nobodys() -> None:
    marks = {mark_of(user) for user in names(0, 20_000)}
    assert len(marks) > 19_990
    assert 0 not in marks
    assert mark_of("ann") == mark_of("ann") != mark_of("bob")
