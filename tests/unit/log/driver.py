"""The driver as the log sees it: it writes events through the writer in C++, and tells of them later, by runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from polyglotd.log.interface import AppendedRun
from polyglotd.log.native_log import NativeSegmentLog
from polyglotd.log.record import channel_key, encode_event_record
from polyglotd.model import Event


@dataclass
class Batch:
    """One write of the driver's."""

    start: int
    end: int
    events: list[tuple[Event, int, int]] = field(default_factory=list)  # with their positions


def write(log: NativeSegmentLog, events: Sequence[Event]) -> Batch:
    """Raises `LogFull` and the like."""
    parts = [encode_event_record(e, channel_key(e.app_id, e.channel, e.epoch)) for e in events]
    position = log._native.log.append(b"".join(parts), bounded=True)
    batch = Batch(position, position)
    for event, part in zip(events, parts, strict=True):
        batch.events.append((event, batch.end, batch.end + len(part)))
        batch.end += len(part)
    return batch


def runs_of(batches: Sequence[Batch], *, loose: bool = False) -> list[AppendedRun]:
    """A run a channel's epoch. `loose`: as wide as the writes, else as narrow as the events."""
    runs: dict[tuple[str, str, str], AppendedRun] = {}
    for batch in batches:
        for event, start, end in batch.events:
            if loose:
                start, end = batch.start, batch.end
            name = (event.app_id, event.channel, event.epoch)
            before = runs.get(name)
            runs[name] = AppendedRun(
                *name,
                event.seq if before is None else before.first_seq,
                event.seq,
                event.ts_us,
                start if before is None else before.start,
                end,
                not event.id.startswith("evt_") or (before is not None and before.ids_given),
            )
    return list(runs.values())


def tell(log: NativeSegmentLog, *batches: Batch, loose: bool = False) -> None:
    """All that was written up to the last of these."""
    log.appended(runs_of(batches, loose=loose), batches[-1].end)
