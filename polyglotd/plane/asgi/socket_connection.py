"""A WebSocket after its handshake: a task that reads, a task that writes, and how they come to an end together.

The writer takes what the outbox holds, some 64 KiB at a time, and sends it with one call, so that a fan-out to a
busy connection costs few of them. What a message brings its own sender, a heartbeat's answer above all, is sent by
the reader where the writer has nothing to do: waking a second task costs more than the answer. The reader is the one
that can be held back: by a gateway that is behind, by answers that its own peer does not take, by abuse. While it is
held back, silence is no fault.

Silence of 60 s is answered with 1001: clients come back by themselves after that, but not after 1000.

The socket is the standard library's, not trio's: that one takes a turn of the loop for each call, and tries to read
once in vain before it waits.
"""

import logging
import socket
from contextlib import suppress

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
        self._accepted = accepted
        self._sock: socket.socket  # from `run` on
        self._reader = FrameReader(self._message_bytes_max)
        self._outbox_filled = trio.Event()
        self._writer_waits = False  # for `_outbox_filled`
        self._unsent = b""  # what the reader left of a frame; goes before the outbox
        self._answering = False  # the reader is in a step without an await, and sends at its end
        self._progressed: trio.Event | None = None  # something was sent; there while the reader waits for it
        self._peer_closed = trio.Event()
        self._writing = trio.CancelScope()

    async def run(self, preface: bytes) -> None:
        """Send `preface` (the handshake's answer), then serve until either side ends it, and close the socket."""
        plain = self._accepted.sock
        with socket.socket(plain.family, plain.type, plain.proto, fileno=plain.detach()) as self._sock:
            self._sock.setblocking(False)
            try:
                await self._serve(preface)
            except Exception:
                logger.exception("connection %d: dropped for a fault of ours", self.conn)
            finally:
                self._state.silence.forget(self.conn)
                self.gone()

    async def _serve(self, preface: bytes) -> None:
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

    @property
    def _message_bytes_max(self) -> int:
        return self.app.limits.payload_bytes + ENVELOPE_BYTES

    def _wake(self) -> None:
        if not self._answering:
            self._outbox_filled.set()

    def _begin_close(self) -> None:
        self._writing.deadline = min(self._writing.deadline, trio.current_time() + self._settings.close_s)
        self._outbox_filled.set()

    # --- writing

    async def _write(self) -> None:
        """Send what comes into the outbox, and at the end the close frame."""
        while True:
            self._outbox_filled = trio.Event()
            if self._unsent:
                data, self._unsent = self._unsent, b""
                await self._send(data)
            while data := self._take_frames():
                await self._send(data)
                self._inbound.drained(self)
                if self.outbox:
                    await trio.lowlevel.checkpoint()  # a peer that takes everything is not to hold up the others
            if self.closing is not None:
                break
            self._writer_waits = True
            await self._outbox_filled.wait()
            self._writer_waits = False
        await self._send(encode_close(*self.closing))
        if self._reader.is_over:  # an answer could not be read after a fault: the peer is not to wait for us
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def _take_frames(self) -> bytes:
        """What the outbox has for one call."""
        frames = self.outbox.take(self._settings.write_bytes_max)
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        self._state.counters.frames_out_total += len(frames)
        self._state.counters.bytes_out_total += len(data)
        return data

    async def _send(self, data: bytes) -> None:
        """A peer that takes no byte for `send_progress_s` is gone."""
        try:
            sent = self._send_some(data)
            if sent == len(data):
                return
            view = memoryview(data)[sent:]
            while view:
                sent = 0
                with trio.fail_after(self._settings.send_progress_s):
                    while not sent:
                        await trio.lowlevel.wait_writable(self._sock)
                        sent = self._send_some(view)
                view = view[sent:]
        except (OSError, trio.TooSlowError):
            self._lose()
            await trio.sleep_forever()  # until the cancellation that `_lose` asked for

    def _send_some(self, data: bytes | memoryview) -> int:
        """How many bytes the socket takes without waiting. Raises OSError where the peer is gone."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        if self._progressed is not None:
            self._progressed.set()
        return sent

    def _send_answers(self) -> None:
        """The reader's: send what its step put into the outbox, or leave it to the writer."""
        if not self._writer_waits or self._unsent or self.closing is not None:
            self._outbox_filled.set()
            return
        data = self._take_frames()
        try:
            sent = self._send_some(data)
        except OSError:
            self._lose()
            return
        self._unsent = data[sent:]
        if self._unsent or self.outbox:
            self._outbox_filled.set()
        self._inbound.drained(self)

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
        silence = self._state.silence
        while True:
            if self._is_held_back:
                await self._wait_for_leave_to_read()
            silence.listen(self.conn, self._fall_silent)
            await trio.lowlevel.wait_readable(self._sock)
            silence.forget(self.conn)
            try:
                data = self._sock.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._state.counters.bytes_in_total += len(data)
            self._reader.message_bytes_max = self._message_bytes_max
            received = self._reader.feed(data)
            for place, item in enumerate(received, 1):
                if self._is_held_back:
                    await self._wait_for_leave_to_read()
                if isinstance(item, Message) and not self._inbound.has_room_for(len(item.data)):
                    await self._inbound.room_for(len(item.data))
                self._answer(item, last=place == len(received))

    def _fall_silent(self) -> None:
        self.close(GOING_AWAY, f"no word for {self._settings.silence_s:g} s")

    def _answer(self, item: Received, *, last: bool) -> None:
        """Take an item; after the last of a read, send the answers to all of them with one call."""
        self._answering = last
        try:
            self._take(item)
        finally:
            self._answering = False
        if last and self.outbox:
            self._send_answers()

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

    @property
    def _is_held_back(self) -> bool:
        return self.closing is None and (
            self.outbox.control_bytes > self._settings.high_water_bytes
            or not self._state.records.has_room
            or self._paused_us > 0
        )

    @property
    def _paused_us(self) -> int:
        """How long the pause for abuse still lasts."""
        paused_until_us = self.abuse.paused_until_us
        return paused_until_us - steady_us() if paused_until_us else 0

    async def _wait_for_leave_to_read(self) -> None:
        while self._is_held_back:
            if (paused_us := self._paused_us) > 0:
                await trio.sleep(paused_us / 1_000_000)
            elif self.outbox.control_bytes > self._settings.high_water_bytes:
                self._progressed = trio.Event()
                await self._progressed.wait()  # bounded by the writer's own deadline
                self._progressed = None
            else:
                await self._state.records.room()
