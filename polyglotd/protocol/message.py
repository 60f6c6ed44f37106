"""One Phoenix message, and the two ways in which a frame can fail to be one.

Made by the serializers, read by `phoenix_socket`. Refs and payload are kept as the client's own JSON text: refs come
back in their own JSON type, payloads byte for byte.
"""

import msgspec

NULL = b"null"


class Message(msgspec.Struct, frozen=True, gc=False):
    """A frame from a client."""

    join_ref: bytes  # JSON text: a string, an integer or null
    ref: bytes  # the same
    topic: str
    event: str
    payload: bytes  # JSON text, UTF-8


class ProtocolFault(Exception):
    """The frame is no message of this serializer: the connection is closed with `code` (RFC 6455, 7.4.1).

    `reason` is ours alone and fits a close frame (123 bytes): nothing of the client's goes into it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class PayloadNotJson(Exception):
    """A binary push whose data is no UTF-8 JSON. The rest of the frame is sound, so it gets an error reply."""

    def __init__(self, head: Message) -> None:
        super().__init__("the data of a binary push is not UTF-8 JSON")
        self.head = head  # its payload is null
