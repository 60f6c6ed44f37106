"""Connections without a socket: long-poll sessions, SSE streams and tails take their frames from a mailbox here.

What waits for a slow reader waits in the plane, under the kind's overflow policy: a mailbox asks for mail only
while somebody waits for it, and keeps what was taken for a reader that went away in the middle.
"""

import math

import trio

from polyglotd.gateway.plane_port import PlanePort
from polyglotd.plane.interface import (
    VIRTUAL_CONN_FIRST,
    Disconnected,
    Mail,
    MailReady,
    OpenVirtual,
    Serializer,
    TakeMail,
)

TAKE_BYTES_MAX = 256 * 1024  # one answer of a long-poll, or one write of a stream


class Mailbox:
    """The frames of one virtual connection. One reader at a time."""

    def __init__(self, office: "VirtualConnections", conn: int) -> None:
        self.conn = conn
        self.ended: Disconnected | None = None
        self._office = office
        self._frames: list[bytes] = []
        self._waiting = False  # in the plane, as far as we know
        self._asked = False
        self._changed = trio.Event()

    async def take(self, timeout_s: float = math.inf) -> list[bytes]:
        """Wait for frames, oldest first; none within `timeout_s`, or ever again where `ended` is set: empty.
        Cancelled: nothing is lost."""
        with trio.move_on_after(timeout_s):
            while not self._frames and self.ended is None:
                if self._waiting and not self._asked:
                    self._asked = True
                    self._office.ask(self)
                await self._changed.wait()
        frames, self._frames = self._frames, []
        return frames

    def on_ready(self) -> None:
        self._waiting = True
        self._wake()

    def on_mail(self, frames: list[bytes]) -> None:
        self._asked = False
        self._waiting = bool(frames)  # there may be more behind them: only an empty answer says that there is not
        self._frames += frames
        self._wake()

    def on_disconnected(self, record: Disconnected) -> None:
        self.ended = record
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class VirtualConnections:
    """All mailboxes. The gateway's dispatch hands the plane's records in."""

    def __init__(self, port: PlanePort) -> None:
        self._port = port
        self._mailboxes: dict[int, Mailbox] = {}
        self._asked: dict[int, Mailbox] = {}  # by request
        self._next_conn = VIRTUAL_CONN_FIRST
        self._next_sub = VIRTUAL_CONN_FIRST
        self._next_request = 1

    def new_conn(self) -> int:
        self._next_conn += 1
        return self._next_conn - 1

    def new_sub(self) -> int:
        """For connections whose serializer has no joins. The plane counts its own from below."""
        self._next_sub += 1
        return self._next_sub - 1

    def open(self, conn: int, app_id: str, user_id: str | None, serializer: Serializer) -> Mailbox:
        mailbox = self._mailboxes[conn] = Mailbox(self, conn)
        self._port.send(OpenVirtual(conn, app_id, user_id, serializer))
        return mailbox

    def ask(self, mailbox: Mailbox) -> None:
        request = self._next_request
        self._next_request += 1
        self._asked[request] = mailbox
        self._port.send(TakeMail(mailbox.conn, request, TAKE_BYTES_MAX))

    def on_ready(self, record: MailReady) -> None:
        if (mailbox := self._mailboxes.get(record.conn)) is not None:
            mailbox.on_ready()

    def on_mail(self, record: Mail) -> None:
        if (mailbox := self._asked.pop(record.request, None)) is not None:
            mailbox.on_mail(record.frames)

    def on_disconnected(self, record: Disconnected) -> None:
        if (mailbox := self._mailboxes.pop(record.conn, None)) is not None:
            mailbox.on_disconnected(record)
            self._asked = {r: m for r, m in self._asked.items() if m is not mailbox}
