"""Which loop of the driver a command goes to."""

from typing import Any, get_args

import pytest

from polyglotd.model import Limits, Policy
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
    PublishItem,
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
from polyglotd.plane.native.loops import Loops, loop_of_app

COUNT = 3
APP = next(f"app-{n}" for n in range(99) if loop_of_app(f"app-{n}", COUNT) == 2)
SOCKET, VIRTUAL, TOPIC, GONE = 7, 1 << 62, 11, 999


def item(topic: int) -> PublishItem:
    return PublishItem(topic, "m", b"1", None, None)


def begun() -> list[AnyCommand]:
    return [
        ConfigureApp(APP, Limits(), 1.0),
        Accept(SOCKET, APP, "ann"),
        OpenVirtual(VIRTUAL, APP, None, "sse"),
        OpenTopic(TOPIC, APP, "room:a", Policy(), "e", 0, []),
    ]


def about(conn: int, topic: int) -> list[AnyCommand]:
    return [
        SetPolicy(topic, Policy()),
        NewEpoch(topic, "e2"),
        CloseTopic(topic),
        Broadcast(topic, "signal", b"{}", False),
        ReadWindow(1, topic, None, None, 1, 1),
        Erase(topic, None, 1, 2, None, 0, b"{}"),
        Publish(1, [item(GONE), item(topic)]),
        Admit(conn, 1, topic, True, True, None, None, True),
        RefuseJoin(conn, 1, b"{}"),
        Backfill(conn, 1, [], True),
        SetCapabilities(conn, 1, True, True),
        SendTo(conn, 1, "m", b"{}"),
        Notice(conn, "code", ""),
        EndSubscription(conn, 1, "error"),
        Disconnect(conn, 4000, ""),
        Feed(conn, [b""], False),
        TakeMail(conn, 1, 1),
    ]


FOR_OTHERS: dict[type, tuple[AnyCommand, list[int]]] = {
    Refuse: (Refuse(SOCKET, 403, [], b""), [0]),
    Reply: (Reply(8, True, b"{}"), [2]),
    StopAccepting: (StopAccepting(), [0]),
    Notice: (Notice(None, "draining", ""), [0, 1, 2]),
}


def test_all_that_is_about_an_app_goes_to_its_loop() -> None:
    loops = Loops(COUNT)
    for command in [*begun(), *about(SOCKET, TOPIC), *about(VIRTUAL, TOPIC)]:
        assert list(loops.of(command)) == [2], command


@pytest.mark.parametrize(("command", "where"), FOR_OTHERS.values(), ids=[kind.__name__ for kind in FOR_OTHERS])
def test_what_is_about_no_app_goes_where_it_is_known(command: AnyCommand, where: list[int]) -> None:
    assert list(Loops(COUNT).of(command)) == where


def test_every_command_has_a_way() -> None:
    tried: set[Any] = {type(command) for command in [*begun(), *about(SOCKET, TOPIC)]} | set(FOR_OTHERS)
    assert tried == set(get_args(AnyCommand))


def test_what_is_gone_is_forgotten() -> None:
    loops = Loops(COUNT)
    for command in begun():
        loops.of(command)
    loops.taken([TopicClosed(TOPIC, False), Disconnected(GONE, 1000, "")])
    assert list(loops.of(CloseTopic(TOPIC))) == list(loops.of(Disconnect(SOCKET, 1000, ""))) == [2]
    loops.taken([TopicClosed(TOPIC, True), Disconnected(SOCKET, 1000, ""), Disconnected(VIRTUAL, 1000, "")])
    assert (loops._conns, loops._topics) == ({}, {})
    assert list(loops.of(CloseTopic(TOPIC))) == list(loops.of(Disconnect(SOCKET, 1000, ""))) == [0]


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_apps_are_spread_evenly(count: int) -> None:
    of = [loop_of_app(f"customer-{n}", count) for n in range(1000)]
    assert all(of.count(loop) > 700 / count for loop in range(count))
