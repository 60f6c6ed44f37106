"""All events of an app, a page at a time, in an order that stays: by channel, epoch and seq. What an export reads.

Everything that was acknowledged before the first page is in it, since that waits until the store has it. Channels are
read one after the other through the store's own index; nobody's history waits behind it (`past` bounds all reads).
"""

import base64
import binascii
from typing import NamedTuple

import msgspec
import trio

from polyglotd.gateway.directory import Entry
from polyglotd.gateway.past import Past
from polyglotd.log.interface import EventLog
from polyglotd.model import Event, Invalid, Unavailable, check_pattern
from polyglotd.store.interface import EventStore, HistoryQuery

LIMIT_MAX = 1000
BYTES_MAX = 1 << 20
CHANNELS_AT_ONCE = 100
READS_MAX = 100  # of channels in one page, so that it comes in time; it may be empty, and others follow
STORED_WITHIN_S = 8.0
LOOK_S = 0.1
WHOLE_APP = "*"


class AppEventsRequest(msgspec.Struct, frozen=True, kw_only=True):
    pattern: str = WHOLE_APP
    from_us: int | None = None  # ts >= from_us
    to_us: int | None = None  # ts < to_us
    cursor: str | None = None  # of the page before
    limit: int = LIMIT_MAX


class AppEventsPage(NamedTuple):
    """`cursor`: for the next page; None on the last."""

    events: list[Event]
    cursor: str | None


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Everything up to this event, and of the channels before, was given."""

    channel: str
    epoch: str
    seq: int


class AppEvents:
    def __init__(self, log: EventLog, store: EventStore, past: Past) -> None:
        self._log = log
        self._store = store
        self._past = past

    async def page(self, entry: Entry, request: AppEventsRequest) -> AppEventsPage:
        """Raises `Invalid`, and `Unavailable` where the store is lost or far behind."""
        prefix, only = _names(request.pattern)
        place = None if request.cursor is None else _place(request.cursor)
        if place is None:
            await self._stored()
        app_id = entry.app.app_id
        gathering = _Gathering(app_id, request)
        first = max(only or "", place.channel if place is not None else "")
        while True:
            channels = await self._store.channels_of_app(app_id, prefix, first, CHANNELS_AT_ONCE)
            for channel in channels:
                if only is not None and channel.channel != only:
                    return gathering.last()
                for epoch in _epochs_from(channel.channel, channel.epochs, place):
                    after = 0
                    if place is not None and (place.channel, place.epoch) == (channel.channel, epoch):
                        after = place.seq
                    page = await self._past.page(gathering.query(channel.channel, epoch, after))
                    if gathering.add(channel.channel, epoch, after, page.events) or page.more:
                        return gathering.more()
            if len(channels) < CHANNELS_AT_ONCE:
                return gathering.last()
            first = channels[-1].channel + "\x01"  # before every name that can follow

    async def _stored(self) -> None:
        """Wait until the store has what is in the log now."""
        end = self._log.end
        with trio.move_on_after(STORED_WITHIN_S):
            while await self._store.cursor(self._log.id) < end:
                await trio.sleep(LOOK_S)
            return
        raise Unavailable("the store is behind the event log: it has to catch up first", retry_after_ms=5_000)


class _Gathering:
    """One page as it grows."""

    def __init__(self, app_id: str, request: AppEventsRequest) -> None:
        self._app_id = app_id
        self._request = request
        self._events: list[Event] = []
        self._bytes = BYTES_MAX
        self._reads = 0
        self._place = _Place("", "", 0)

    def query(self, channel: str, epoch: str, after: int) -> HistoryQuery:
        return HistoryQuery(
            app_id=self._app_id,
            channel=channel,
            epoch=epoch,
            after=after,
            from_us=self._request.from_us,
            to_us=self._request.to_us,
            limit=self._request.limit - len(self._events),
            bytes_max=max(1, self._bytes),
        )

    def add(self, channel: str, epoch: str, after: int, events: list[Event]) -> bool:
        """Whether the page is full."""
        self._events += events
        self._bytes -= sum(len(event.data) for event in events)
        self._place = _Place(channel, epoch, events[-1].seq if events else after)
        self._reads += 1
        return len(self._events) >= self._request.limit or self._bytes <= 0 or self._reads >= READS_MAX

    def more(self) -> AppEventsPage:
        text = base64.urlsafe_b64encode(msgspec.json.encode(self._place)).decode().rstrip("=")
        return AppEventsPage(self._events, text)

    def last(self) -> AppEventsPage:
        return AppEventsPage(self._events, None)


def _names(pattern: str) -> tuple[str, str | None]:
    """The prefix of the channels, and the channel where it is one alone."""
    if pattern == WHOLE_APP:
        return "", None
    check_pattern(pattern, "channel")
    return (pattern[:-1], None) if pattern.endswith("*") else (pattern, pattern)


def _place(cursor: str) -> _Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=_Place)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Invalid("cursor is one that an earlier page gave", field="cursor") from None


def _epochs_from(channel: str, epochs: list[str], place: _Place | None) -> list[str]:
    """Those that are left. Where the one of the cursor is gone, retention took it, and all others came after it."""
    if place is None or place.channel != channel or place.epoch not in epochs:
        return epochs
    return epochs[epochs.index(place.epoch) :]
