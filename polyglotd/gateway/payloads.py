"""What clients send on a channel, taken apart: the parameters of a join and of the events that the gateway answers.

Raises `Invalid` with the field that is wrong. Fields that are not ours are let through: Phoenix applications put
their own into joins.
"""

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from polyglotd.model import Invalid, PayloadTooLarge
from polyglotd.protocol.json_text import NotJson, decode_checked

SEQ_MAX = (1 << 63) - 1
EPOCH_CHARACTERS_MAX = 64
HISTORY_LIMIT_MAX = 1000
HISTORY_LIMIT_DEFAULT = 100
INFO_BYTES_MAX = 1024

Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]

T = TypeVar("T")
_PATH = re.compile(r" - at `\$\.?([^`]*)`\Z")


class Since(Struct, frozen=True):
    epoch: Annotated[str, Meta(max_length=EPOCH_CHARACTERS_MAX)]
    seq: Seq


class JoinParams(Struct, frozen=True):
    since: Since | None = None
    history: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    echo: bool = msgspec.field(default=True, name="self")


class HistoryParams(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LIMIT_MAX)] = HISTORY_LIMIT_DEFAULT
    before: Seq | None = None
    after: Seq | None = None


class _PresenceUpdate(Struct, frozen=True):
    info: Raw


class _AccessToken(Struct, frozen=True):
    access_token: str


_join = msgspec.json.Decoder(JoinParams)
_history = msgspec.json.Decoder(HistoryParams)
_presence_update = msgspec.json.Decoder(_PresenceUpdate)
_access_token = msgspec.json.Decoder(_AccessToken)


def join_params(payload: bytes) -> JoinParams:
    return _decode(_join, payload)


def history_params(payload: bytes) -> HistoryParams:
    return _decode(_history, payload)


def presence_info(payload: bytes) -> bytes:
    """The new `info`: a JSON object without needless white space."""
    # Without line breaks, which would break the frames of SSE and NDJSON.
    info = msgspec.json.format(_decode(_presence_update, payload).info, indent=-1)
    if not info.startswith(b"{"):
        raise Invalid("info is a JSON object", field="info")
    if len(info) > INFO_BYTES_MAX:
        raise PayloadTooLarge(f"info has at most {INFO_BYTES_MAX} bytes", limit=INFO_BYTES_MAX)
    return info


def access_token(payload: bytes) -> str:
    return _decode(_access_token, payload).access_token


def _decode(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    try:
        return decode_checked(decoder, payload)
    except NotJson as error:
        raise Invalid(str(error), field="payload") from None
    except msgspec.ValidationError as error:
        text = str(error)
        path = _PATH.search(text)
        parts = [path[1] if path is not None else "", _missing(text)]
        raise Invalid(_PATH.sub("", text), field=".".join(filter(None, parts)) or "payload") from None


def _missing(text: str) -> str:
    """The field of "Object missing required field `x`", whose path names the object."""
    found = re.search(r"missing required field `([^`]*)`", text)
    return found[1] if found is not None else ""
