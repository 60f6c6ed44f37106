"""Erase events: find which, ask the log, put tombstones into the plane's windows, and follow it until it is done.

Callers are checked by `Gateway`. The request is durable, in the log's order, before it is answered; from then on
nobody is shown the events, and whatever crashes, log, store and webhooks get there. Followed is where it has got to.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import trio

from polyglotd.gateway.clock import WallClock
from polyglotd.gateway.directory import Entry
from polyglotd.gateway.past import Past
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.requests import ErasureProgress
from polyglotd.gateway.topics import Topic, Topics, unknown_kind
from polyglotd.log.interface import ErasedWhat, Erasure, ErasureState, EventLog
from polyglotd.model import (
    AmbiguousId,
    Event,
    NotFound,
    Unavailable,
    check_channel,
    check_user_id,
    format_ts,
    kind_of,
    new_handle,
)
from polyglotd.plane.interface import Erase
from polyglotd.store.interface import EventStore, StoreFault

logger = logging.getLogger(__name__)

LOOK_S = 0.25  # how often it looks how far erasures are
SETTLE_S = 10.0  # after that nobody has what was read before it; the longest read of history takes 8 s
FOUND_MAX = 100  # events with one id of their publishers' that are told apart
TOPICS_AT_ONCE = 500  # told of a user's erasure in one turn
SEQ_MAX = (1 << 62) - 1
WINDOW_EVENTS_MAX, WINDOW_BYTES_MAX = 1_000_000, 1 << 40  # all of a window, which is bounded by bytes
WEBHOOKS_READER = "webhooks"


@dataclass(slots=True)
class _Reached:
    """How far an erasure is, beside what the log says."""

    window: bool = True
    store: bool = False
    webhooks: bool = False
    done_at: float | None = None  # on trio's clock


class Erasing:
    def __init__(
        self, port: PlanePort, topics: Topics, past: Past, log: EventLog, store: EventStore, wall: WallClock
    ) -> None:
        self._port = port
        self._topics = topics
        self._past = past
        self._log = log
        self._store = store
        self._wall = wall
        self._reached: dict[str, _Reached] = {}
        self._asked = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow what is under way, also from before this process, until cancelled."""
        task_status.started()
        while True:
            if not any(not state.settled_us for state in self._log.erasures()):
                await self._asked.wait()
            self._asked = trio.Event()
            try:
                await self._look()
            except (Unavailable, StoreFault) as error:
                logger.debug("how far erasures are can't be seen now: %s", error)
            with trio.move_on_after(LOOK_S):
                await self._asked.wait()

    # --- what is asked for ---

    async def event(self, entry: Entry, channel: str, event_id: str, seq: int | None) -> ErasureProgress:
        """Raises `NotFound`, `AmbiguousId`, `UnknownChannelKind`, `Unavailable`."""
        check_channel(channel)
        found = await self._find(entry, channel, event_id, seq)
        if not found:
            raise NotFound("the channel has no such event")
        topic = self._topics.find(entry.app.app_id, channel)
        epoch = self._past.head(entry.app.app_id, channel).epoch if topic is None else topic.epoch
        current = [event for event in found if event.epoch == epoch]
        chosen = current or found[:1]  # of past epochs, which nobody is shown any more, the newest
        if len(chosen) > 1:
            seqs = sorted(event.seq for event in chosen)
            raise AmbiguousId(f"{len(seqs)} events have this id: name one by its seq", seqs=seqs)
        [event] = chosen
        payload = msgspec.json.encode({"id": event.id, "epoch": event.epoch, "seq": event.seq})
        return await self._erase_in_channel(entry, channel, "event", event.epoch, event.seq, event.seq, payload)

    async def history(self, entry: Entry, channel: str) -> ErasureProgress:
        """All events that the channel has now, of past epochs too. Raises `UnknownChannelKind`, `Unavailable`."""
        check_channel(channel)
        if entry.policy(kind_of(channel)) is None:
            raise unknown_kind(channel)
        app_id = entry.app.app_id
        head = self._past.head(app_id, channel)
        epoch, seq = head.epoch, head.seq
        if (topic := self._topics.find(app_id, channel)) is not None:
            # The plane knows the newest events before the log's table hears of them.
            page = await self._port.read_window(topic.topic, after=None, before=None, limit=1, bytes_max=1)
            epoch, seq = page.epoch, page.seq
        payload = msgspec.json.encode({"epoch": epoch, "before": seq + 1})
        return await self._erase_in_channel(entry, channel, "history", epoch, 0, seq, payload)

    async def user(self, entry: Entry, user_id: str) -> ErasureProgress:
        """All events of the user up to now, in every channel. Raises `Unavailable`."""
        check_user_id(user_id, "user")
        app_id = entry.app.app_id
        at_us = self._wall()
        await self._all_appended(app_id)
        erasure = Erasure(new_handle("era_"), app_id, "user", "", "", 0, 0, user_id, at_us)
        state = await self._ask(erasure)
        self._reached[erasure.erasure_id] = _Reached(window=False)
        payload = msgspec.json.encode({"user_id": user_id, "ts": format_ts(at_us)})
        await self._erase_user_in_windows(erasure, payload)
        return self._progress(state)

    def progress(self, app_id: str, erasure_id: str) -> ErasureProgress:
        """Raises `NotFound`, also for one of another app."""
        for state in self._log.erasures():
            if state.erasure.erasure_id == erasure_id and state.erasure.app_id == app_id:
                return self._progress(state)
        raise NotFound("there is no such erasure; finished ones are known for a while")

    def newest(self, app_id: str, limit: int) -> Sequence[ErasureProgress]:
        """Newest first."""
        states = [state for state in self._log.erasures() if state.erasure.app_id == app_id]
        return [self._progress(state) for state in reversed(states[-limit:])]

    # --- within ---

    async def _erase_in_channel(
        self, entry: Entry, channel: str, what: ErasedWhat, epoch: str, first: int, last: int, payload: bytes
    ) -> ErasureProgress:
        app_id = entry.app.app_id
        erasure = Erasure(new_handle("era_"), app_id, what, channel, epoch, first, last, None, self._wall())
        state = await self._ask(erasure)
        if (topic := self._topics.find(app_id, channel)) is not None:
            self._port.send(Erase(topic.topic, epoch, first, last, None, 0, payload))
        self._reached[erasure.erasure_id] = _Reached()
        return self._progress(state)

    async def _ask(self, erasure: Erasure) -> ErasureState:
        end = self._log.erase(erasure)
        await self._log.synced(end)
        self._asked.set()
        return ErasureState(erasure, end)

    async def _all_appended(self, app_id: str) -> None:
        """Return when every event that the plane has given a time to is in the log: an app's topics are served by one
        thread, which answers after it has appended what it took before."""
        topic = next((topic for topic in self._topics.of_app(app_id) if topic.closing is None), None)
        if topic is not None:
            await self._port.read_window(topic.topic, after=None, before=None, limit=1, bytes_max=1)

    async def _erase_user_in_windows(self, erasure: Erasure, payload: bytes) -> None:
        for at, topic in enumerate(self._topics.of_app(erasure.app_id), 1):
            self._port.send(Erase(topic.topic, None, 0, SEQ_MAX, erasure.user_id, erasure.ts_us, payload))
            if at % TOPICS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def _find(self, entry: Entry, channel: str, event_id: str, seq: int | None) -> list[Event]:
        """Those with this id, and with this seq if one is given; newest first."""
        policy = entry.policy(kind_of(channel))
        if policy is None:
            raise unknown_kind(channel)
        app_id = entry.app.app_id
        found: dict[tuple[str, int], Event] = {}
        topic = self._topics.find(app_id, channel)
        if topic is not None:
            for event in await self._window(topic):
                if event.id == event_id:
                    found[event.epoch, event.seq] = event
        its_own = not event_id.startswith("evt_")  # another event may have the same
        if its_own or not found:
            try:
                for event in await self._past.find(app_id, channel, event_id, FOUND_MAX):
                    found.setdefault((event.epoch, event.seq), event)
            except Unavailable:
                if not found or seq is None:
                    raise
        matching = [event for event in found.values() if seq is None or event.seq == seq]
        return sorted(matching, key=lambda event: (event.ts_us, event.seq), reverse=True)

    async def _window(self, topic: Topic) -> Sequence[Event]:
        page = await self._port.read_window(
            topic.topic, after=None, before=None, limit=WINDOW_EVENTS_MAX, bytes_max=WINDOW_BYTES_MAX
        )
        return page.events

    # --- how far it is ---

    async def _look(self) -> None:
        under_way = [state for state in self._log.erasures() if not state.settled_us]
        for state in under_way:
            reached = self._reached.setdefault(state.erasure.erasure_id, _Reached())
            if state.in_log and not reached.window:
                # What waited for the disk when the windows were first looked through is in them by now.
                await self._erase_user_in_windows(state.erasure, b"")
                reached.window = True
        cursor = await self._store.cursor(self._log.id)
        in_store = set(await self._store.erasures())
        webhooks = self._log.stats().readers.get(WEBHOOKS_READER)
        for state in under_way:
            reached = self._reached[state.erasure.erasure_id]
            reached.store = cursor >= state.position and state.erasure.erasure_id not in in_store
            reached.webhooks = webhooks is None or webhooks >= state.position
            if not self._progress(state).done:
                continue
            if reached.done_at is None:
                reached.done_at = trio.current_time()
            elif trio.current_time() - reached.done_at >= SETTLE_S:
                self._log.settle(state.erasure.erasure_id)
                del self._reached[state.erasure.erasure_id]

    def _progress(self, state: ErasureState) -> ErasureProgress:
        erasure = state.erasure
        settled = state.settled_us > 0
        reached = self._reached.get(erasure.erasure_id, _Reached())
        return ErasureProgress(
            erasure=erasure,
            window=settled or reached.window,
            log=settled or state.in_log,
            store=settled or reached.store,
            webhooks=settled or reached.webhooks,
        )
