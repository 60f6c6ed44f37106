"""How a fan-out's frames look on each sort of connection: one build per sort, shared by all members that have it.

A sort is a serializer and how its frames travel: a socket's are WebSocket frames, a virtual connection's are what the
serializer made. Called by `topic` and `connection`.
"""

from typing import Protocol

import msgspec

from polyglotd.plane.asgi.websocket import encode_text
from polyglotd.plane.interface import Serializer
from polyglotd.protocol import serializers, sse, tail


class Wire(Protocol):
    """Compared by identity: there is one of each sort."""

    def event(self, channel: str, epoch: str, seq: int, envelope: bytes) -> bytes:
        """A published event."""

    def message(self, channel: str, event: str, payload: bytes) -> bytes | None:
        """A message without a seq; None where this sort gets none."""

    def notice(self, code: str, message: str) -> bytes | None:
        """A notice to the connection itself; None where notices come on its channels."""

    def reset(self, epoch: str, seq: int) -> bytes | None:
        """Tell that a resume failed; None where the join's reply does."""

    def pack(self, frame: bytes) -> bytes:
        """A serializer's frame as it travels."""


class PhoenixWire:
    def __init__(self, serializer: serializers.Serializer, *, on_socket: bool) -> None:
        self._serializer = serializer
        self._on_socket = on_socket

    def event(self, channel: str, epoch: str, seq: int, envelope: bytes) -> bytes:  # noqa: ARG002
        return self.pack(self._serializer.encode_broadcast(channel, "event", envelope))

    def message(self, channel: str, event: str, payload: bytes) -> bytes | None:
        return self.pack(self._serializer.encode_broadcast(channel, event, payload))

    def notice(self, code: str, message: str) -> bytes | None:  # noqa: ARG002
        return None

    def reset(self, epoch: str, seq: int) -> bytes | None:  # noqa: ARG002
        return None

    def pack(self, frame: bytes) -> bytes:
        return encode_text(frame) if self._on_socket else frame


class SseWire:
    def event(self, channel: str, epoch: str, seq: int, envelope: bytes) -> bytes:  # noqa: ARG002
        return sse.encode_event(epoch, seq, envelope)

    def message(self, channel: str, event: str, payload: bytes) -> bytes | None:  # noqa: ARG002
        return sse.encode_erased(payload) if event == "erased" else None

    def notice(self, code: str, message: str) -> bytes | None:
        return sse.encode_notice(code, message)

    def reset(self, epoch: str, seq: int) -> bytes | None:
        return sse.encode_reset(epoch, seq)

    def pack(self, frame: bytes) -> bytes:
        return frame


class TailWire:
    def event(self, channel: str, epoch: str, seq: int, envelope: bytes) -> bytes:  # noqa: ARG002
        return tail.encode_event(epoch, seq, envelope)

    def message(self, channel: str, event: str, payload: bytes) -> bytes | None:  # noqa: ARG002
        return tail.encode_erased(payload) if event == "erased" else None

    def notice(self, code: str, message: str) -> bytes | None:
        return tail.encode_notice(code, message)

    def reset(self, epoch: str, seq: int) -> bytes | None:
        return tail.encode_reset(epoch, seq)

    def pack(self, frame: bytes) -> bytes:
        return frame


_PHOENIX = {version: serializers.serializer_for(version) for version in ("1.0.0", "2.0.0")}
SOCKET_WIRES: dict[str, Wire] = {v: PhoenixWire(s, on_socket=True) for v, s in _PHOENIX.items()}
VIRTUAL_WIRES: dict[Serializer, Wire] = {
    "phoenix-1.0.0": PhoenixWire(_PHOENIX["1.0.0"], on_socket=False),
    "phoenix-2.0.0": PhoenixWire(_PHOENIX["2.0.0"], on_socket=False),
    "sse": SseWire(),
    "tail": TailWire(),
}
PHOENIX_OF_VIRTUAL: dict[Serializer, serializers.Serializer] = {
    "phoenix-1.0.0": _PHOENIX["1.0.0"],
    "phoenix-2.0.0": _PHOENIX["2.0.0"],
}


class EventFrames:
    """One event in every sort of frame that is asked for, each built once."""

    def __init__(self, channel: str, epoch: str, seq: int, envelope: bytes) -> None:
        self._of = (channel, epoch, seq, envelope)
        self._built: dict[Wire, bytes] = {}

    def frame(self, wire: Wire) -> bytes:
        frame = self._built.get(wire)
        if frame is None:
            frame = self._built[wire] = wire.event(*self._of)
        return frame


class MessageFrames:
    """The same of a message without a seq."""

    def __init__(self, channel: str, event: str, payload: bytes) -> None:
        self._of = (channel, event, payload)
        self._built: dict[Wire, bytes | None] = {}

    def frame(self, wire: Wire) -> bytes | None:
        if wire not in self._built:
            self._built[wire] = wire.message(*self._of)
        return self._built[wire]


def encode_notice_payload(code: str, message: str) -> bytes:
    """The payload of a `system` event."""
    return msgspec.json.encode({"code": code, "message": message})
