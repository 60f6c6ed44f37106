"""How many bytes an event's envelope has, without building it: pages of history are cut at a MiB of them."""

import msgspec

from polyglotd.model import Event, encode_event

_encode = msgspec.json.Encoder().encode  # of names, in which a quote or backslash takes two bytes
_EMPTY = Event(id="", app_id="", channel="", epoch="", seq=0, type="", data=b"", user_id=None, ts_us=0)
_FIXED = len(encode_event(_EMPTY)) - len('""') - len("0") - len("null")  # channel, seq, user: counted below


def envelope_bytes(event: Event) -> int:
    """`len(encode_event(event))`, at a fraction of its cost."""
    return (
        _FIXED
        + len(event.id)  # ids, app ids and types are ASCII that JSON does not escape
        + len(event.app_id)
        + len(event.type)
        + len(_encode(event.channel))
        + len(_encode(event.user_id))
        + len(event.data)
        + len(str(event.seq))
    )
