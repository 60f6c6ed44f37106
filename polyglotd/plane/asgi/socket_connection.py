"""A WebSocket after its handshake: a task that reads, a task that writes, and how they come to an end together.

The writer takes what the outbox holds, some 64 KiB at a time, and sends it with one call, so that a fan-out to a
busy connection costs few of them. The reader is the one that can be held back: by a gateway that is behind, by
answers that its own peer does not take, by abuse. While it is held back, silence is no fault.

Silence of 60 s is answered with 1001: clients come back by themselves after that, but not after 1000.
"""

import logging
from contextlib import suppress
from socket import SHUT_WR

import trio

from polyglotd.plane.asgi.connection import Connection
from polyglotd.plane.asgi.inbound import Inbound
from polyglotd.plane.asgi.listener import Accepted
from polyglotd.plane.asgi.state import AppState, PlaneState, steady_us
from polyglotd.plane.asgi.websocket import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    Close,
    Fault,
    FrameReader,
    Message,
    Opcode,
    Ping,
    Received,
    encode_close,
    encode_frame,
)
from polyglotd.plane.asgi.wire import SOCKET_WIRES
from polyglotd.protocol.serializers import Serializer

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
ENVELOPE_BYTES = 16 * 1024  # what a message may have beside `data`: refs, topic, type, id


class SocketConnection(Connection):
    def __init__(
        self,
        state: PlaneState,
        inbound: Inbound,
        conn: int,
        app: AppState,
        user_id: str,
        serializer: Serializer,
        accepted: Accepted,
    ) -> None:
        super().__init__(state, conn, app, user_id, SOCKET_WIRES[serializer.version], serializer)
        self._inbound = inbound
        self._settings = state.settings
        self._sock = accepted.sock
        self._reader = FrameReader(self._message_bytes_max)
        self._outbox_filled = trio.Event()
        self._progressed = trio.Event()  # the writer sent something
        self._peer_closed = trio.Event()
        self._writing = trio.CancelScope()

    async def run(self, preface: bytes) -> None:
        """Send `preface` (the handshake's answer), then serve until either side ends it. The caller closes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                with self._writing:
                    await self._send(preface)
                    await self._write()
                # Who took nothing in time takes no close frame either.
                if not self._writing.cancelled_caught:
                    with trio.move_on_after(self._settings.close_s):
                        await self._peer_closed.wait()
                nursery.cancel_scope.cancel()
        except Exception:
            logger.exception("connection %d: dropped for a fault of ours", self.conn)
        finally:
            self.gone()

    @property
    def _message_bytes_max(self) -> int:
        return self.app.limits.payload_bytes + ENVELOPE_BYTES

    def _wake(self) -> None:
        self._outbox_filled.set()

    def _begin_close(self) -> None:
        self._writing.deadline = min(self._writing.deadline, trio.current_time() + self._settings.close_s)
        self._outbox_filled.set()

    # --- writing

    async def _write(self) -> None:
        """Send what comes into the outbox, and at the end the close frame."""
        counters = self._state.counters
        while True:
            self._outbox_filled = trio.Event()
            while frames := self.outbox.take(self._settings.write_bytes_max):
                data = b"".join(frames)
                await self._send(data)
                counters.frames_out_total += len(frames)
                counters.bytes_out_total += len(data)
                self._inbound.drained(self)
            if self.closing is not None:
                break
            await self._outbox_filled.wait()
        await self._send(encode_close(*self.closing))
        if self._reader.is_over:  # an answer could not be read after a fault: the peer is not to wait for us
            with suppress(OSError):
                self._sock.shutdown(SHUT_WR)

    async def _send(self, data: bytes) -> None:
        """A peer that takes no byte for `send_progress_s` is gone."""
        view = memoryview(data)
        try:
            while view:
                with trio.fail_after(self._settings.send_progress_s):
                    view = view[await self._sock.send(view) :]
                self._progressed.set()
                self._progressed = trio.Event()
        except (OSError, trio.TooSlowError):
            self._lose()
            await trio.sleep_forever()  # until the cancellation that `_lose` asked for

    def _lose(self) -> None:
        """The peer is gone: nothing more can leave."""
        self.close(ABNORMAL, "")
        self._writing.cancel()

    # --- reading

    async def _read(self) -> None:
        """Read to the end. A message that trips over a fault of ours ends its own connection, not everybody's."""
        try:
            await self._read_frames()
        except Exception:
            logger.exception("connection %d: a message could not be handled", self.conn)
            self.close(INTERNAL_ERROR, "internal error")
            return
        if self.closing is None:
            self._lose()  # it went without a word
        self._peer_closed.set()

    async def _read_frames(self) -> None:
        """Until the peer's end of the stream."""
        while True:
            await self._wait_for_leave_to_read()
            with trio.move_on_after(self._settings.silence_s) as silence:
                try:
                    data = await self._sock.recv(READ_BYTES)
                except OSError:
                    return
            if silence.cancelled_caught:
                self.close(GOING_AWAY, f"no word for {self._settings.silence_s:g} s")
                continue
            if not data:
                return
            self._state.counters.bytes_in_total += len(data)
            self._reader.message_bytes_max = self._message_bytes_max
            for item in self._reader.feed(data):
                await self._wait_for_leave_to_read()
                if isinstance(item, Message):
                    await self._inbound.room_for(len(item.data))
                self._take(item)

    def _take(self, item: Received) -> None:
        if isinstance(item, Close):
            self.close(item.code, item.reason)
            self.outbox.clear()
            self._peer_closed.set()
        elif self.closing is not None:
            return  # the end has begun: only the peer's close frame still counts
        elif isinstance(item, Message):
            self._state.counters.frames_in_total += 1
            self._inbound.receive(self, item.data, binary=item.binary)
        elif isinstance(item, Ping):
            if not self.put_control(encode_frame(Opcode.PONG, item.data)):
                self.overflow()
        elif isinstance(item, Fault):
            self.close(item.code, item.reason)

    async def _wait_for_leave_to_read(self) -> None:
        while self.closing is None:
            paused_us = self.abuse.paused_until_us - steady_us()
            if paused_us > 0:
                await trio.sleep(paused_us / 1_000_000)
            elif self.outbox.control_bytes > self._settings.high_water_bytes:
                await self._progressed.wait()  # bounded by the writer's own deadline
            elif not self._state.records.has_room:
                await self._state.records.room()
            else:
                return
