"""A channel as Server-Sent Events, read with a client library (httpx-sse). The browser's is in test_chromium."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
from daemon_process import DaemonProcess
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

APP = "chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
PATIENCE_S = 10.0


class Channel:
    def __init__(self, http: httpx.AsyncClient, name: str) -> None:
        self._http = http
        self.path = f"/apps/{APP}/channels/{name}"

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            response = await self._http.post(
                f"{self.path}/publish", headers=KEY, json={"type": "message", "data": number}
            )
            assert response.status_code == 200, response.text

    async def place(self) -> tuple[str, int]:
        history = (await self._http.get(f"{self.path}/history", headers=KEY)).json()
        return history["epoch"], history["seq"]

    @asynccontextmanager
    async def follow(self, last_id: str = "", **headers: str) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        headers = headers or KEY
        if last_id:
            headers = headers | {"Last-Event-ID": last_id}
        async with aconnect_sse(self._http, "GET", f"{self.path}/events", headers=headers) as source:
            assert source.response.status_code == 200, await source.response.aread()
            assert source.response.headers["cache-control"] == "no-store"
            yield _messages(source)


async def _messages(source: EventSource) -> AsyncIterator[ServerSentEvent]:
    async for message in source.aiter_sse():
        if message.data:  # the first lines hold `retry` alone
            yield message


async def _next(messages: AsyncIterator[ServerSentEvent]) -> ServerSentEvent:
    with trio.fail_after(PATIENCE_S):
        return await anext(messages)


async def _events(messages: AsyncIterator[ServerSentEvent], count: int) -> list[Any]:
    received = [await _next(messages) for _ in range(count)]
    events = [message.json() for message in received]
    assert [message.event for message in received] == ["message"] * count
    assert [int(message.id.rpartition(":")[2]) for message in received] == [event["seq"] for event in events]
    return events


async def _rest(messages: AsyncIterator[ServerSentEvent]) -> list[Any]:
    """What comes before the stream ends, however it does."""
    events = []
    with suppress(httpx.HTTPError, StopAsyncIteration):
        while True:
            events.append((await _next(messages)).json())
    return events


@pytest.fixture
async def http(daemon: DaemonProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=PATIENCE_S) as client:
        yield client


async def test_events_come_with_their_envelope_and_epoch_and_seq_as_id(http: httpx.AsyncClient) -> None:
    channel = Channel(http, "room:sse-events")
    async with channel.follow() as messages:
        await channel.publish(1, 2)
        events = await _events(messages, 2)
    assert [(event["data"], event["seq"], event["type"]) for event in events] == [
        (1, 1, "message"),
        (2, 2, "message"),
    ]
    assert events[0]["channel"] == "room:sse-events"


async def test_last_event_id_goes_on_after_a_cut_without_a_gap(http: httpx.AsyncClient) -> None:
    channel = Channel(http, "room:sse-resume")
    async with channel.follow() as messages:
        await channel.publish(1, 2, 3)
        await _next(messages)
        last = (await _next(messages)).id
    await channel.publish(4, 5)
    async with channel.follow(last) as messages:
        await channel.publish(6)
        events = await _events(messages, 4)
    assert [event["data"] for event in events] == [3, 4, 5, 6]
    assert [event["seq"] for event in events] == [3, 4, 5, 6]


@pytest.mark.parametrize("last", ["another:1", "{epoch}:99", "nonsense"], ids=["epoch", "future", "nonsense"])
async def test_a_last_event_id_that_cannot_be_resumed_begins_with_reset(http: httpx.AsyncClient, last: str) -> None:
    channel = Channel(http, f"room:sse-reset-{last.strip('{}').partition(':')[0]}")
    await channel.publish(1, 2)
    epoch, seq = await channel.place()
    async with channel.follow(last.format(epoch=epoch)) as messages:
        reset = await _next(messages)
        assert (reset.event, json.loads(reset.data)) == ("reset", {"epoch": epoch, "seq": seq})


async def test_a_stream_outlives_its_daemon_by_its_last_id(own_daemon: DaemonProcess) -> None:
    async with httpx.AsyncClient(base_url=own_daemon.url, timeout=PATIENCE_S) as http:
        channel = Channel(http, "room:sse-kill")
        async with channel.follow() as messages:
            await channel.publish(1, 2)
            await _next(messages)
            last = (await _next(messages)).id
            await channel.publish(3)
            await trio.to_thread.run_sync(own_daemon.kill)
            assert [event["data"] for event in await _rest(messages)] in ([], [3])
    await trio.to_thread.run_sync(own_daemon.start)
    async with httpx.AsyncClient(base_url=own_daemon.url, timeout=PATIENCE_S) as http:
        channel = Channel(http, "room:sse-kill")
        async with channel.follow(last) as messages:
            await channel.publish(4)
            assert [event["data"] for event in await _events(messages, 2)] == [3, 4]


async def test_a_stream_asks_for_a_credential(http: httpx.AsyncClient) -> None:
    response = await http.get(f"/apps/{APP}/channels/room:sse-who/events")
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    channel = Channel(http, "room:sse-who")
    async with channel.follow(Authorization="Bearer valid_token_sid") as messages:
        await channel.publish(1)
        assert [event["data"] for event in await _events(messages, 1)] == [1]
