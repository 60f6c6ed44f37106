"""Which records of who is where are news, over reconnects, restarts and batches that come twice."""

import random

import pytest

from polyglotd.log.interface import PresenceChanged, PresenceWhat
from polyglotd.processor.webhooks.who_is_where import WhoIsWhere
from polyglotd.store.webhooks import Presences

EMPTY = Presences(rows={}, generations={})


def record(text: str) -> PresenceChanged:
    """`occupied app room:a`, `joined app room:a ann`, `unconfirmed`."""
    what, app_id, channel, user_id = (text.split(" ") + [""] * 4)[:4]
    chosen: PresenceWhat = what  # type: ignore[assignment]
    return PresenceChanged(chosen, app_id, channel, user_id, 7)


def take(who: WhoIsWhere, *texts: str, durable: bool = True) -> list[str]:
    batch = who.batch()
    news = [one for text in texts for one in batch.take(record(text))]
    if durable:
        who.apply(batch)
    return [" ".join(filter(None, (one.type, one.app_id, one.channel, one.user_id))) for one in news]


def test_the_first_and_the_last_are_news_and_repetitions_are_not() -> None:
    who = WhoIsWhere(EMPTY)
    assert take(who, "occupied a room:1", "joined a room:1 ann") == [
        "channel.occupied a room:1", "member.joined a room:1 ann",
    ]  # fmt: skip
    assert take(who, "occupied a room:1", "joined a room:1 ann") == []
    assert take(who, "left a room:1 ann", "vacated a room:1", "vacated a room:1") == [
        "member.left a room:1 ann", "channel.vacated a room:1",
    ]  # fmt: skip


def test_a_restart_tells_only_who_did_not_come_back() -> None:
    who = WhoIsWhere(EMPTY)
    take(who, "occupied a room:1", "occupied a room:2", "joined a room:2 ann", "occupied b room:1")
    assert take(who, "unconfirmed", "occupied a room:2", "occupied a room:3") == ["channel.occupied a room:3"]
    assert take(who, "settled") == [
        "channel.vacated a room:1",
        "member.left a room:2 ann",
        "channel.vacated b room:1",
    ]
    assert take(who, "settled") == []
    assert take(who, "vacated a room:2") == ["channel.vacated a room:2"]


def test_an_app_that_is_watched_anew_touches_no_other() -> None:
    who = WhoIsWhere(EMPTY)
    take(who, "occupied a room:1", "occupied b room:1")
    assert take(who, "unconfirmed a", "settled a") == ["channel.vacated a room:1"]
    assert take(who, "unconfirmed", "unconfirmed b", "occupied b room:1", "settled b", "settled") == []


def test_what_is_not_durable_is_told_again() -> None:
    who = WhoIsWhere(EMPTY)
    assert take(who, "unconfirmed", "occupied a room:1", durable=False) == ["channel.occupied a room:1"]
    assert take(who, "unconfirmed", "occupied a room:1") == ["channel.occupied a room:1"]


def test_a_forgotten_app_has_nobody() -> None:
    who = WhoIsWhere(EMPTY)
    take(who, "occupied a room:1", "unconfirmed a")
    batch = who.batch()
    batch.forget("a")
    assert [one.type for one in batch.take(record("occupied a room:1"))] == ["channel.occupied"]
    who.apply(batch)
    assert take(who, "occupied a room:1") == []


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_says_the_same_after_any_crash(seed: int) -> None:
    """The rows that a store would hold, at any point, go on exactly as memory does."""
    dice = random.Random(seed)
    who, kept = WhoIsWhere(EMPTY), EMPTY
    for _ in range(60):
        texts = [
            dice.choice(
                ["unconfirmed", "settled", "unconfirmed a", "settled b"]
                + [f"{what} {app} room:{n}" for what in ("occupied", "vacated") for app in "ab" for n in (1, 2)]
            )
            for _ in range(dice.randrange(1, 6))
        ]
        again = WhoIsWhere(kept)
        batch = again.batch()
        expected = take(who, *texts)
        assert [f"{one.type} {one.app_id} {one.channel}" for t in texts for one in batch.take(record(t))] == expected
        rows = dict(kept.rows)
        for step in batch.steps():
            key = (step.app_id, step.channel, step.user_id)
            if step.generation is None:
                rows.pop(key, None)
            else:
                rows[key] = step.generation
        kept = Presences(rows=rows, generations={**kept.generations, **batch.generations})
