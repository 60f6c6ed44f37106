"""A kind's policy changed while its channels are open: topics, members and what they see go on by the new one.

Where events would come from another place than before (`durability`, `route`), the channel begins a new epoch, since
its past can't be continued.
"""

import logging

from polyglotd.access.capabilities import Access
from polyglotd.gateway.connections import Connection, Connections, Subscription
from polyglotd.gateway.directory import Entry
from polyglotd.gateway.permissions import access_of
from polyglotd.gateway.plane_port import PlanePort
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.topics import Topic, Topics
from polyglotd.log.interface import EventLog
from polyglotd.model import Policy, Unavailable, kind_of, new_epoch
from polyglotd.plane.interface import EndSubscription, NewEpoch, SetCapabilities, SetPolicy

logger = logging.getLogger(__name__)


class PolicyChanges:
    def __init__(
        self, port: PlanePort, connections: Connections, topics: Topics, presence: Presence, log: EventLog
    ) -> None:
        self._port = port
        self._connections = connections
        self._topics = topics
        self._presence = presence
        self._log = log

    async def apply(self, entry: Entry) -> None:
        """Bring all that is open of an app under its present policies. Channels of a kind that nobody defines any
        more are left by everybody and close by themselves."""
        for topic in self._topics.of_app(entry.app.app_id):
            policy = entry.policy(kind_of(topic.channel))
            if policy is not None and policy != topic.policy:
                await self._set(topic, policy)
        for connection in self._connections.of_app(entry.app.app_id):
            self.recheck(connection, entry)

    def recheck(self, connection: Connection, entry: Entry) -> None:
        """What each subscription may do is decided anew, by the policies and the credential of now."""
        for subscription in list(connection.subs):
            access = access_of(connection.credential, entry, subscription.channel)
            before, subscription.access = subscription.access, access
            if not access.may_join:
                self._port.send(EndSubscription(connection.conn, subscription.sub, "closed"))
            elif access != before:
                self._capabilities(connection, subscription, before, access)
            self._recheck_presence(connection, subscription)

    def _capabilities(
        self, connection: Connection, subscription: Subscription, before: Access, access: Access
    ) -> None:
        self._port.send(SetCapabilities(connection.conn, subscription.sub, access.may_publish, access.sees_presence))
        if access.sees_presence and not before.sees_presence and subscription.presence_ref is not None:
            self._presence.show(connection, subscription)

    def _recheck_presence(self, connection: Connection, subscription: Subscription) -> None:
        topic = self._topics.find(connection.app_id, subscription.channel)
        if topic is None or not subscription.joined:
            return
        if topic.policy.presence == "none":
            self._presence.leave(connection, subscription)
        elif subscription.presence_ref is None:
            self._presence.join(connection, subscription, topic)

    async def _set(self, topic: Topic, policy: Policy) -> None:
        before, topic.policy = topic.policy, policy
        moved = (before.durability, before.route) != (policy.durability, policy.route)
        if moved:
            topic.epoch, topic.seq = new_epoch(), 0
            self._port.send(NewEpoch(topic.topic, topic.epoch))
        self._port.send(SetPolicy(topic.topic, policy))
        self._presence.reconfigured(topic)
        if moved:
            await self._keep_epoch(topic)

    async def _keep_epoch(self, topic: Topic) -> None:
        """Let the log know, so that a restart goes on in this epoch, or at least not in the old one."""
        if topic.closing is not None:
            return  # whoever opens it again asks the log first
        try:
            # Once the plane has answered, it appends nothing of the old epoch any more.
            await self._port.read_window(topic.topic, after=None, before=None, limit=1, bytes_max=1)
            head = self._log.head(topic.app_id, topic.channel)
            if topic.policy.durability == "logged" and head.epoch != topic.epoch:
                self._log.begin_epoch(topic.app_id, topic.channel, topic.epoch)
            elif topic.policy.durability == "memory" and head.seq > 0:
                self._log.begin_epoch(topic.app_id, topic.channel, new_epoch())
        except Unavailable as error:
            logger.warning("channel %s of app %s: its new epoch is not kept: %s", topic.channel, topic.app_id, error)
