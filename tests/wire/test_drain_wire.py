"""How the daemon leaves: SIGTERM tells everybody, closes them one after the other, and loses nothing; a second signal
ends it at once.
"""

import os
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
import trio
from daemon_process import DaemonProcess, daemon_process
from event_store_file import stored_events
from followers import EventStream, LongPoll
from phoenix_wire import Answer, Lost, PhoenixWire, connect

DRAIN_S = 1.5
ROOM = "room:drain"
MEMBERS = 40
KEY = {"X-API-Key": "valid_key_chat-app"}


@pytest.fixture
def draining() -> Iterator[DaemonProcess]:
    with daemon_process(env={"POLYGLOTD_DRAIN__SECONDS": str(DRAIN_S)}) as daemon:
        yield daemon


async def until_ended(daemon: DaemonProcess, within_s: float) -> int:
    with trio.fail_after(within_s):
        while daemon.alive:
            await trio.sleep(0.02)
    assert daemon.exit_code is not None
    return daemon.exit_code


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_drain_tells_everybody_and_closes_them_over_its_time(
    draining: DaemonProcess, sign: signal.Signals
) -> None:
    """Few are sent away within a moment; many, no faster than it takes others to take them over."""
    daemon = draining
    closed_at: list[float] = []
    joined = trio.Semaphore(0)
    told: list[str] = []

    async def member(number: int) -> None:
        async with connect(daemon.port, f"valid_token_u{number}") as wire:
            _ = (await wire.join(ROOM)).ok
            _ = (await wire.join(f"{ROOM}-{number}")).ok
            joined.release()
            for topic in (ROOM, f"{ROOM}-{number}"):
                notice = await wire.event(topic, "system")
                told.append(notice.payload["code"])
            closed = await wire.end(DRAIN_S + 2)
            assert closed.code == 1012, closed
            closed_at.append(trio.current_time())

    async with (
        httpx.AsyncClient(base_url=daemon.url) as client,
        trio.open_nursery() as nursery,
    ):
        assert (await client.get("/ready")).status_code == 200
        for number in range(MEMBERS):
            nursery.start_soon(member, number)
        for _ in range(MEMBERS):
            await joined.acquire()
        stream, poll = EventStream(), LongPoll(daemon.url, "chat-app", "valid_token_poller")
        await nursery.start(stream.run, f"{daemon.url}/apps/chat-app/channels/{ROOM}/events", KEY)
        await nursery.start(poll.run, ROOM)

        began = trio.current_time()
        os.kill(daemon.pid, sign)

        with trio.fail_after(1):
            while not await is_red(daemon):
                await trio.sleep(0.02)
        assert daemon.alive
        await stream.has(b"draining")
        await poll.has(b"draining")
        with pytest.raises(OSError):
            async with connect(daemon.port):
                pass
        code = await until_ended(daemon, DRAIN_S + 3)
        await stream.end()
        await poll.end()

    assert code == 0
    assert told == ["draining"] * 2 * MEMBERS
    assert len(closed_at) == MEMBERS
    first, last = min(closed_at) - began, max(closed_at) - began
    assert last < DRAIN_S + 1
    assert last - first > DRAIN_S / 3, "they were all sent away at once, to come back at once"


async def is_red(daemon: DaemonProcess) -> bool:
    """As a load balancer sees it (refused), and as one that asks on the admin socket does."""
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.data / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        ready = await client.get("/ready")
    assert ready.status_code == 200 or ready.json()["status"] == "draining"
    try:
        async with await trio.open_tcp_stream("127.0.0.1", daemon.port):
            return False
    except OSError:
        return ready.status_code == 503


async def test_publishes_during_a_drain_are_acknowledged_or_refused_and_the_acknowledged_stay(
    draining: DaemonProcess,
) -> None:
    daemon = draining
    answers: list[Answer] = []
    unanswered = 0

    async def publisher(number: int) -> None:
        nonlocal unanswered
        async with connect(daemon.port, f"valid_token_p{number}") as wire:
            _ = (await wire.join(ROOM)).ok
            await publish_until_closed(wire)
            assert (await wire.end()).code == 1012

    async def publish_until_closed(wire: PhoenixWire) -> None:
        nonlocal unanswered
        while True:
            sent = False
            try:
                ref = await wire.push(ROOM, "publish", {"type": "m"})
                sent = True
                answers.append(await wire.answer(ref))
            except Lost:
                unanswered += sent
                return
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(publisher, number)
        await trio.sleep(0.3)
        os.kill(daemon.pid, signal.SIGTERM)
    assert await until_ended(daemon, DRAIN_S + 3) == 0

    seqs = [answer.ok["seq"] for answer in answers if answer.status == "ok"]
    assert all(answer.refused["reason"] == "unavailable" for answer in answers if answer.status == "error")
    assert len(seqs) > 4
    daemon.start()
    async with httpx.AsyncClient(base_url=daemon.url, headers=KEY) as client:
        url = f"/apps/chat-app/channels/{ROOM}/history"
        events: list[int] = []
        while True:
            page = (await client.get(url, params={"after": len(events), "limit": 1000})).json()
            events += [event["seq"] for event in page["events"]]
            if not page["more"]:
                break
    assert events == list(range(1, len(events) + 1))
    assert set(seqs) <= set(events)
    assert len(events) - len(seqs) <= unanswered, "what nobody asked for or was refused is there"


async def test_what_was_accepted_is_in_the_store_when_the_daemon_has_ended(draining: DaemonProcess) -> None:
    daemon = draining
    batch = {"events": [{"channel": f"{ROOM}-{number % 10}", "type": "m"} for number in range(1000)]}
    accepted: set[str] = set()

    async def publish() -> None:
        response = await client.post("/apps/chat-app/publish", json=batch)
        accepted.update(result["id"] for result in response.json()["results"])

    async with httpx.AsyncClient(base_url=daemon.url, headers=KEY) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(10):  # faster than the store takes them
                nursery.start_soon(publish)
        os.kill(daemon.pid, signal.SIGTERM)
        assert await until_ended(daemon, DRAIN_S + 8) == 0
    assert len(accepted) == 10_000
    assert {event.id for event in stored_events(daemon.data)} == accepted


async def test_a_second_signal_stops_at_once_and_what_was_acknowledged_stays(draining: DaemonProcess) -> None:
    daemon = draining
    async with connect(daemon.port) as wire:
        _ = (await wire.join(ROOM)).ok
        published = (await wire.ask(ROOM, "publish", {"type": "m", "id": "kept"})).ok
        await twice(lambda: os.kill(daemon.pid, signal.SIGTERM))
        code = await until_ended(daemon, 1.5)
        assert code != -signal.SIGTERM, "it ended by itself"
        await wire.end()
    daemon.start()
    async with connect(daemon.port) as wire:
        joined = (await wire.join(ROOM, {"history": 10})).ok
        assert [(event["id"], event["seq"]) for event in joined["events"]] == [("kept", published["seq"])]


async def twice(signal_it: Callable[[], None]) -> None:
    signal_it()
    await trio.sleep(0.4)
    signal_it()
