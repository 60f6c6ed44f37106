"""Credentials that run out on live connections: a notice a minute before, and the end.

A connection has one entry here, for whichever comes next; a new token moves it. Tokens run by the wall clock, so an
entry that comes up is looked at by it again.
"""

import heapq
from collections import defaultdict

import msgspec
import trio

from polyglotd.access.grant import UserGrant
from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.plane.interface import Disconnect, Notice, SendTo

NOTICE_US = 60_000_000
TICK_US = 250_000
LOOK_S = 5.0  # at the wall clock, which may be set
US = 1_000_000

CODE = "token_expiring"
MESSAGE = "the token runs out soon: send access_token with a new one"
_PAYLOAD = msgspec.json.encode({"code": CODE, "message": MESSAGE})


class Expiry:
    def __init__(self, port: PlanePort, connections: Connections, wall: WallClock, leeway_s: float) -> None:
        self._port = port
        self._connections = connections
        self._wall = wall
        self._leeway_us = round(leeway_s * US)
        self._ticks: list[int] = []  # a heap of the ticks that have entries
        self._due: defaultdict[int, set[int]] = defaultdict(set)  # tick -> conns
        self._tick_of: dict[int, int] = {}
        self._earlier = trio.Event()  # an entry comes before all others

    def __len__(self) -> int:
        return len(self._tick_of)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self._next_tick()
            now_tick = self._wall() // TICK_US
            while self._ticks and self._ticks[0] <= now_tick:
                for conn in self._due.pop(heapq.heappop(self._ticks), ()):
                    del self._tick_of[conn]
                    if (connection := self._connections.get(conn)) is not None:
                        self._come_up(connection)

    async def _next_tick(self) -> None:
        """Wait until the first entry may have come up: whoever has nothing to do wakes nobody."""
        left_s = LOOK_S
        if self._ticks:
            left_s = min(LOOK_S, (self._ticks[0] * TICK_US - self._wall()) / US)
        self._earlier = trio.Event()
        with trio.move_on_after(max(left_s, TICK_US / US)):
            await self._earlier.wait()

    def watch(self, connection: Connection) -> None:
        """Of a new connection, once the plane knows it, or of one whose credential is another now."""
        self.forget(connection.conn)
        ends_us = self._ends_us(connection)
        if ends_us is None:
            return
        next_us, now_us = ends_us, self._wall()
        if isinstance(connection.credential, UserGrant):
            notice_us = connection.credential.exp_us - NOTICE_US
            if notice_us > now_us:
                next_us = notice_us
            else:
                self._port.send(Notice(connection.conn, CODE, MESSAGE))
        self._put(connection.conn, next_us)

    def joined(self, connection: Connection, subscription: Subscription) -> None:
        """A channel that was joined after the notice gets it too."""
        credential = connection.credential
        if isinstance(credential, UserGrant) and credential.exp_us - NOTICE_US <= self._wall():
            self._port.send(SendTo(connection.conn, subscription.sub, "system", _PAYLOAD))

    def forget(self, conn: int) -> None:
        tick = self._tick_of.pop(conn, None)
        if tick is not None:
            self._due[tick].discard(conn)  # the tick itself stays in the heap until it comes: one entry for many

    def _come_up(self, connection: Connection) -> None:
        ends_us = self._ends_us(connection)
        if ends_us is None:
            return
        if self._wall() < ends_us:
            self.watch(connection)
        elif isinstance(connection.credential, UserGrant):
            self._port.send(Disconnect(connection.conn, 4001, "token expired"))
        else:
            self._port.send(Disconnect(connection.conn, 4003, "API key rotated"))

    def _ends_us(self, connection: Connection) -> int | None:
        credential = connection.credential
        if credential is None:
            return None
        if isinstance(credential, UserGrant):
            return credential.exp_us + self._leeway_us
        return credential.expires_us

    def _put(self, conn: int, at_us: int) -> None:
        tick = at_us // TICK_US + 1  # not before it is due
        self._tick_of[conn] = tick
        if tick not in self._due:
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._earlier.set()
        self._due[tick].add(conn)
