"""What clients send, handed to whoever decides it: the plane itself, or the gateway.

Called by connections with each frame; the Phoenix state machine says what it means.
"""

from polyglotd.plane.asgi.admission import Admission
from polyglotd.plane.asgi.connection import Connection
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.publishing import Publishing
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.interface import Join, Push
from polyglotd.protocol.phoenix_socket import Action, Fault, JoinRequested, LeaveRequested, Pushed, Send


class Inbound:
    def __init__(self, state: PlaneState, admission: Admission, publishing: Publishing, delivery: Delivery) -> None:
        self._state = state
        self._delivery = delivery
        self._admission = admission
        self._publishing = publishing

    def receive(self, connection: Connection, frame: bytes, *, binary: bool) -> None:
        """Take one frame. Streams have nothing to say."""
        if connection.phoenix is None:
            return
        receive = connection.phoenix.receive_binary if binary else connection.phoenix.receive_text
        for action in receive(frame):
            if connection.closing is not None:
                return
            self._do(connection, action)

    def has_room_for(self, size: int) -> bool:
        """Whether `room_for` would return at once."""
        return self._delivery.has_room_for(size)

    async def room_for(self, size: int) -> None:
        """Wait until what so large a frame may publish can be fanned out. Who feeds many at once need not."""
        await self._delivery.room_for(size)

    def drained(self, connection: Connection) -> None:
        """The connection has room again."""
        self._admission.drained(connection)

    def _do(self, connection: Connection, action: Action) -> None:
        match action:
            case Send(frame, refused):
                connection.send(frame)
                if refused is not None:
                    connection.refused(refused)
            case JoinRequested(sub, channel, params):
                self._state.records.put(Join(connection.conn, sub, channel, params))
            case LeaveRequested(sub, _, why):
                if (member := connection.members.get(sub)) is not None:
                    connection.drop(member, why)
            case Pushed():
                self._push(connection, action)
            case Fault(code, reason):
                connection.close(code, reason)

    def _push(self, connection: Connection, pushed: Pushed) -> None:
        member = connection.members[pushed.sub]
        if pushed.event == "publish":
            self._publishing.publish(member, pushed.payload, pushed.handle)
        elif pushed.event == "signal":
            self._publishing.signal(member, pushed.payload, pushed.handle)
        else:
            self._state.asked[pushed.handle] = connection
            connection.asked.add(pushed.handle)
            self._state.records.put(
                Push(connection.conn, pushed.sub, member.topic.topic, pushed.event, pushed.payload, pushed.handle)
            )
