"""Which of the driver's loops has what. Every topic and connection of an app lives on the one that the app's id
hashes to, so that each is owned by one thread and no event crosses to another.

Used by `plane` where the driver has several loops. Loop 0 also accepts: what is about a handshake that waits is its.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from polyglotd.plane.interface import (
    Accept,
    Admit,
    AnyCommand,
    Backfill,
    Broadcast,
    CloseTopic,
    ConfigureApp,
    Disconnect,
    Disconnected,
    EndSubscription,
    Erase,
    Feed,
    NewEpoch,
    Notice,
    OpenTopic,
    OpenVirtual,
    Publish,
    ReadWindow,
    Refuse,
    RefuseJoin,
    Reply,
    SendTo,
    SetCapabilities,
    SetPolicy,
    StopAccepting,
    TakeMail,
    TopicClosed,
)

ACCEPTING = 0
ABOUT_TOPICS: tuple[type, ...] = (SetPolicy, NewEpoch, CloseTopic, Broadcast, ReadWindow, Erase)
ABOUT_CONNS: tuple[type, ...] = (
    Admit,
    RefuseJoin,
    Backfill,
    SetCapabilities,
    SendTo,
    Notice,
    EndSubscription,
    Disconnect,
    Feed,
    TakeMail,
)


def loop_of_app(app_id: str, count: int) -> int:
    return zlib.crc32(app_id.encode()) % count


class Loops:
    """Told of every command before it is sent and of every record that was taken, it knows where each connection and
    topic is. What is gone, or was never there, is sought on loop 0, which does not find it either."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._conns: dict[int, int] = {}  # accepted or virtual
        self._topics: dict[int, int] = {}
        self._ways: dict[type, Callable[[Any], int]] = {
            ConfigureApp: self._of_app,
            Accept: self._begin_conn,
            Refuse: lambda _: ACCEPTING,
            OpenTopic: self._begin_topic,
            Reply: lambda command: command.reply % count,
            OpenVirtual: self._begin_conn,
            Publish: self._of_items,
            StopAccepting: lambda _: ACCEPTING,
        }
        self._ways |= dict.fromkeys(ABOUT_TOPICS, self._of_topic)
        self._ways |= dict.fromkeys(ABOUT_CONNS, self._of_conn)

    def of(self, command: AnyCommand) -> Sequence[int]:
        """The loops that a command is for."""
        if isinstance(command, Notice) and command.conn is None:
            return range(self.count)
        return (self._ways[type(command)](command),)

    def taken(self, records: Iterable[object]) -> None:
        """Forget what these say is gone."""
        for record in records:
            if isinstance(record, Disconnected):
                self._conns.pop(record.conn, None)
            elif isinstance(record, TopicClosed) and record.closed:
                self._topics.pop(record.topic, None)

    def _of_app(self, command: ConfigureApp) -> int:
        return loop_of_app(command.app_id, self.count)

    def _begin_conn(self, command: Accept | OpenVirtual) -> int:
        loop = self._conns[command.conn] = loop_of_app(command.app_id, self.count)
        return loop

    def _begin_topic(self, command: OpenTopic) -> int:
        loop = self._topics[command.topic] = loop_of_app(command.app_id, self.count)
        return loop

    def _of_conn(self, command: Any) -> int:
        return self._conns.get(command.conn, ACCEPTING)

    def _of_topic(self, command: Any) -> int:
        return self._topics.get(command.topic, ACCEPTING)

    def _of_items(self, command: Publish) -> int:
        """All items are of one app's topics; those that have just closed may stand among them."""
        for item in command.items:
            if (loop := self._topics.get(item.topic)) is not None:
                return loop
        return ACCEPTING
