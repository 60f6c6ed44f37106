"""Analytics of the gateway: which level answers, how rows become steps, what is refused."""

import pytest
from gateway_rig import BEGUN_US, Rig
from trio.testing import MockClock

from polyglotd.gateway.analytics import AnalyticsPage, AnalyticsRequest
from polyglotd.gateway.time_steps import parse_step
from polyglotd.model import Forbidden, Invalid, Unavailable
from polyglotd.model.latency import Latency
from polyglotd.store.analytics import DAY, HOUR, MINUTE, SECOND, Progress, RollupRow
from polyglotd.store.user_sketch import with_users

NOW_S = BEGUN_US // 1_000_000  # 2023-11-14T22:13:20Z
MINUTE_S = NOW_S - NOW_S % 60


def row(ts: int, events: int = 1, users: tuple[str, ...] = (), *, unnamed: bool = False, **more: object) -> RollupRow:
    sketch, count = with_users(b"", users)
    fields = {"bytes": events * 10, "publishers": count + unnamed, "unique_users": count, "users": sketch}
    return RollupRow(ts, events, **(fields | more))  # type: ignore[arg-type]


async def ask(rig: Rig, step: str | None = None, channel: str | None = None, **times: int | None) -> AnalyticsPage:
    """`from_s`, `to_s`."""
    given = {name.replace("_s", "_us"): None if at is None else at * 1_000_000 for name, at in times.items()}
    request = AnalyticsRequest(channel=channel, step=None if step is None else parse_step(step), **given)
    return await rig.gateway.analytics(await rig.key_caller(), request)


async def test_it_is_the_last_hour_by_minute_where_nothing_else_is_asked(autojump_clock: MockClock, rig: Rig) -> None:
    rig.rollups.rows["demo", None, MINUTE] = [
        row(MINUTE_S - HOUR, 99),
        row(MINUTE_S - 59 * 60, 1),
        row(MINUTE_S, 2),
    ]
    page = await ask(rig)
    assert (page.step.name, page.from_s, page.to_s) == ("1m", MINUTE_S - 59 * 60, MINUTE_S + 60)
    assert [point.ts for point in page.series] == list(range(page.from_s, page.to_s, 60))
    assert [point.events for point in page.series] == [1, *[0] * 58, 2]
    assert page.total.events == 3


async def test_steps_are_put_together_from_the_rows_of_their_level(autojump_clock: MockClock, rig: Rig) -> None:
    start = MINUTE_S - MINUTE_S % 900
    slower = Latency(70, {10: 1, 30: 4})
    rig.rollups.rows["demo", None, MINUTE] = [
        row(start, 2, ("ann", "bob"), deliveries=5, connections_peak=3, latency=Latency(30, {10: 2})),
        row(
            start + 60,
            3,
            ("bob",),
            unnamed=True,
            deliveries=7,
            connections_peak=9,
            latency=slower,
        ),
        row(start + 900, 1, ("cleo",), connections_peak=1),
    ]
    page = await ask(rig, "15m", from_s=start + 30, to_s=start + 901)
    first, second = page.series
    assert (first.events, first.bytes, first.deliveries, first.connections_peak) == (5, 50, 12, 9)
    assert (first.unique_users, first.publishers) == (2, 3)
    assert first.latency == Latency(100, {10: 3, 30: 4})
    assert (second.ts, second.events, second.unique_users, second.publishers) == (start + 900, 1, 1, 1)
    assert (page.total.events, page.total.unique_users, page.total.publishers) == (6, 3, 4)
    assert (page.total.connections_peak, page.total.latency) == (9, Latency(100, {10: 3, 30: 4}))


@pytest.mark.parametrize(
    ("step", "level"), [("30s", SECOND), ("5m", MINUTE), ("2h", HOUR), ("week", DAY), ("month", DAY)]
)
async def test_the_coarsest_level_that_fits_answers(
    autojump_clock: MockClock, rig: Rig, step: str, level: int
) -> None:
    for each in (SECOND, MINUTE, HOUR, DAY):
        rig.rollups.rows["demo", None, each] = [row(NOW_S - NOW_S % each, each)]
    assert (await ask(rig, step)).total.events == level


