"""Publishers and subscribers that put a daemon under load until it dies, and find out afterwards what it kept.

Used by `test_kill_9`. They end by themselves when their connection does, and enter everything in a `Ledger`.
"""

import os
import random
from typing import Any

import httpx
import trio
from kill_ledger import Ledger, Name, Place, Seen
from phoenix_wire import Frame, Lost, PhoenixWire, Refused, connect

CHANNELS = ("room:lobby", "room:team/ä", "post:42", "post:43")
APP_URL = "/apps/chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
LOST = (Lost, Refused, OSError, httpx.TransportError)
PIPELINE = 8  # publishes of one socket that wait for their reply
BATCH = 25
ANSWER_WITHIN_S = 15.0  # on a machine that does much else
# Characters of an event's data: mostly about so many, now and then some thousand. In the longer runs enough for the
# log to begin new segments.
PAD = 200 if os.environ.get("POLYGLOT_TEST_FULL") == "1" else 20
PAD_MAX = 10_000
PAGE = 1000


class Source:
    """Makes events that are all different. Two sources use the same ids: they are told apart by their user."""

    def __init__(self, user: str | None, ledger: Ledger, rng: random.Random) -> None:
        self.user = user
        self.ledger = ledger
        self._rng = rng
        self._count = 0

    def next(self) -> tuple[Name, Any]:
        self._count += 1
        name = Name(self._rng.choice(CHANNELS), self.user, f"id-{self._count}")
        size = int(self._rng.paretovariate(1.1) * PAD)
        data = {"n": self._count, "by": self.user, "pad": "ü" * min(size, PAD_MAX)}
        self.ledger.send(name, data)
        return name, data


def _place(answer: Any, time: str) -> Place:
    return Place(answer["seq"], answer[time])


# --- over a WebSocket


async def publish_by_socket(port: int, source: Source) -> None:
    """Until the connection is lost."""
    ledger = source.ledger
    waiting: dict[str, Name] = {}
    room = trio.Semaphore(PIPELINE)

    def take(frame: Frame) -> None:
        if frame.event == "phx_reply" and (name := waiting.pop(frame.ref, None)) is not None:
            room.release()
            response = frame.payload["response"]
            if frame.payload["status"] == "ok":
                ledger.acknowledge(name, _place(response, "ts"), duplicate="duplicate" in response)
            else:
                ledger.refuse(name, response)

    try:
        async with connect(port, f"valid_token_{source.user}") as wire:
            for channel in CHANNELS:
                _ = (await wire.join(channel, {"self": False})).ok
            wire.on_frame = take
            while True:
                with trio.move_on_after(ANSWER_WITHIN_S) as patience:
                    await _room_or_end(room, wire)
                assert not patience.cancelled_caught, "a publish has no answer, and the connection lives"
                name, data = source.next()
                ref = wire.next_ref()
                waiting[ref] = name
                await wire.push(name.channel, "publish", {"type": "m", "data": data, "id": name.id}, ref=ref)
    except LOST:
        pass


async def _room_or_end(room: trio.Semaphore, wire: PhoenixWire) -> None:
    async with trio.open_nursery() as nursery:

        async def wait_for_end() -> None:
            await wire.end(60)
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait_for_end)
        await room.acquire()
        nursery.cancel_scope.cancel()
    if wire.closed is not None:
        raise Lost(wire.closed)


# --- over HTTP


def _as_user(source: Source) -> dict[str, str]:
    return KEY if source.user is None else {**KEY, "X-User-Id": source.user}


async def publish_one_by_one(url: str, source: Source) -> None:
    """Until the connection is lost."""
    try:
        async with httpx.AsyncClient(base_url=url, headers=_as_user(source), timeout=5) as client:
            while True:
                name, data = source.next()
                answer = await client.post(
                    f"{APP_URL}/channels/{_quoted(name.channel)}/publish",
                    json={"type": "m", "data": data, "id": name.id},
                )
                _take_result(source.ledger, name, answer.json() if answer.is_success else {"code": answer.text})
    except LOST:
        pass


async def publish_batches(url: str, source: Source) -> None:
    """Until the connection is lost."""
    try:
        async with httpx.AsyncClient(base_url=url, headers=_as_user(source), timeout=5) as client:
            while True:
                batch = [source.next() for _ in range(BATCH)]
                events = [{"channel": n.channel, "type": "m", "data": data, "id": n.id} for n, data in batch]
                answer = await client.post(f"{APP_URL}/publish", json={"events": events})
                assert answer.status_code == 200, answer.text
                for (name, _), result in zip(batch, answer.json()["results"], strict=True):
                    _take_result(source.ledger, name, result)
    except LOST:
        pass


def _take_result(ledger: Ledger, name: Name, result: Any) -> None:
    if "code" in result:
        ledger.refuse(name, result)
    else:
        assert result["id"] == name.id
        ledger.acknowledge(name, _place(result, "timestamp"), duplicate="duplicate" in result)


def _quoted(channel: str) -> str:
    return channel.replace("/", "%2F")


# --- subscribers


