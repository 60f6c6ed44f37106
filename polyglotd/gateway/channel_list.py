"""Where channels stand and who is on them, for HTTP: one channel, or all that are occupied."""

from heapq import nsmallest

from polyglotd.gateway.directory import Entry
from polyglotd.gateway.past import Past
from polyglotd.gateway.presence import Presence
from polyglotd.gateway.requests import ChannelInfo, ChannelPage
from polyglotd.gateway.topics import Topic, Topics
from polyglotd.model import Invalid, Policy, kind_of, new_epoch

LIMIT_MAX = 1000


class ChannelList:
    def __init__(self, topics: Topics, presence: Presence, past: Past) -> None:
        self._topics = topics
        self._presence = presence
        self._past = past

    def info(self, entry: Entry, channel: str, policy: Policy) -> ChannelInfo:
        """Of a channel whose name was checked. One that nobody uses stands where its history ends."""
        app_id = entry.app.app_id
        topic = self._topics.find(app_id, channel)
        if topic is not None:
            return self._info(topic, policy)
        users = None if policy.presence == "none" else 0
        if policy.durability == "memory":
            return ChannelInfo(channel, kind_of(channel), new_epoch(), 0, 0, users)
        head = self._past.head(app_id, channel)
        return ChannelInfo(channel, kind_of(channel), head.epoch, head.seq, 0, users)

    def page(self, entry: Entry, prefix: str, cursor: str | None, limit: int) -> ChannelPage:
        """`cursor` is the last name of the page before."""
        if not 1 <= limit <= LIMIT_MAX:
            raise Invalid(f"limit is 1 to {LIMIT_MAX}", field="limit")
        after = cursor or ""
        occupied = (
            topic
            for topic in self._topics.of_app(entry.app.app_id)
            if topic.members > 0 and topic.channel.startswith(prefix) and topic.channel > after
        )
        found = nsmallest(limit + 1, occupied, key=lambda topic: topic.channel)
        shown = [self._info(topic, topic.policy) for topic in found[:limit]]
        return ChannelPage(shown, shown[-1].channel if len(found) > limit else None)

    def _info(self, topic: Topic, policy: Policy) -> ChannelInfo:
        present = self._presence.members(topic.app_id, topic.channel)
        users = None if policy.presence == "none" else 0 if present is None else present[1]
        return ChannelInfo(topic.channel, kind_of(topic.channel), topic.epoch, topic.seq, topic.members, users)
