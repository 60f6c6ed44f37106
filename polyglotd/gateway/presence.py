"""Who is in which channel: members' comings and goings to the broker, and what they see of each other.

Fed by joins and pushes, read by HTTP. Changes go to the broker and come back from it, also those of this node, so
that all nodes show one order; only then are they shown. What gathers in a roster is broadcast by `run`.
"""

import heapq
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from polyglotd.broker.interface import Broker, PresenceChange, PresenceMeta
from polyglotd.channels.presence import Refs, Roster, gather_delay_s
from polyglotd.gateway.connections import Connection, Subscription
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.topics import Topic
from polyglotd.model import Policy, Unavailable
from polyglotd.plane.interface import Broadcast, SendTo

logger = logging.getLogger(__name__)

ANNOUNCED_AT_ONCE_MAX = 1_000
UNANNOUNCED_MAX = 100_000  # while the broker is away; beyond it changes are lost, and rosters with them
RETRY_S = 1.0


@dataclass(slots=True, eq=False)
class _Watched:
    topic: Topic
    roster: Roster
    due: bool = False  # in the heap of those to be broadcast


class Presence:
    def __init__(self, port: PlanePort, broker: Broker) -> None:
        self._port = port
        self._broker = broker
        self._refs = Refs()
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._unannounced: list[PresenceChange] = []
        self._to_load: list[_Watched] = []
        self._announce = trio.Event()
        self._awaiting_state: dict[str, tuple[int, int]] = {}  # own ref -> (conn, sub)
        self._due: list[tuple[float, int, _Watched]] = []
        self._due_earlier = trio.Event()
        self._tie = 0
        self.lost = 0  # changes that found no room: a metric

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_changes)
            nursery.start_soon(self._follow_changes)
            nursery.start_soon(self._broadcast_gathered)
            task_status.started()

    # --- what happens to members ---

    def join(self, connection: Connection, subscription: Subscription, topic: Topic) -> None:
        """A user's connection joined: it is present, and gets the state where it may see it."""
        if topic.policy.presence == "none" or connection.user_id is None:
            return
        self._watch(topic)
        meta = PresenceMeta(self._refs.new(), subscription.info)
        subscription.presence_ref = meta.ref
        if subscription.access.sees_presence:
            self._awaiting_state[meta.ref] = (connection.conn, subscription.sub)
        self._change(PresenceChange(topic.app_id, topic.channel, connection.user_id, meta, None))

    def leave(self, connection: Connection, subscription: Subscription) -> None:
        ref, subscription.presence_ref = subscription.presence_ref, None
        if ref is None or connection.user_id is None:
            return
        self._awaiting_state.pop(ref, None)
        self._change(PresenceChange(connection.app_id, subscription.channel, connection.user_id, None, ref))

    def update(self, connection: Connection, subscription: Subscription, info: bytes | None) -> None:
        """The member shows other `info` from now on."""
        subscription.info = info
        old = subscription.presence_ref
        if old is None or connection.user_id is None:
            return
        meta = PresenceMeta(self._refs.new(), info, old)
        subscription.presence_ref = meta.ref
        if (waiting := self._awaiting_state.pop(old, None)) is not None:
            self._awaiting_state[meta.ref] = waiting
        self._change(PresenceChange(connection.app_id, subscription.channel, connection.user_id, meta, old))

    def show(self, connection: Connection, subscription: Subscription) -> None:
        """The member may see presence from now on."""
        if (watched := self._watched.get((connection.app_id, subscription.channel))) is not None:
            self._port.send(SendTo(connection.conn, subscription.sub, "presence_state", watched.roster.state()))

    # --- what happens to topics ---

    def closed(self, topic: Topic) -> None:
        watched = self._watched.get((topic.app_id, topic.channel))
        if watched is not None and watched.topic is topic:
            del self._watched[topic.app_id, topic.channel]

    def reconfigured(self, topic: Topic) -> None:
        """The topic's policy is another."""
        if (watched := self._watched.get((topic.app_id, topic.channel))) is not None:
            watched.roster.reconfigure(topic.policy.presence, topic.policy.presence_max)
            self._schedule(watched)

    # --- who is there ---

    def members(self, app_id: str, channel: str) -> tuple[int, int] | None:
        """(connections, users) present; None where nobody of this node is."""
        watched = self._watched.get((app_id, channel))
        return None if watched is None else (watched.roster.members, watched.roster.users)

    async def state(self, app_id: str, channel: str, policy: Policy) -> bytes:
        """The payload of `presence_state`. Raises `Unavailable`."""
        if (watched := self._watched.get((app_id, channel))) is not None:
            return watched.roster.state()
        roster = Roster(policy.presence, policy.presence_max, self._refs)
        roster.load(await self._broker.roster(app_id, channel))
        return roster.state()

    # --- within ---

    def _watch(self, topic: Topic) -> _Watched:
        key = (topic.app_id, topic.channel)
        watched = self._watched.get(key)
        if watched is None or watched.topic is not topic:
            roster = Roster(topic.policy.presence, topic.policy.presence_max, self._refs)
            watched = self._watched[key] = _Watched(topic, roster)
            self._to_load.append(watched)
            self._announce.set()
        return watched

    def _change(self, change: PresenceChange) -> None:
        if len(self._unannounced) >= UNANNOUNCED_MAX:
            self.lost += 1
            return
        self._unannounced.append(change)
        self._announce.set()

    async def _announce_changes(self) -> None:
        while True:
            await self._announce.wait()
            try:
                await self._load()
                batch = self._unannounced[:ANNOUNCED_AT_ONCE_MAX]
                if batch:
                    await self._broker.present(batch)
                    del self._unannounced[: len(batch)]
            except Unavailable as error:
                logger.warning("presence is not announced, next try in %.1f s: %s", RETRY_S, error)
                await trio.sleep(RETRY_S)
            if not self._unannounced and not self._to_load:
                self._announce = trio.Event()

    async def _load(self) -> None:
        """Ask for the rosters of new channels, before their members' changes go out."""
        while self._to_load:
            watched = self._to_load[0]
            members: Mapping[str, Sequence[PresenceMeta]]
            members = await self._broker.roster(watched.topic.app_id, watched.topic.channel)
            if members:
                watched.roster.load(members)
                self._schedule(watched)
            self._to_load.remove(watched)

    async def _follow_changes(self) -> None:
        while True:
            try:
                changes = await self._broker.presence_changes()
            except Unavailable as error:
                logger.warning("presence is not followed, next try in %.1f s: %s", RETRY_S, error)
                await trio.sleep(RETRY_S)
                continue
            shown: list[tuple[_Watched, tuple[int, int]]] = []
            for change in changes:
                watched = self._watched.get((change.app_id, change.channel))
                if watched is not None:
                    watched.roster.apply(change.user_id, change.joined, change.left)
                    self._schedule(watched)
                if change.joined is not None:
                    member = self._awaiting_state.pop(change.joined.ref, None)
                    if member is not None and watched is not None:
                        shown.append((watched, member))
            # After all of the batch: many who join at once share one encoded state.
            for watched, (conn, sub) in shown:
                self._port.send(SendTo(conn, sub, "presence_state", watched.roster.state()))

    def _schedule(self, watched: _Watched) -> None:
        if watched.due or not watched.roster.pending:
            return
        watched.due = True
        self._tie += 1
        due_s = trio.current_time() + gather_delay_s(watched.roster.members)
        heapq.heappush(self._due, (due_s, self._tie, watched))
        if self._due[0][2] is watched:
            self._due_earlier.set()

    async def _broadcast_gathered(self) -> None:
        while True:
            next_s = self._due[0][0] if self._due else math.inf
            with trio.move_on_at(next_s):
                await self._due_earlier.wait()
                self._due_earlier = trio.Event()
                continue
            now_s = trio.current_time()
            while self._due and self._due[0][0] <= now_s:
                watched = heapq.heappop(self._due)[2]
                watched.due = False
                gathered = watched.roster.take()
                if gathered is not None:
                    self._port.send(Broadcast(watched.topic.topic, gathered.event, gathered.payload, True))
