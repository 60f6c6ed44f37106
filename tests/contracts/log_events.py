"""Events for the suites of log, store and processor: short to write, with seqs that fit."""

from polyglotd.model import Event

EPOCH = "epoch00001"


def event(seq: int, channel: str = "room:lobby", app_id: str = "app", epoch: str = EPOCH, **fields: object) -> Event:
    values: dict[str, object] = {
        "id": f"evt_{app_id}-{channel}-{seq}",
        "type": "message",
        "data": b'{"n":%d}' % seq,
        "user_id": "user1",
        "ts_us": 1_795_508_130_000_000 + seq,
    }
    return Event(app_id=app_id, channel=channel, epoch=epoch, seq=seq, **(values | fields))  # type: ignore[arg-type]


def events(first: int, last: int, channel: str = "room:lobby", **fields: object) -> list[Event]:
    return [event(seq, channel, **fields) for seq in range(first, last + 1)]  # type: ignore[arg-type]
