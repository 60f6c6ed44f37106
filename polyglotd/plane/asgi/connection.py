"""What every connection has, socket or none: its app and user, its Phoenix state, its outbox, its end.

Made by the handshake or by `OpenVirtual`; `socket_connection` and `virtual` say how frames leave and when the end is
reached. Puts never block: a full outbox is answered by False, and the caller ends the connection when its own loop
is done.
"""

from abc import ABC, abstractmethod
from typing import Literal

from polyglotd.channels.outbox import Outbox
from polyglotd.limits.gcra import Gcra
from polyglotd.model import Overflow
from polyglotd.plane.asgi.abuse import Abuse, Verdict
from polyglotd.plane.asgi.member import Member, Stage
from polyglotd.plane.asgi.state import AppState, PlaneState, steady_us
from polyglotd.plane.asgi.wire import Wire, encode_notice_payload
from polyglotd.plane.interface import Disconnected, Left
from polyglotd.protocol.phoenix_socket import PhoenixSocket
from polyglotd.protocol.serializers import Serializer

LeftWhy = Literal["leave", "replaced", "ended", "disconnected"]

ABUSE_CODE = 4008
SLOW_CONSUMER_CODE = 4009


class Connection(ABC):
    """From `Accept` or `OpenVirtual` until its `Disconnected`."""

    def __init__(
        self,
        state: PlaneState,
        conn: int,
        app: AppState,
        user_id: str | None,
        wire: Wire,
        serializer: Serializer | None,
    ) -> None:
        self.conn = conn
        self.app = app
        self.user_id = user_id
        self.wire = wire
        self.outbox = Outbox(state.tally)
        self.members: dict[int, Member] = {}  # by sub
        self.asked: set[int] = set()  # handles of pushes that the gateway is to answer
        self.abuse = Abuse()
        self.closing: tuple[int, str] | None = None  # code and reason: the end has begun
        # Streams have no joins, refs or replies.
        self.phoenix = (
            None
            if serializer is None
            else PhoenixSocket(serializer, next_sub=state.new_sub, next_handle=state.new_handle)
        )
        self._state = state
        self._publishes = Gcra(app.limits.publishes_per_connection, app.limits.publishes_per_connection)
        self._rate = app.limits.publishes_per_connection
        state.connections[conn] = self
        state.counters.connects_total += 1

    # --- to the client

    def put_event(self, overflow: Overflow, topic: int, type_: str, frame: bytes) -> bool:
        """Queue what gives way by the kind's policy; False: overflowed."""
        if overflow == "queue":
            taken = self.outbox.put_queued(frame)
        elif overflow == "conflate":
            taken = self.outbox.put_conflated(topic, type_, frame)
        else:
            taken = self.outbox.put_droppable(topic, frame)
        self._wake()
        return taken

    def put_control(self, frame: bytes) -> bool:
        """Queue what never gives way; False: overflowed."""
        taken = self.outbox.put_control(frame)
        self._wake()
        return taken

    def send(self, *frames: bytes) -> None:
        """Queue serializer's frames; where they don't fit, the connection ends. Not from a loop over members."""
        if self.closing is None:
            for frame in frames:
                if not self.put_control(self.wire.pack(frame)):
                    self.overflow()
                    return

    def notice(self, code: str, message: str) -> None:
        """Tell every joined channel, or the stream itself."""
        if self.phoenix is None:
            frame = self.wire.notice(code, message)
            if frame is not None:
                self.send(frame)
            return
        payload = encode_notice_payload(code, message)
        for sub in self.phoenix.subs():
            self.send(*self.phoenix.push(sub, "system", payload))

    # --- rates and refusals

    def take_publish_rate(self) -> int:
        """Take one publish or signal of the connection's rate and the app's: 0, or after how long there is one."""
        limits, now_us = self.app.limits, steady_us()
        if self._rate != limits.publishes_per_connection:
            self._rate = limits.publishes_per_connection
            self._publishes.reconfigure(self._rate, self._rate, now_us)
        wait_us = max(self._publishes.peek(1, now_us), self.app.publishes.peek(1, now_us))
        if wait_us == 0:
            self._publishes.take(1, now_us)
            self.app.publishes.take(1, now_us)
        return wait_us

    def refused(self, reason: str) -> None:
        """One of the client's messages was refused: so many within a second are abuse."""
        self._state.refused[reason] += 1
        if self.closing is None and self.abuse.refused(steady_us()) is Verdict.CLOSE:
            self.close(ABUSE_CODE, "refused too many messages")

    # --- the end

    def overflow(self) -> None:
        """The client is too slow for what it asked for: tell it, and end."""
        if self.closing is not None:
            return
        self.outbox.clear()  # its last words must fit; what is thrown away can be resumed
        self._state.counters.slow_consumers_total += 1
        self.notice("slow_consumer", "this connection takes events too slowly and is closed; resume with since")
        self.close(SLOW_CONSUMER_CODE, "slow consumer")

    def close(self, code: int, reason: str) -> None:
        """Begin the end: subscriptions end now, what is queued may still leave for a while."""
        if self.closing is not None:
            return
        self.closing = (code, reason)
        for member in list(self.members.values()):
            self.drop(member, "disconnected")
        for handle in self.asked:
            self._state.asked.pop(handle, None)
        self._begin_close()

    def drop(self, member: Member, why: LeftWhy) -> None:
        """An admitted sub is over."""
        del self.members[member.sub], member.topic.members[member.sub]
        member.topic.touch()
        if member.stage is not Stage.JOINING:
            self._state.counters.subscriptions -= 1
        self._state.records.put(Left(self.conn, member.sub, member.topic.topic, why))

    def gone(self) -> None:
        """Reached once, when nothing leaves any more."""
        code, reason = self.closing or (1006, "")
        self.close(code, reason)
        if self._state.connections.pop(self.conn, None) is not None:
            self.outbox.clear()
            self._state.records.put(Disconnected(self.conn, code, reason))

    @abstractmethod
    def _wake(self) -> None:
        """Something may have come into the outbox."""

    @abstractmethod
    def _begin_close(self) -> None:
        """`closing` was set just now; call `gone` in the end."""
