"""The plane's contract, by chance: whatever joins, publishes, polls and slow history do, no member sees a gap.

Members are long-poll sessions, so that a test can hold each of them back at will. The model is one sentence: after a
join's reply a member gets every seq after the one it was told to stand at, in order, once, until its end.
"""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from plane_rig import APP, KINDS, MAKES, PATIENCE_S, Rig

from polyglotd.plane.interface import (
    VIRTUAL_CONN_FIRST,
    Backfill,
    Disconnected,
    Feed,
    Mail,
    NeedHistory,
    NewEpoch,
    OpenVirtual,
    PublishItem,
    TakeMail,
)

OpenRig = Callable[..., AbstractAsyncContextManager[Rig]]
pytestmark = pytest.mark.parametrize("open_rig", MAKES.values(), ids=MAKES.keys())

DATA = b'"%b"' % (b"x" * 60_000)  # a window holds some seventeen of these
CHANNELS = {"logged": "post:a", "memory": "queue:a"}


@dataclass
class Session:
    """A member, as its client sees it."""

    conn: int
    since: tuple[str, int] | None
    joined: bool = False
    over: bool = False
    epoch: str = ""
    seq: int = 0  # the last one seen

    def take(self, frame: Any) -> None:
        _, _, _, event, payload = frame
        assert not self.over
        if event == "phx_reply":
            response = payload["response"]
            self.joined, self.epoch = True, response["epoch"]
            seqs = [item["seq"] for item in response.get("events", [])]
            if response.get("recovered"):
                assert self.since is not None
                assert self.epoch == self.since[0]
                self.seq = self.since[1]
            else:  # a member that has nothing to resume begins where its events do, or at the channel's seq
                self.seq = seqs[0] - 1 if seqs else response["seq"]
            for seq in seqs:
                self.see(seq)
        elif event in ("phx_error", "system"):  # it has to join anew, or was too slow for what is live
            self.over = True
        else:
            assert event == "event"
            self.see(payload["seq"])

    def see(self, seq: int) -> None:
        assert self.joined
        assert seq == self.seq + 1, f"{seq} after {self.seq}"
        self.seq = seq


@dataclass
class World:
    rig: Rig
    channel: str
    epoch: str = "epoch1"
    seq: int = 0
    sessions: list[Session] = field(default_factory=list)

    async def publish(self, count: int) -> None:
        item = PublishItem(self.rig.open(self.channel), "m", DATA, None, None)
        await self.rig.publish(*[item] * count)
        self.seq += count

    def join(self, back: int | None, history: int | None) -> None:
        since = None if back is None else (self.epoch, max(0, self.seq - back))
        session = Session(VIRTUAL_CONN_FIRST + len(self.sessions), since)
        self.sessions.append(session)
        params: dict[str, Any] = {} if since is None else {"since": {"epoch": since[0], "seq": since[1]}}
        if history is not None:
            params["history"] = history
        frame = json.dumps(["1", "1", self.channel, "phx_join", params]).encode()
        self.rig.submit(OpenVirtual(session.conn, APP, "ann", "phoenix-2.0.0"), Feed(session.conn, [frame], False))

    async def poll(self, place: int, bytes_max: int) -> bool:
        """Whether there was anything."""
        session = self.sessions[place % len(self.sessions)]
        if any(gone.conn == session.conn for gone in self.rig.all_heard(Disconnected)):
            session.over = True
            return False
        self.rig.submit(TakeMail(session.conn, session.conn, bytes_max))
        frames = (await self.rig.heard(Mail, request=session.conn)).frames
        for frame in frames:
            session.take(json.loads(frame))
        return bool(frames)

    async def answer_history(self, gone: bool) -> bool:
        """Answer the oldest question of the plane, if there is one."""
        asked = self.rig.all_heard(NeedHistory)
        if not asked:
            return False
        need = await self.rig.heard(NeedHistory, sub=asked[0].sub)
        if gone:
            self.rig.submit(Backfill(need.conn, need.sub, [], gone=True))
        else:
            self.rig.backfill(need)
        return True

    def new_epoch(self) -> None:
        self.epoch += "x"
        self.seq = 0
        self.rig.submit(NewEpoch(self.rig.open(self.channel), self.epoch))

    async def settle(self) -> None:
        """Let everything come to rest: then each member that is not over stands where the channel does."""
        with trio.fail_after(PATIENCE_S):
            busy = True
            while busy:
                await self.rig.at_rest()
                busy = await self.answer_history(gone=False)
                for place in range(len(self.sessions)):
                    busy |= await self.poll(place, 1 << 20)
        for session in self.sessions:
            if not session.over:
                assert session.joined
                assert (session.epoch, session.seq) == (self.epoch, self.seq)


STEPS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 12)),
    st.tuples(st.just("join"), st.none() | st.integers(0, 60), st.none() | st.integers(0, 40)),
    st.tuples(st.just("poll"), st.integers(0, 5), st.sampled_from([1, 200_000, 1 << 20])),
    st.tuples(st.just("answer_history"), st.sampled_from([False, False, False, True])),
    st.tuples(st.just("new_epoch")),
)


@pytest.mark.parametrize("durability", CHANNELS)
@given(steps=st.lists(STEPS, max_size=25))
@settings(max_examples=40, deadline=None)
async def test_no_member_ever_sees_a_gap_or_an_event_twice(
    open_rig: OpenRig, durability: str, steps: list[tuple[Any, ...]]
) -> None:
    async with open_rig() as rig:
        del rig.automatic[NeedHistory]
        # Polls are rare here: only what a resume is given may pile up, never the bound of a slow consumer's events.
        rig.policies["queue"] = msgspec.structs.replace(KINDS["queue"], history_events=1_000)
        world = World(rig, CHANNELS[durability])
        for name, *arguments in steps:
            if name == "publish":
                await world.publish(*arguments)
                for place in range(len(world.sessions)):
                    await world.poll(place, 300_000)
            elif name == "join":
                world.join(*arguments)
            elif name == "answer_history":
                await world.answer_history(*arguments)
            elif name == "new_epoch":
                world.new_epoch()
            elif world.sessions:
                await world.poll(*arguments)
            await rig.at_rest()
        await world.settle()
