"""History of a daemon is one list, whatever of it lies in window, log and store: compared with a list.

The channel is larger than its window (1 MiB), and shorter in `history_events` than what the store keeps. It is read
while it grows, so while the store is behind, and again after a kill, when the window is a new one.
"""

from datetime import UTC, datetime
from random import Random
from typing import Any

import trio
from daemon_process import DaemonProcess
from phoenix_wire import PhoenixWire, connect
from tenants import Operator, Tenant

from polyglotd.model import Event, envelope_bytes

CHANNEL = "room:seams"
EVENTS = 240
RESUMABLE = 200  # history_events
LARGE = "x" * 40_000
PAGE_BYTES = 1 << 20


def page_of(events: list[Event], query: dict[str, Any]) -> tuple[list[int], bool]:
    """The seqs of a page, and whether there are more, by the contract's words."""
    after = query.get("after")
    matching = [
        event
        for event in events
        if (after is None or event.seq > after)
        and event.seq < query.get("before", EVENTS + 1)
        and query.get("type") in (None, event.type)
        and query.get("from", 0) <= event.ts_us
        and event.ts_us < query.get("to", 1 << 62)
    ]
    page: list[int] = []
    size = 0
    for event in matching if after is not None else reversed(matching):
        size += envelope_bytes(event)
        if len(page) == query.get("limit", 100) or (page and size > PAGE_BYTES):
            break
        page.append(event.seq)
    return sorted(page), len(page) < len(matching)


def some_query(random: Random, events: list[Event], *, filtered: bool) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for name in ("after", "before"):
        if random.random() < 0.5:
            query[name] = random.randint(0, len(events) + 3)
    if random.random() < 0.7:
        query["limit"] = random.choice([1, 7, 50, 1000])
    if filtered:
        if random.random() < 0.5:
            query["type"] = random.choice(["even", "odd", "never"])
        for name in ("from", "to"):
            if random.random() < 0.4:
                query[name] = random.choice(events).ts_us + random.choice([0, 1])
    return query


async def publish(operator: Operator, tenant: Tenant, events: list[Event], count: int) -> None:
    for _ in range(count):
        number = len(events) + 1
        type_ = "odd" if number % 2 else "even"
        data = LARGE if number % 7 == 0 else str(number)
        sent = await operator.publish(tenant, CHANNEL, data, type_)
        ts_us = int(datetime.fromisoformat(sent["timestamp"]).timestamp() * 1_000_000 + 0.5)
        text = f'"{data}"'.encode()
        events.append(Event(sent["id"], tenant.app_id, CHANNEL, "", sent["seq"], type_, text, None, ts_us))
        assert sent["seq"] == number


async def check_http(operator: Operator, tenant: Tenant, events: list[Event], query: dict[str, Any]) -> None:
    asked = {
        name: f"{datetime.fromtimestamp(value // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{value % 1_000_000:06d}Z"
        if name in ("from", "to")
        else value
        for name, value in query.items()
    }
    found = await operator.history(tenant, CHANNEL, **asked)
    seqs = [event["seq"] for event in found["events"]]
    assert (seqs, found["more"]) == page_of(events, query), query
    assert [event["id"] for event in found["events"]] == [events[seq - 1].id for seq in seqs]
    assert found["seq"] == len(events)


async def check_push(client: PhoenixWire, events: list[Event], query: dict[str, Any]) -> None:
    found = (await client.ask(CHANNEL, "history", query)).ok
    assert ([event["seq"] for event in found["events"]], found["more"]) == page_of(events, query), query


async def check_resume(daemon: DaemonProcess, tenant: Tenant, epoch: str, since: int) -> None:
    """All after `since`, in order and once, where history reaches back so far; else the newest, and it is told."""
    async with connect(daemon.port, tenant.token("resumer"), app_id=tenant.app_id) as client:
        reply = (await client.join(CHANNEL, {"since": {"epoch": epoch, "seq": since}})).ok
        seqs = [event["seq"] for event in reply["events"]]
        recovered = since >= EVENTS - RESUMABLE
        assert reply["recovered"] == recovered, since
        while seqs and seqs[-1] < EVENTS:
            seqs.append((await client.event(CHANNEL)).payload["seq"])
        if recovered:
            assert seqs == list(range(since + 1, EVENTS + 1))
        else:
            assert seqs == list(range(seqs[0], EVENTS + 1))
            assert 1 <= len(seqs) <= 100


async def test_history_has_one_order_and_no_seam(own_daemon: DaemonProcess) -> None:
    random = Random(5)
    events: list[Event] = []
    async with Operator(own_daemon) as operator:
        tenant = await operator.create("seams")
        await operator.ask("PATCH", "/admin/apps/seams/kinds/room", {"history_events": RESUMABLE})
        async with connect(own_daemon.port, tenant.token("reader"), app_id="seams") as client:
            epoch = (await client.join(CHANNEL)).ok["epoch"]
            while len(events) < EVENTS:
                await publish(operator, tenant, events, 12)
                await check_http(operator, tenant, events, some_query(random, events, filtered=True))
                await check_push(client, events, some_query(random, events, filtered=False))
        await trio.to_thread.run_sync(own_daemon.restart)
    async with Operator(own_daemon) as operator:
        for _ in range(20):
            await check_http(operator, tenant, events, some_query(random, events, filtered=True))
        async with connect(own_daemon.port, tenant.token("reader"), app_id="seams") as client:
            await client.join(CHANNEL)
            for _ in range(20):
                await check_push(client, events, some_query(random, events, filtered=False))
        for since in (0, EVENTS - RESUMABLE - 1, EVENTS - RESUMABLE, 60, EVENTS - 5, EVENTS):
            await check_resume(own_daemon, tenant, epoch, since)
