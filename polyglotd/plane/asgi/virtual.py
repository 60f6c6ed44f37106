"""A connection without a socket: the gateway feeds its frames and takes its mail (long-poll, SSE, tails).

It obeys the same bounds as a socket. It is never paused for abuse: whoever feeds it paces it, and a second offence
closes it all the same.
"""

import trio

from polyglotd.plane.asgi.connection import Connection
from polyglotd.plane.asgi.inbound import Inbound
from polyglotd.plane.asgi.state import AppState, PlaneState
from polyglotd.plane.asgi.wire import PHOENIX_OF_VIRTUAL, VIRTUAL_WIRES
from polyglotd.plane.interface import Feed, Mail, MailReady, OpenVirtual, TakeMail


class VirtualConnection(Connection):
    def __init__(
        self, state: PlaneState, inbound: Inbound, opened: OpenVirtual, app: AppState, nursery: trio.Nursery
    ) -> None:
        serializer = PHOENIX_OF_VIRTUAL.get(opened.serializer)
        super().__init__(state, opened.conn, app, opened.user_id, VIRTUAL_WIRES[opened.serializer], serializer)
        self._inbound = inbound
        self._nursery = nursery
        self._told = False  # a MailReady is out, and the queue was not found empty since

    def feed(self, command: Feed) -> None:
        for frame in command.frames:
            if self.closing is not None:
                return
            self._state.counters.frames_in_total += 1
            self._state.counters.bytes_in_total += len(frame)
            self._inbound.receive(self, frame, binary=command.binary)

    def take(self, command: TakeMail) -> None:
        frames = self.outbox.take(command.bytes_max)
        self._state.counters.frames_out_total += len(frames)
        self._state.counters.bytes_out_total += sum(map(len, frames))
        self._told = len(self.outbox) > 0
        self._state.records.put(Mail(command.request, frames))
        if self.closing is None:
            self._inbound.drained(self)
        elif not self.outbox:
            self.gone()

    def _wake(self) -> None:
        if not self._told and len(self.outbox):
            self._told = True
            self._state.records.put(MailReady(self.conn))

    def _begin_close(self) -> None:
        if len(self.outbox):
            self._nursery.start_soon(self._wait_for_last_mail)
        else:
            self.gone()

    async def _wait_for_last_mail(self) -> None:
        await trio.sleep(self._state.settings.close_s)
        self.gone()
