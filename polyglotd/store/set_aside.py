"""What a table of records set aside holds, and what erasing does to it. Used by the makes of the event store."""

import msgspec

from polyglotd.log.interface import Erasure, ReadRecord
from polyglotd.model import Event, tombstone


class _Event(msgspec.Struct):
    """An event as the table has it: an object, its data in base64."""

    id: str
    app_id: str
    channel: str
    epoch: str
    seq: int
    type: str
    data: bytes
    user_id: str | None
    ts_us: int


def record_text(record: ReadRecord) -> str:
    """The record as JSON, with its type in `record`."""
    return msgspec.json.encode({"record": type(record).__name__} | msgspec.structs.asdict(record)).decode()


def erased_text(text: str, erasure: Erasure) -> str | None:
    """What takes the text's place where it is an event that the erasure means; else None."""
    fields = msgspec.json.decode(text)
    if fields.pop("record", None) != "Event":
        return None
    try:
        event = Event(*msgspec.structs.astuple(msgspec.convert(fields, _Event)))
    except msgspec.ValidationError:
        return None
    of_a_past = erasure.what == "history" and event.channel == erasure.channel and event.epoch != erasure.epoch
    if event.app_id != erasure.app_id or not (of_a_past or erasure.covers(event)):
        return None
    return record_text(tombstone(event))
