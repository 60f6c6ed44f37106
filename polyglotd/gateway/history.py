"""Pages of a channel's history, for the `history` event and for HTTP.

Memory kinds have their past in the plane's window alone. Of logged kinds the window has the newest part, and a page
that lies in it needs no disk; any other comes from the log and the store.
"""

from polyglotd.gateway.directory import Entry
from polyglotd.gateway.past import Past
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.requests import HistoryPage, HistoryRequest
from polyglotd.gateway.topics import Topic, Topics, unknown_kind
from polyglotd.model import Event, Invalid, envelope_bytes, kind_of, new_epoch
from polyglotd.plane.interface import WindowPage
from polyglotd.store.interface import HistoryQuery

LIMIT_MAX = 1000
BYTES_MAX = 1 << 20  # of envelopes in a page, but at least one event
WINDOW_EVENTS_MAX = 1_000_000  # all of a window, which is bounded by bytes


class History:
    def __init__(self, port: PlanePort, topics: Topics, past: Past) -> None:
        self._port = port
        self._topics = topics
        self._past = past

    async def page(self, entry: Entry, channel: str, request: HistoryRequest) -> HistoryPage:
        """Of a channel whose name was checked. Raises `Invalid`, `UnknownChannelKind`, `Unavailable`."""
        if not 1 <= request.limit <= LIMIT_MAX:
            raise Invalid(f"limit is 1 to {LIMIT_MAX}", field="limit")
        policy = entry.policy(kind_of(channel))
        if policy is None:
            raise unknown_kind(channel)
        topic = self._topics.find(entry.app.app_id, channel)
        if policy.durability == "memory":
            return await self._of_window(topic, request)
        if topic is not None:
            limit = request.limit if _is_unfiltered(request) else 1  # then where the channel stands is all we want
            window = await self._port.read_window(
                topic.topic, after=request.after, before=request.before, limit=limit, bytes_max=BYTES_MAX
            )
            if _is_unfiltered(request) and _is_whole(window, request):
                return HistoryPage(window.epoch, window.seq, window.events, window.more)
            # Of its newest events the log is told a moment after members have them.
            if request.before is None or request.before > topic.seq + 1:
                await self._topics.heard(topic, window.seq)
        return await self._of_past(entry.app.app_id, channel, topic, request)

    async def _of_window(self, topic: Topic | None, request: HistoryRequest) -> HistoryPage:
        if topic is None:
            return HistoryPage(new_epoch(), 0, [], False)  # it begins a new epoch when somebody comes
        filtered = not _is_unfiltered(request)
        page = await self._port.read_window(
            topic.topic,
            after=request.after,
            before=request.before,
            limit=WINDOW_EVENTS_MAX if filtered else request.limit,
            bytes_max=WINDOW_EVENTS_MAX * BYTES_MAX if filtered else BYTES_MAX,
        )
        if not filtered:
            return HistoryPage(page.epoch, page.seq, page.events, page.more)
        matching = [event for event in page.events if _matches(event, request)]
        kept = _cut(matching, request.limit, oldest=request.after is not None)
        return HistoryPage(page.epoch, page.seq, kept, len(kept) < len(matching))

    async def _of_past(self, app_id: str, channel: str, topic: Topic | None, request: HistoryRequest) -> HistoryPage:
        head = self._past.head(app_id, channel)
        # A topic that was open when the log renewed its own epoch goes on in its old one until its first event.
        epoch = head.epoch if topic is None else topic.epoch
        page = await self._past.page(
            HistoryQuery(
                app_id=app_id,
                channel=channel,
                epoch=epoch,
                after=request.after,
                before=request.before,
                type=request.type,
                from_us=request.from_us,
                to_us=request.to_us,
                limit=request.limit,
                bytes_max=BYTES_MAX,
            )
        )
        return HistoryPage(epoch, max(head.seq, page.events[-1].seq if page.events else 0), page.events, page.more)


def _is_unfiltered(request: HistoryRequest) -> bool:
    return request.type is None and request.from_us is None and request.to_us is None


def _is_whole(window: WindowPage, request: HistoryRequest) -> bool:
    """Whether the window's page is what the whole history would give."""
    if request.after is not None:
        return request.after + 1 >= window.first
    if len(window.events) >= request.limit or window.first <= 1:
        return True
    return bool(window.events) and window.events[0].seq > window.first  # cut by its bytes, not by the window's end


def _matches(event: Event, request: HistoryRequest) -> bool:
    return (
        (request.type is None or event.type == request.type)
        and (request.from_us is None or event.ts_us >= request.from_us)
        and (request.to_us is None or event.ts_us < request.to_us)
    )


def _cut(events: list[Event], limit: int, *, oldest: bool) -> list[Event]:
    """The first of them from one end, within the bounds of a page; in seq order."""
    kept: list[Event] = []
    size = 0
    for event in events if oldest else reversed(events):
        size += envelope_bytes(event)
        if len(kept) >= limit or (kept and size > BYTES_MAX):
            break
        kept.append(event)
    return kept if oldest else kept[::-1]
