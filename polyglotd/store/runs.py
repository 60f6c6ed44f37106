"""Numbers in runs: first and last of those that follow each other. Called by the makes of the webhook queue. Pure."""

from collections.abc import Sequence


def gaps(kept: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """What lies between first and last and in none of the kept runs, which are sorted."""
    found = []
    for start, end in kept:
        if start > last:
            break
        if start > first:
            found.append((first, start - 1))
        first = max(first, end + 1)
    if first <= last:
        found.append((first, last))
    return found
