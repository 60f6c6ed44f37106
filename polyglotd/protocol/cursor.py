"""Places as text: in one channel, `EPOCH:SEQ`, the id of server-sent events and the cursor of a channel's tail; and
in the log, the cursor of a tail of many channels, which is nobody's business but ours."""

import re
from typing import NamedTuple
from zlib import crc32

SEQ_MAX = (1 << 63) - 1

_CURSOR = re.compile(r"([0-9A-Za-z_-]{1,64}):([0-9]{1,19})")


def format_cursor(epoch: str, seq: int) -> str:
    return f"{epoch}:{seq}"


def parse_cursor(text: str) -> tuple[str, int] | None:
    """(epoch, seq), or None where it is no such text: whoever sent it can't be resumed and is to be told."""
    match = _CURSOR.fullmatch(text)
    if match is None or (seq := int(match[2])) > SEQ_MAX:
        return None
    return match[1], seq


class LogPlace(NamedTuple):
    """A position in a log."""

    log_id: str
    position: int


_LOG_PLACE = re.compile(r"p([0-9]{1,19})\.([0-9A-Za-z_-]{1,64})\.([0-9a-f]{8})")


def format_log_place(place: LogPlace) -> str:
    text = f"p{place.position}.{place.log_id}"
    return f"{text}.{crc32(text.encode()):08x}"


def parse_log_place(text: str) -> LogPlace | None:
    """None where it is no such text, or was changed: no record begins at a position that somebody made up."""
    match = _LOG_PLACE.fullmatch(text)
    if match is None or text != format_log_place(place := LogPlace(match[2], int(match[1]))):
        return None
    return place
