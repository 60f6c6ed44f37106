"""Tails of patterns and whole apps, with the Python plane, segment files and SQLite."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from gateway_rig import request
from test_gateway_real_parts import Node, open_node

from polyglotd.gateway import pattern_tails, tail_feed, tail_members
from polyglotd.gateway.pattern_tails import PatternTail
from polyglotd.gateway.requests import PublishRequest
from polyglotd.gateway.streams import StreamEnded
from polyglotd.log.interface import Erasure, LogSettings
from polyglotd.model import Invalid, PolicyOverride, UnknownChannelKind, now_us

PATIENCE_S = 10.0


class Reader:
    """Takes messages apart, and keeps the newest cursor."""

    def __init__(self, tail: PatternTail) -> None:
        self.tail = tail
        self.cursor = ""
        self.notices: list[str] = []
        self._events: list[Any] = []

    async def _more(self) -> None:
        for frame in await self.tail.frames(PATIENCE_S):
            message = json.loads(frame)
            self.cursor = message.get("cursor", self.cursor)
            if "event" in message:
                self._events.append({**message["event"], "cursor": message["cursor"]})
            else:
                self.notices.append(message["notice"]["code"])

    async def events(self, count: int) -> list[Any]:
        with trio.fail_after(PATIENCE_S):
            while len(self._events) < count:
                await self._more()
        taken, self._events = self._events[:count], self._events[count:]
        return taken

    async def seen(self, count: int) -> list[tuple[str, int]]:
        return [(event["channel"], event["data"]) for event in await self.events(count)]

    async def notice(self, code: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while code not in self.notices:
                await self._more()


@asynccontextmanager
async def tailing(node: Node, pattern: str, since: str | None = None) -> AsyncIterator[Reader]:
    caller = await node.gateway.operator("demo")
    async with node.gateway.open_tail(caller, pattern, since=since, request=request()) as tail:
        yield Reader(tail)


async def test_a_pattern_shows_its_channels_and_no_others(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "room:team-*") as reader:
        for channel in ("room:team-a", "room:lobby", "post:team-a", "room:team-b", "ticker:team-a"):
            await node.publish(channel, b"1")
        await node.publish("room:team-a", b"2")
        assert await reader.seen(3) == [("room:team-a", 1), ("room:team-b", 1), ("room:team-a", 2)]


async def test_a_whole_app_shows_logged_and_memory_kinds_and_topics_that_open_later(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        await node.publish("ticker:open", b"0")
        async with tailing(node, "*") as reader:
            seen: list[tuple[str, int]] = []
            for number in (1, 2):
                for channel in ("ticker:open", "ticker:later", "match:later", "room:a"):
                    await node.publish(channel, b"%d" % number)
                seen += await reader.seen(4)
            for channel in ("ticker:open", "ticker:later", "match:later", "room:a"):
                assert [data for name, data in seen if name == channel] == [1, 2]


async def test_it_resumes_from_any_cursor_over_a_restart_each_event_once(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "room:*") as reader:
        await reader.notice("position")
        begin = reader.cursor
        for number in range(30):
            await node.publish(f"room:{number % 3}", b"%d" % number)
        events = await reader.events(30)
    async with open_node(tmp_path) as node:
        await node.publish("room:0", b"30")
        for cursor, first in ((begin, 0), (events[9]["cursor"], 10), (events[29]["cursor"], 30)):
            async with tailing(node, "room:*", cursor) as reader:
                assert [data for _, data in await reader.seen(31 - first)] == list(range(first, 31))
                assert reader.notices == []


async def test_memory_kinds_can_not_be_resumed_and_it_says_so(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        async with tailing(node, "*") as reader:
            await reader.notice("position")
        await node.publish("ticker:x", b"1")
        await node.publish("room:x", b"1")
        for pattern in ("*", "ticker:*"):
            async with tailing(node, pattern, reader.cursor) as again:
                await again.notice("memory_not_resumed")
                await node.publish("ticker:x", b"2")
                expected = {("ticker:x", 2), ("room:x", 1)} if pattern == "*" else {("ticker:x", 2)}
                assert set(await again.seen(len(expected))) == expected


async def test_one_that_is_far_behind_reads_the_log_and_says_how_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_feed, "KEPT_BYTES_MAX", 20_000)
    monkeypatch.setattr(pattern_tails, "LAG_BYTES", 10_000)
    async with open_node(tmp_path) as node, tailing(node, "room:*") as slow, tailing(node, "*") as quick:
        data = [b'"%03d%b"' % (number, b"x" * 1_000) for number in range(400)]
        for first in range(0, 400, 50):
            await node.publish("room:a", *data[first : first + 50])
            await quick.events(50)
        assert slow.tail._feed.kept_from > slow.tail._position
        assert [event["seq"] for event in await slow.events(400)] == list(range(1, 401))
        assert "lagging" in slow.notices
        assert "lagging" not in quick.notices
        await node.publish("room:a", b"1")
        assert (await slow.events(1))[0]["seq"] == 401


async def test_it_holds_no_segment_and_says_what_is_gone(tmp_path: Path) -> None:
    async with open_node(tmp_path, LogSettings(segment_bytes=5_000)) as node:
        async with tailing(node, "room:*") as reader:
            await reader.notice("position")
            log = reader.tail._log
            for _ in range(40):
                await node.publish("room:a", b'"%b"' % (b"x" * 1_000))
            await node.caught_up()
            with trio.fail_after(PATIENCE_S):
                while log.begin == 0:
                    await trio.sleep(0.05)
        async with tailing(node, "room:*", reader.cursor) as again:
            await again.notice("missed")
            seqs = [event["seq"] for event in await again.events(1)]
            assert seqs[0] > 1
            await node.publish("room:a", b"1")
            rest = [event["seq"] for event in await again.events(41 - seqs[0])]
            assert seqs + rest == list(range(seqs[0], 42))
            assert (node.gateway.counters().tails, node.gateway.counters().tails_lagged) == (1, 1)
        assert node.gateway.counters().tails == 0


async def test_topics_that_it_alone_holds_open_are_let_go_and_come_back_without_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern_tails, "LET_GO_S", 0.05)
    async with open_node(tmp_path) as node, tailing(node, "match:*") as reader:
        ann = await node.client("ann")
        await ann.ask("match:held", "phx_join")
        for number in range(1, 6):
            await node.publish("match:idle", b"%d" % number)
            await node.publish("match:held", b"%d" % number)
            with trio.fail_after(PATIENCE_S):  # ann's, and the tail's beside her
                while node.gateway._plane.counters().subscriptions != 2:
                    await trio.sleep(0.02)
        seen = await reader.seen(10)
        for channel in ("match:idle", "match:held"):
            assert [data for name, data in seen if name == channel] == [1, 2, 3, 4, 5]
        assert reader.notices == ["position"]


async def test_nobody_sees_that_it_is_there(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "*") as reader:
        await node.publish("match:x", b"1")
        await reader.events(1)
        caller = await node.caller()
        assert (await node.gateway.channels(caller, prefix="", cursor=None, limit=10)).channels == []
        assert (await node.gateway.channel_info(caller, "match:x")).subscriptions == 0
        assert await node.gateway.presence(caller, "match:x") == {}
        assert (await node.gateway.usage(caller)).connections == 0


async def test_a_kind_that_changes_its_durability_goes_on(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "match:*") as reader:
        await node.publish("match:x", b"1")
        for number, durability in ((2, "logged"), (3, "memory"), (4, "memory")):
            await node.registry.set_kind("demo", "match", PolicyOverride(durability=durability))
            await node.gateway.registry_changed()
            await node.publish("match:x", b"%d" % number)
        assert sorted(data for _, data in await reader.seen(4)) == [1, 2, 3, 4]


async def test_memory_events_that_its_reader_is_too_slow_for_are_told(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        await node.registry.set_kind("demo", "queue", PolicyOverride(overflow="queue"))
        await node.gateway.registry_changed()
        async with tailing(node, "queue:*") as reader:
            for _ in range(60):
                await node.publish("queue:x", *[b'"%b"' % (b"x" * 10_000)] * 5)
            await reader.notice("lagging")
            await node.publish("queue:x", b'"end"')
            with trio.fail_after(PATIENCE_S):
                while (await reader.events(1))[0]["data"] != "end":
                    pass


async def test_a_dropping_kind_tells_how_many_were_passed_over(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "match:*") as reader:
        await node.publish("match:x", *[b"1"] * 900)
        await reader.notice("lagging")
        await node.publish("match:x", b'"end"')
        with trio.fail_after(PATIENCE_S):
            while (await reader.events(1))[0]["data"] != "end":
                pass


async def test_members_have_a_bound_which_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_members, "MEMBERS_MAX", 2)
    async with open_node(tmp_path) as node, tailing(node, "match:*") as reader:
        for number in range(3):
            await node.publish(f"match:{number}", b"1")
        await node.publish("match:0", b"2")
        assert await reader.seen(3) == [("match:0", 1), ("match:1", 1), ("match:0", 2)]
        await reader.notice("too_many_channels")


async def test_a_quiet_tail_gets_new_cursors_as_the_log_moves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern_tails, "QUIET_BYTES", 1_000)
    monkeypatch.setattr(pattern_tails, "QUIET_SAID_S", 0.0)
    monkeypatch.setattr(tail_feed, "QUIET_S", 0.05)
    async with open_node(tmp_path) as node, tailing(node, "post:*") as reader:
        await reader.notice("position")
        begin = reader.cursor
        reader.notices.clear()
        await node.publish("room:a", *[b"1"] * 50)
        await reader.notice("position")
        assert reader.cursor != begin
        await node.publish("post:a", b"1")
        assert await reader.seen(1) == [("post:a", 1)]


async def test_it_ends_with_its_app_and_with_the_server(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "*") as reader:
        await reader.notice("position")
        await node.registry.delete_app("demo", 1)
        await node.gateway.registry_changed()
        with pytest.raises(StreamEnded) as end:
            await reader.notice("never")
        assert end.value.code == 4003


@pytest.mark.parametrize(
    ("pattern", "since", "refusal"),
    [
        ("nokind:*", None, UnknownChannelKind),
        ("room*", None, Invalid),
        ("*:*", None, Invalid),
        ("room:*", "epoch:1", Invalid),
        ("room:*", "p44.log_ypyheerg1ppp.00000000", Invalid),
    ],
)
async def test_what_it_can_not_follow_is_refused(
    tmp_path: Path, pattern: str, since: str | None, refusal: type[Exception]
) -> None:
    async with open_node(tmp_path) as node:
        with pytest.raises(refusal):
            async with tailing(node, pattern, since):
                pass


async def test_a_cursor_of_another_log_begins_here_and_says_so(tmp_path: Path) -> None:
    async with open_node(tmp_path / "a") as node, tailing(node, "room:*") as reader:
        await reader.notice("position")
    async with open_node(tmp_path / "b") as node:
        await node.publish("room:a", b"1")
        async with tailing(node, "room:*", reader.cursor) as again:
            await again.notice("reset")
            await node.publish("room:a", b"2")
            assert await again.seen(1) == [("room:a", 2)]


async def test_a_fast_app_is_shown_at_the_pace_of_all_tails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern_tails, "MESSAGES_PER_S", 200)
    async with open_node(tmp_path) as node, tailing(node, "room:*") as one, tailing(node, "*") as another:
        await node.caller()
        begun = trio.current_time()
        results = await node.gateway.publish(
            await node.caller(), [PublishRequest("room:a", "m", b"1") for _ in range(60)]
        )
        assert len(results) == 60
        await one.events(60)
        await another.events(60)
        assert trio.current_time() - begun > 0.4


async def test_what_was_erased_is_a_tombstone_for_who_reads_it_later(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, tailing(node, "room:*") as slow:
        await slow.notice("position")
        await node.publish("room:a", b'"secret"', b'"kept"')
        async with tailing(node, "room:*", slow.cursor) as quick:
            assert await quick.seen(2) == [("room:a", "secret"), ("room:a", "kept")]
            log = slow.tail._log
            epoch = log.head("demo", "room:a").epoch
            log.erase(Erasure("er_1", "demo", "event", "room:a", epoch, 1, 1, None, now_us()))
            await node.publish("room:a", b'"new"')
            assert await quick.seen(1) == [("room:a", "new")]
        async with tailing(node, "room:*", slow.cursor) as again:
            events = await again.events(3)
            assert [(event["type"], event["data"]) for event in events] == [
                ("erased", None),
                ("message", "kept"),
                ("message", "new"),
            ]
