"""The record pump: reads what happened in the plane and hands each record to the module whose decision it is.

It never waits for anything but the plane. A fault of ours in the handling of one record is logged and costs that
record alone: a client must not be able to end everybody's service with it.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import trio

from polyglotd.gateway.admission import Handshakes
from polyglotd.gateway.departures import Departures
from polyglotd.gateway.joins import Joins
from polyglotd.gateway.metering import Metering
from polyglotd.gateway.pattern_tails import PatternTails
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.pushes import Pushes
from polyglotd.gateway.resume import Resume
from polyglotd.gateway.topics import Topics
from polyglotd.gateway.virtual import VirtualConnections
from polyglotd.plane.interface import (
    AnyRecord,
    Connect,
    Disconnected,
    Handoff,
    Join,
    Joined,
    Left,
    Mail,
    MailReady,
    NeedHistory,
    Published,
    PublishResults,
    Push,
    TopicClosed,
    TopicIdle,
    WindowPage,
)

logger = logging.getLogger(__name__)

HANDOFFS_MAX = 1024  # that wait for the HTTP server; beyond it connections are closed


class Dispatch:
    def __init__(
        self,
        port: PlanePort,
        handshakes: Handshakes,
        joins: Joins,
        pushes: Pushes,
        resume: Resume,
        topics: Topics,
        presence: Presence,
        metering: Metering,
        virtual: VirtualConnections,
        departures: Departures,
        tails: PatternTails,
    ) -> None:
        self._port = port
        self._handshakes = handshakes
        self._joins = joins
        self._tails = tails
        self._topics = topics
        self._presence = presence
        self._metering = metering
        self._departures = departures
        self._send_handoff, self.handoffs = trio.open_memory_channel[Handoff](HANDOFFS_MAX)
        self._handlers: dict[type[AnyRecord], Callable[[Any], object]] = {
            Connect: handshakes.on_connect,
            Disconnected: self._on_disconnected,
            Handoff: self._on_handoff,
            Join: joins.on_join,
            Joined: self._on_joined,
            Left: self._on_left,
            Mail: virtual.on_mail,
            MailReady: virtual.on_ready,
            NeedHistory: resume.on_need,
            Published: self._on_published,
            PublishResults: port.answered,
            Push: pushes.on_push,
            TopicClosed: self._on_topic_closed,
            TopicIdle: topics.on_idle,
            WindowPage: port.answered,
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Cancelled: descriptors that nobody took are closed."""
        task_status.started()
        try:
            while True:
                for record in await self._port.receive():
                    self._handle(record)
        finally:
            self._close_handoffs()

    def _handle(self, record: AnyRecord) -> None:
        try:
            self._handlers[type(record)](record)
        except Exception:
            logger.exception("a %s could not be handled", type(record).__name__)

    def _on_disconnected(self, record: Disconnected) -> None:
        if not self._handshakes.on_disconnected(record):
            self._departures.on_disconnected(record)

    def _on_published(self, record: Published) -> None:
        if (topic := self._topics.on_published(record)) is not None:
            self._metering.on_published(record, topic)
            self._tails.on_published(record, topic)

    def _on_joined(self, record: Joined) -> None:
        if not self._tails.on_joined(record):
            self._joins.on_joined(record)

    def _on_left(self, record: Left) -> None:
        if not self._tails.on_left(record):
            self._joins.on_left(record)

    def _on_topic_closed(self, record: TopicClosed) -> None:
        if (topic := self._topics.on_closed(record)) is not None:
            self._presence.closed(topic)
            self._tails.on_closed(topic)

    def _on_handoff(self, record: Handoff) -> None:
        try:
            self._send_handoff.send_nowait(record)
        except (trio.WouldBlock, trio.BrokenResourceError):
            os.close(record.fd)

    def _close_handoffs(self) -> None:
        self._send_handoff.close()
        while True:
            try:
                os.close(self.handoffs.receive_nowait().fd)
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return
