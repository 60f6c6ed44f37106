"""A place in one channel as text, `EPOCH:SEQ`: the id of server-sent events and the cursor of tails."""

import re

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