@pytest.mark.parametrize(
    ("back_s", "step"),
    [(60, "1m"), (DAY, "1m"), (2 * DAY, "1h"), (10 * DAY, "1h"), (80 * DAY, "1d"), (1_000 * DAY, "1d")],
)
async def test_a_range_without_a_step_gets_one_that_is_kept_and_gives_a_picture(
    autojump_clock: MockClock, rig: Rig, back_s: int, step: str
) -> None:
    assert (await ask(rig, from_s=NOW_S - back_s)).step.name == step


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        pytest.param({"step": "1m", "from_s": NOW_S - 4 * DAY}, "from", id="minutes are not kept for so long"),
        pytest.param({"step": "1s", "from_s": NOW_S - 4 * HOUR}, "from", id="seconds neither"),
        pytest.param({"step": "1s", "from_s": NOW_S - HOUR, "to_s": NOW_S + HOUR}, "step", id="too many steps"),
        pytest.param({"from_s": NOW_S, "to_s": NOW_S}, "to", id="nothing between from and to"),
        pytest.param({"from_s": NOW_S + 60}, "from", id="from the future to now"),
        pytest.param({"step": "month", "from_s": NOW_S, "to_s": 999_999_999_999}, "to", id="no calendar has it"),
        pytest.param({"channel": "ticker:a"}, "channel", id="a kind that is not logged"),
    ],
)
async def test_what_can_not_be_answered_is_refused_by_its_field(
    autojump_clock: MockClock, rig: Rig, asked: dict[str, object], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await ask(rig, **asked)  # type: ignore[arg-type]
    assert refused.value.field == field


async def test_a_channel_has_counts_of_its_own(autojump_clock: MockClock, rig: Rig) -> None:
    rig.rollups.rows["demo", "room:a", MINUTE] = [row(MINUTE_S, 7, ("ann",))]
    page = await ask(rig, channel="room:a")
    assert (page.total.events, page.total.unique_users) == (7, 1)
    assert (await ask(rig, channel="room:b")).total.events == 0


async def test_between_meters_as_many_connections_are_open_as_the_last_one_said(
    autojump_clock: MockClock, rig: Rig
) -> None:
    start = NOW_S - 100
    rig.rollups.rows["demo", None, SECOND] = [
        row(start - 50, 0, connections_peak=4),
        row(start + 3, 2),  # counted from the log, its meter came a second later
        row(start + 5, 0, connections_peak=6),
        row(start + 6, 0, connections_peak=0),
        row(start + 8, 0, connections_peak=1),
    ]
    page = await ask(rig, "1s", from_s=start, to_s=start + 12)
    assert [point.connections_peak for point in page.series] == [4, 4, 4, 4, 4, 6, 0, 0, 1, 1, 1, 1]
    later = await ask(rig, "1s", from_s=start + 60, to_s=start + 75)
    assert [point.connections_peak for point in later.series] == [1] * 9 + [0] * 6  # a minute without a word: gone
    ahead = await ask(rig, "1s", from_s=NOW_S - 1, to_s=NOW_S + 3)
    rig.rollups.rows["demo", None, SECOND].append(row(NOW_S - 1, 0, connections_peak=2))
    ahead = await ask(rig, "1s", from_s=NOW_S - 1, to_s=NOW_S + 3)
    assert [point.connections_peak for point in ahead.series] == [2, 2, 0, 0]


async def test_it_says_how_far_the_counting_has_come(autojump_clock: MockClock, rig: Rig) -> None:
    assert (await ask(rig)).counted_until_us == BEGUN_US  # everything that there is
    await rig.publish("room:a", b"1")
    assert (await ask(rig)).counted_until_us is None
    rig.rollups.counted = Progress(0, BEGUN_US - 7_000_000)
    assert (await ask(rig)).counted_until_us == BEGUN_US - 7_000_000


async def test_lost_rollups_are_said_to_be_lost(autojump_clock: MockClock, rig: Rig) -> None:
    rig.rollups.lost = True
    with pytest.raises(Unavailable):
        await ask(rig)


async def test_it_takes_a_key_that_may_read_and_no_users_token(autojump_clock: MockClock, rig: Rig) -> None:
    with pytest.raises(Forbidden):
        await rig.gateway.analytics(await rig.user_caller("ann"), AnalyticsRequest())
