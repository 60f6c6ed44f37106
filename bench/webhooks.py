"""Webhooks: events a second to one healthy endpoint, and from publish to arrival, with twenty dead ones beside it.

Promised: at least 5,000 events/s, p99 from publish to arrival at most 1 s. Ten of the dead endpoints refuse the
connection, ten take it and never answer. Publisher and receiver are this process; an event's data is when it was
published.
"""

import os
import time
from collections.abc import Sequence

import httpx
import msgspec
import trio

from bench.daemon import Server, polyglotd
from polyglotctl.bench.cpu_time import busy, others_busy

RATE = 5_500  # events a second that are published
BATCH = 250
CHANNELS = 50
DEAD = 20
APP = "chat-app"
KEY = {"X-API-Key": "valid_key_chat-app"}
QUOTA = {"api_publishes": 1_000_000}


class _Event(msgspec.Struct):
    data: int


class _Item(msgspec.Struct):
    id: str
    event: _Event


class _Message(msgspec.Struct):
    data: list[_Item]


_decode = msgspec.json.Decoder(_Message).decode


class Receiver:
    """Answers 204 and keeps how long each event took."""

    def __init__(self) -> None:
        self.took_us: list[int] = []
        self.ids: set[str] = set()
        self.messages = 0
        self.last_s = 0.0

    async def serve(self, stream: trio.SocketStream) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                if not (data := await stream.receive_some(1 << 18)):
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(buffer) < length:
                buffer += await stream.receive_some(1 << 18)
            body, buffer = buffer[:length], buffer[length:]
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            self._take(body)

    def _take(self, body: bytes) -> None:
        now_us = time.time_ns() // 1000
        self.messages += 1
        for item in _decode(body).data:
            if item.id not in self.ids:
                self.ids.add(item.id)
                self.took_us.append(now_us - item.event.data)
        self.last_s = time.perf_counter()


async def _hang(stream: trio.SocketStream) -> None:
    while await stream.receive_some(1 << 16):
        pass


def run(*, long: bool) -> bool:
    """Measure, print, and say whether both promises hold."""
    os.environ["POLYGLOTD_WEBHOOKS__ALLOW_PRIVATE"] = "true"
    os.environ.setdefault("POLYGLOTD_PROCESSOR__PROCESS", "own")  # as in production
    before = busy([])
    with polyglotd(quota=QUOTA) as server:
        took_us, events, rate, messages = trio.run(_measure, server, 60.0 if long else 15.0)
    after = busy([])
    took = sorted(took_us)
    p50, p99, p999 = (_percentile(took, share) / 1000 for share in (0.5, 0.99, 0.999))
    print(f"webhooks: {events:,} events published at {RATE:,}/s, one endpoint well, {DEAD} dead")
    print(f"  arrived {len(took):,} in {messages:,} messages, {rate:,.0f} events/s")
    print(f"  from publish to arrival: p50 {p50:.0f} ms, p99 {p99:.0f}, p99.9 {p999:.0f}, most {took[-1] / 1000:.0f}")
    print(f"  others kept {others_busy(before, after):.2f} cores busy")
    return len(took) == events and rate >= 5_000 and p99 <= 1_000


def _percentile(in_order: Sequence[int], share: float) -> int:
    return in_order[min(len(in_order) - 1, int(share * len(in_order)))]


async def _measure(server: Server, seconds: float) -> tuple[list[int], int, float, int]:
    receiver = Receiver()
    url = f"http://{server.host}:{server.port}"
    assert server.data is not None
    admin = {"Authorization": f"Bearer {(server.data / 'admin.token').read_text().strip()}"}
    async with trio.open_nursery() as nursery, httpx.AsyncClient(base_url=url, timeout=30) as client:
        ports = {}
        for name, serve in (("well", receiver.serve), ("hangs", _hang)):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            ports[name] = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, serve, [listener])
        refusing = trio.socket.socket()
        await refusing.bind(("127.0.0.1", 0))  # and does not listen
        ports["refuses"] = refusing.getsockname()[1]
        for name in ("well", *["hangs", "refuses"] * (DEAD // 2)):
            body = {"url": f"http://127.0.0.1:{ports[name]}/hook"}
            made = await client.post(f"/admin/apps/{APP}/webhooks", json=body, headers=admin)
            made.raise_for_status()
        await _publish(client, 2.0)  # the dead ones are found dead, caches warm
        await _arrived(receiver, None)
        receiver.took_us.clear()
        receiver.messages = 0
        began_s = time.perf_counter()
        events = await _publish(client, seconds)
        await _arrived(receiver, events)
        rate = len(receiver.took_us) / (receiver.last_s - began_s)
        nursery.cancel_scope.cancel()
        refusing.close()
    return receiver.took_us, events, rate, receiver.messages


async def _publish(client: httpx.AsyncClient, seconds: float) -> int:
    """In step with the clock: a slow answer delays those behind it, which then come at once."""
    began_s = trio.current_time()
    batches = int(RATE * seconds / BATCH)
    for number in range(batches):
        await trio.sleep_until(began_s + number * BATCH / RATE)
        now_us = time.time_ns() // 1000
        body = {
            "events": [
                {"channel": f"room:bench-{n % CHANNELS}", "type": "message", "data": now_us} for n in range(BATCH)
            ]
        }
        answer = await client.post(f"/apps/{APP}/publish", content=msgspec.json.encode(body), headers=KEY | _JSON)
        answer.raise_for_status()
    return batches * BATCH


_JSON = {"Content-Type": "application/json"}


async def _arrived(receiver: Receiver, events: int | None) -> None:
    """All of them, or until nothing has come for some seconds."""
    quiet, seen = 0, -1
    while quiet < 100 and (events is None or len(receiver.took_us) < events):
        await trio.sleep(0.05)
        quiet = quiet + 1 if len(receiver.took_us) == seen else 0
        seen = len(receiver.took_us)
