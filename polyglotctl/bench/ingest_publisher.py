"""Publish events over the HTTP API in batches, over several connections, until all were admitted or one was refused.

What a rate or an absence holds back is sent again after the time that the server names, and counted; what is refused
for good (a quota, a rule) is counted and ends it: the events after it would be refused as well. Nothing is sent again
whose answer was lost: it may have been admitted.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from polyglotctl.api_path import segment
from polyglotctl.bench.request import Ingest
from polyglotctl.failure import RefusedByServer
from polyglotctl.http_client import HttpClient
from polyglotctl.pacing import Pacer
from polyglotctl.retrying import RETRIED
from polyglotctl.session import Session

CHANNEL_PREFIX = "bench-ingest-"
USER = "bench-ingest"  # of all that is published here, so that it can be erased at once
TYPE = "bench.ingest"
AGAIN_S_MIN = 0.02  # a rate that is used up lets some events in after each millisecond: not one call for each


@dataclass
class Sent:
    """Events. `held_back`: how often one had to wait, by why; `refused`: for good, by why, in `words`."""

    admitted: int = 0
    held_back: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    words: str = ""


class Publisher:
    """`run` is one connection's work; `sent` may be looked at meanwhile."""

    def __init__(self, session: Session, app_id: str, asked: Ingest) -> None:
        self._session = session
        self._path = f"/apps/{segment(app_id)}/publish"
        self._batches = _batches(_events(asked), asked.events, asked.batch)
        self._pacer = Pacer(asked.rate)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.sent = Sent()

    @contextmanager
    def running(self, connections: int) -> "Iterator[Sequence[Future[None]]]":
        """Publish in threads. When the block ends, so do they, with the batch that is under way."""
        with ThreadPoolExecutor(connections) as threads:
            try:
                yield [threads.submit(self._run) for _ in range(connections)]
            finally:
                self._ended.set()

    def _run(self) -> None:
        """Raises a `CommandFailed` where the server is away, or refuses a batch as such."""
        try:
            with self._session.http() as client:
                while batch := self._next():
                    self._send(client, batch)
        except BaseException:
            self._ended.set()
            raise

    def _next(self) -> "list[bytes]":
        with self._lock:
            batch = next(self._batches, [])
            delay_s = self._pacer.delay_s(len(batch))
        return [] if self._ended.wait(delay_s) else batch

    def _send(self, client: HttpClient, batch: "list[bytes]") -> None:
        while batch and not self._ended.is_set():
            results = self._post(client, batch)
            again: list[bytes] = []
            wait_s = 0.0
            with self._lock:
                for event, result in zip(batch, results, strict=True):
                    code = result.get("code")
                    if code is None:
                        self.sent.admitted += 1
                    elif code in RETRIED:
                        self.sent.held_back[code] += 1
                        again.append(event)
                        wait_s = max(wait_s, AGAIN_S_MIN, result.get("retry_after_ms", 1000) / 1000)
                    else:
                        self.sent.refused[code] += 1
                        self.sent.words = f"{code}: {result.get('message', '')}"
                        self._ended.set()
            batch = again
            if batch:
                self._ended.wait(wait_s)

    def _post(self, client: HttpClient, batch: "list[bytes]") -> "Sequence[dict[str, Any]]":
        """What became of each event."""
        body = b'{"events":[' + b",".join(batch) + b"]}"
        try:
            answer = client.call("POST", self._path, content=body, user=USER)
        except RefusedByServer as refusal:
            if refusal.code not in RETRIED:
                raise
            return [dict(refusal.problem)] * len(batch)
        results: Sequence[dict[str, Any]] = answer["results"]
        return results


def _events(asked: Ingest) -> "list[bytes]":
    """One for each channel, as JSON."""
    text = ("polyglot " * (asked.data_bytes // 9 + 1))[: asked.data_bytes - 2]  # and its quotes
    return [
        msgspec.json.encode({"channel": f"{asked.kind}:{CHANNEL_PREFIX}{number}", "type": TYPE, "data": text})
        for number in range(asked.channels)
    ]


def _batches(events: "list[bytes]", count: int, batch: int) -> "Iterator[list[bytes]]":
    """`count` events, over the channels by turns."""
    for first in range(0, count, batch):
        yield [events[number % len(events)] for number in range(first, min(first + batch, count))]