class Subscriber:
    """Joins all channels, and after each loss of its connection goes on where it was."""

    def __init__(self, user: str) -> None:
        self._user = user
        self.seen = {channel: Seen(channel) for channel in CHANNELS}
        self.wire: PhoenixWire | None = None

    async def run(self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until the connection is lost; `started` when it joined. What is wrong in what comes raises."""
        try:
            async with connect(port, f"valid_token_{self._user}") as wire:
                self.wire = wire
                joins: dict[str, str] = {}
                wire.on_frame = lambda frame: self._take(frame, joins)
                for channel, seen in self.seen.items():
                    params = {"since": {"epoch": seen.epoch, "seq": seen.last}} if seen.epoch else {}
                    ref = wire.next_ref()
                    joins[ref] = channel
                    _ = (await wire.join(channel, params, ref=ref)).ok
                task_status.started()
                await wire.end(600)
        except LOST:
            pass

    def _take(self, frame: Frame, joins: dict[str, str]) -> None:
        if frame.event == "phx_reply" and frame.ref in joins:
            self.seen[joins.pop(frame.ref)].joined(frame.payload["response"])
        elif frame.event == "event":
            self.seen[frame.topic].event(frame.payload)
        else:
            assert frame.event not in ("phx_error", "phx_close"), frame

    async def has_all(self, heads: dict[str, int]) -> None:
        """Wait until it saw everything up to these seqs."""
        with trio.fail_after(10):
            while any(self.seen[channel].last < head for channel, head in heads.items()):
                assert self.wire is not None
                assert self.wire.closed is None, self.wire.closed
                await self.wire.news()


# --- events of a memory kind, which are metered


class Metered:
    """How many were sent, and when they were acknowledged: all of the same size."""

    DATA = "tick"
    BYTES = 6  # of that, as it is sent
    PAUSE_S = 0.02  # it is there to be counted, not to keep the others from their turn
    # A meter is written once a second; on a busy machine a moment later, and with what was published before it.
    KEPT_AFTER_S = 5.0

    def __init__(self) -> None:
        self.sent = 0
        self.kept = 0  # acknowledged, and surely in a meter
        self._acknowledged: list[tuple[float, int]] = []

    async def publish(self, url: str) -> None:
        """Until the connection is lost."""
        events = [{"channel": "match:ticks", "type": "m", "data": self.DATA}] * 5
        try:
            async with httpx.AsyncClient(base_url=url, headers=KEY, timeout=5) as client:
                while True:
                    self.sent += len(events)
                    answer = await client.post(f"{APP_URL}/publish", json={"events": events})
                    assert all("seq" in result for result in answer.json()["results"]), answer.text
                    self._acknowledged.append((trio.current_time(), len(events)))
                    await trio.sleep(self.PAUSE_S)
        except LOST:
            pass

    def killed(self, at: float) -> None:
        """The daemon was, then. What was acknowledged long enough before is kept, and the rest may be."""
        self.kept += sum(count for when, count in self._acknowledged if when <= at - self.KEPT_AFTER_S)
        self._acknowledged.clear()  # also answers that were read later than that

    def drained(self) -> None:
        """Everything is kept."""
        self.kept += sum(count for _, count in self._acknowledged)
        self._acknowledged.clear()


# --- after a restart


async def read_history(client: httpx.AsyncClient, ledger: Ledger) -> dict[str, int]:
    """Read on in every channel, from where the ledger knows it; where each stands."""
    heads = {}
    for channel in CHANNELS:
        while True:
            url = f"{APP_URL}/channels/{_quoted(channel)}/history"
            answer = await client.get(url, params={"after": ledger.head(channel), "limit": PAGE})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            ledger.take_page(channel, page)
            if not page["more"]:
                break
        assert page["seq"] == ledger.head(channel), f"{channel} stands at {page['seq']}, and not all of it is there"
        heads[channel] = page["seq"]
    return heads


async def repeat(
    client: httpx.AsyncClient, port: int, ledger: Ledger, names: list[Name], by_socket: set[str]
) -> None:
    """Publish the same ids again, each as its first publisher did."""
    users = {name.user for name in names}
    for user in users:
        own = [name for name in names if name.user == user]
        if user in by_socket:
            async with connect(port, f"valid_token_{user}") as wire:
                for channel in {name.channel for name in own}:
                    _ = (await wire.join(channel)).ok
                for name in own:
                    answer = await wire.ask(name.channel, "publish", _event(ledger, name))
                    ledger.repeated(name, _place(answer.ok, "ts"), duplicate=answer.ok.get("duplicate", False))
        else:
            events = [{"channel": name.channel, **_event(ledger, name)} for name in own]
            for start in range(0, len(events), PAGE):
                headers = {} if user is None else {"X-User-Id": user}
                body = {"events": events[start : start + PAGE]}
                results = await client.post(f"{APP_URL}/publish", json=body, headers=headers)
                assert results.status_code == 200, results.text
                for name, result in zip(own[start:], results.json()["results"], strict=False):
                    assert "code" not in result, result
                    ledger.repeated(name, _place(result, "timestamp"), duplicate=result.get("duplicate", False))


def _event(ledger: Ledger, name: Name) -> dict[str, Any]:
    return {"type": "m", "data": ledger.sent[name], "id": name.id}
