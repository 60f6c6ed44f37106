"""Refusals as error replies, and back to their reason for the counters."""

import msgspec

from polyglotd.model import Refusal


class _Reply(msgspec.Struct):
    reason: str = "internal"


_decode = msgspec.json.Decoder(_Reply).decode


def encode_refusal(refusal: Refusal) -> bytes:
    """The `response` of an error reply."""
    return msgspec.json.encode(refusal.as_reply())


def reason_of(response: bytes) -> str:
    """Which refusal the gateway's error reply is. Every one has a reason; one without is ours to answer for."""
    return _decode(response).reason
