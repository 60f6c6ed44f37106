"""From rows to a page of history, within the query's bounds. Pure; every make of the event store calls it."""

from collections.abc import Iterable

from polyglotd.model import Event, envelope_bytes
from polyglotd.store.interface import EventPage, HistoryQuery

HistoryRow = tuple[int, str, str, str | None, int, bytes]
"""seq, id, type, user_id, ts in µs, data."""


def page_of(query: HistoryQuery, rows: Iterable[HistoryRow]) -> EventPage:
    """`rows`: those that match, up to one more than the limit, in the direction asked for. No more are taken than
    the page needs."""
    events: list[Event] = []
    size, more = 0, False
    for seq, event_id, type_, user_id, ts_us, data in rows:
        event = Event(
            id=event_id,
            app_id=query.app_id,
            channel=query.channel,
            epoch=query.epoch,
            seq=seq,
            type=type_,
            data=data,
            user_id=user_id,
            ts_us=ts_us,
        )
        size += envelope_bytes(event)
        if len(events) == query.limit or (events and size > query.bytes_max):
            more = True
            break
        events.append(event)
    if query.after is None:
        events.reverse()
    return EventPage(events, more=more)
