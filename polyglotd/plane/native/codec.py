"""Records and commands between their types and the driver's bytes.

Both are the tagged arrays of `plane.interface`. Two of them say more here: `Published` also says what the log's owner
must know, and `OpenTopic` takes along the ids that the log remembers.
"""

from collections.abc import Sequence

import msgspec

from polyglotd.log.interface import RecentId
from polyglotd.plane.interface import (
    AnyCommand,
    AnyRecord,
    Connect,
    Disconnected,
    Handoff,
    Join,
    Joined,
    Left,
    Mail,
    MailReady,
    NeedHistory,
    OpenTopic,
    Published,
    PublishResults,
    Push,
    Record,
    TopicClosed,
    TopicIdle,
    WindowPage,
)


class DriverPublished(Record, frozen=True, array_like=True, tag=8):
    """`Published`, and where the events are in the log."""

    topic: int
    first_seq: int
    last_seq: int
    position: int
    size: int
    deliveries: int
    epoch: str
    start: int  # position of the first event's record; 0 for memory kinds
    ts_us: int  # of the last event
    ids_given: bool

    def for_gateway(self) -> Published:
        return Published(self.topic, self.first_seq, self.last_seq, self.position, self.size, self.deliveries)


class AcceptFailed(Record, frozen=True, array_like=True, tag=101):
    """The kernel gave us no connection; said once in a while."""

    why: int  # errno


DriverRecord = (
    Connect
    | Join
    | Joined
    | Left
    | Push
    | Disconnected
    | NeedHistory
    | DriverPublished
    | PublishResults
    | WindowPage
    | MailReady
    | Mail
    | Handoff
    | TopicIdle
    | TopicClosed
    | AcceptFailed
)

_decode = msgspec.msgpack.Decoder(list[DriverRecord]).decode
_encoder = msgspec.msgpack.Encoder()
_ARRAY_32 = b"\xdd"


def decode_records(count: int, records: bytes) -> "list[AnyRecord | DriverPublished | AcceptFailed]":
    """`count` records that stand one after another."""
    return _decode(b"%b%b%b" % (_ARRAY_32, count.to_bytes(4, "big"), records))  # type: ignore[return-value]


def encode_commands(commands: Sequence[AnyCommand]) -> bytes:
    """One array of commands."""
    return _encoder.encode(commands)


def with_recent_ids(command: OpenTopic, recent: Sequence[RecentId]) -> "msgspec.Raw":
    """The command with a ninth field."""
    fields = msgspec.structs.astuple(command)
    return msgspec.Raw(_encoder.encode((OpenTopic.__struct_config__.tag, *fields, recent)))
