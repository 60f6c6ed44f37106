"""The way of a publish or a signal from its payload to the point where it is admitted.

A member's goes through every check, in this order: shape, capability, size, the publisher's own id (a repeat gets its
first answer and costs no rate), rates. The gateway's `Publish` comes with names and rates checked, and goes through
size and id. Events of logged kinds then wait for the committer, others are out at once, or in one of the next turns.
"""

from functools import partial
from typing import NamedTuple

import msgspec

from polyglotd.channels.dedupe import Held, Known
from polyglotd.model import (
    Forbidden,
    Invalid,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    Refusal,
    Unavailable,
    check_client_event_id,
    check_type,
    encode_signal,
    format_ts,
    now_us,
)
from polyglotd.plane.asgi.committer import Committer
from polyglotd.plane.asgi.connection import Connection
from polyglotd.plane.asgi.delivery import Delivery
from polyglotd.plane.asgi.member import Member
from polyglotd.plane.asgi.pacer import Pacer
from polyglotd.plane.asgi.refusals import encode_refusal
from polyglotd.plane.asgi.state import PlaneState
from polyglotd.plane.asgi.topic import Answer, Publication, Topic
from polyglotd.plane.interface import Accepted, Publish, PublishItem, PublishResults, Refused
from polyglotd.protocol.json_text import NoObject, RepeatedKey, encode_str, members

_optional_text: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)


class _Content(NamedTuple):
    """What a client's `publish` or `signal` holds. Fields that are not ours are let through."""

    type: str
    data: bytes
    id: str | None


class Publishing:
    def __init__(self, state: PlaneState, committer: Committer, pacer: Pacer, delivery: Delivery) -> None:
        self._state = state
        self._committer = committer
        self._pacer = pacer
        self._delivery = delivery

    # --- members

    def publish(self, member: Member, payload: bytes, handle: int) -> None:
        """Take a member's `publish`; the answer may come later."""
        answer = partial(_answer_publish, member.connection, handle)
        try:
            content = _content(payload)
            _check_may_publish(member)
            self._take(member.topic, content, member.connection.user_id, member, answer)
        except Refusal as refusal:
            answer(refusal)

    def signal(self, member: Member, payload: bytes, handle: int) -> None:
        """Take a member's `signal`."""
        connection, topic = member.connection, member.topic
        try:
            content = _content(payload)
            _check_may_publish(member)
            self._check_size(topic, content.data)
            _take_rate(connection)
        except Refusal as refusal:
            _refuse(connection, handle, refusal)
            return
        signal = encode_signal(
            topic.app_id, topic.channel, content.type, content.data, connection.user_id, topic.next_ts_us()
        )
        self._delivery.signal(topic, content.type, signal, member)
        _reply(connection, handle, b"{}")

    # --- the gateway

    def publish_batch(self, command: Publish) -> None:
        """Take a batch; its results go up together, when the last of them is known."""
        batch = _Batch(self._state, command)
        for place, item in enumerate(command.items):
            self._publish_item(item, partial(batch.answer, place))

    def _publish_item(self, item: PublishItem, answer: Answer) -> None:
        try:
            topic = self._state.topics.get(item.topic)
            if topic is None:
                raise Unavailable("the channel has just closed")
            self._take(topic, item, item.user_id, None, answer)
        except Refusal as refusal:
            answer(refusal)

    # --- both

    def _take(
        self,
        topic: Topic,
        content: _Content | PublishItem,
        user_id: str | None,
        member: Member | None,
        answer: Answer,
    ) -> None:
        """The checks that members and the gateway share, and in."""
        self._check_size(topic, content.data)
        if content.id is not None and self._is_repeat(topic, content.id, user_id, answer):
            return
        self._check_quota(topic)
        if member is not None:
            _take_rate(member.connection)
        self._admit(Publication(topic, content.type, content.data, content.id, user_id, member, answer))

    def _check_size(self, topic: Topic, data: bytes) -> None:
        limit = self._state.apps[topic.app_id].limits.payload_bytes
        if len(data) > limit:
            raise PayloadTooLarge(f"data has at most {limit} bytes", limit=limit)

    def _check_quota(self, topic: Topic) -> None:
        app = self._state.apps[topic.app_id]
        if app.events_used_up:
            raise QuotaExceeded("the app has used up its events of this month", quota="events-per-month")
        if app.bytes_used_up and topic.is_logged:
            raise QuotaExceeded("the app has as many bytes stored as it may", quota="stored-bytes")

    def _is_repeat(self, topic: Topic, event_id: str, user_id: str | None, answer: Answer) -> bool:
        """Whether the publisher gave this id before. It then gets, or will get, what the first got."""
        match topic.dedupe.lookup(user_id, event_id, now_us()):
            case Known(seq, ts_us):
                self._state.counters.duplicates_total += 1
                answer(Accepted(event_id, seq, ts_us, True))
                return True
            case Held(publication):
                self._state.counters.duplicates_total += 1
                publication.repeats.append(answer)
                return True
            case _:
                return False

    def _admit(self, publication: Publication) -> None:
        topic = publication.topic
        if topic.is_logged:
            self._committer.put(publication)
            return
        if topic.waiting or not self._delivery.has_room_for(publication.size):
            self._pacer.put(publication)
            return
        event = publication.stamped(self._state.event_ids, topic.seq + 1, topic.next_ts_us())
        if publication.id is not None:
            topic.dedupe.remember(publication.user_id, publication.id, event.seq, event.ts_us)
        self._delivery.event(publication, event, 0)
        publication.answer(Accepted(event.id, event.seq, event.ts_us, False))


class _Batch:
    """The results of one `Publish`, until they are all there."""

    def __init__(self, state: PlaneState, command: Publish) -> None:
        self._state = state
        self._request = command.request
        self._results: list[Accepted | Refused | None] = [None] * len(command.items)
        self._missing = len(command.items)
        if not self._missing:
            state.records.put(PublishResults(command.request, []))

    def answer(self, place: int, outcome: Accepted | Refusal) -> None:
        self._results[place] = outcome if isinstance(outcome, Accepted) else self._refused(outcome)
        self._missing -= 1
        if not self._missing:
            results = [result for result in self._results if result is not None]
            self._state.records.put(PublishResults(self._request, results))

    def _refused(self, refusal: Refusal) -> Refused:
        self._state.refused[refusal.reason] += 1
        match refusal:
            case PayloadTooLarge(limit=limit):
                return Refused(refusal.reason, refusal.message, limit=limit)
            case QuotaExceeded(quota=quota):
                return Refused(refusal.reason, refusal.message, quota=quota)
            case Unavailable(retry_after_ms=retry_after_ms):
                return Refused(refusal.reason, refusal.message, retry_after_ms=retry_after_ms)
            case _:
                return Refused(refusal.reason, refusal.message)


def _content(payload: bytes) -> _Content:
    """Take the payload apart. Raises Invalid with the field that is wrong."""
    try:
        fields = members(payload)
    except NoObject:
        raise Invalid("the payload is an object {type, data, id?}", field="payload") from None
    except RepeatedKey as error:
        raise Invalid(str(error), field="payload") from None
    type_, event_id = _text(fields, "type"), _text(fields, "id")
    if type_ is None:
        raise Invalid("type is missing", field="type")
    return _Content(
        type=check_type(type_),
        data=fields.get("data", b"null"),
        id=None if event_id is None else check_client_event_id(event_id),
    )


def _text(fields: dict[str, bytes], name: str) -> str | None:
    try:
        return _optional_text.decode(fields.get(name, b"null"))
    except msgspec.DecodeError:
        raise Invalid(f"{name} is a string", field=name) from None


def _check_may_publish(member: Member) -> None:
    if not member.may_publish:
        raise Forbidden("this token may not publish on this channel")


def _take_rate(connection: Connection) -> None:
    wait_us = connection.take_publish_rate()
    if wait_us:
        raise RateLimited("too many publishes and signals a second", retry_after_ms=max(1, -(-wait_us // 1000)))


def _answer_publish(connection: Connection, handle: int, outcome: Accepted | Refusal) -> None:
    if isinstance(outcome, Refusal):
        _refuse(connection, handle, outcome)
        return
    response = b'{"id":%b,"seq":%d,"ts":"%b"%b}' % (
        encode_str(outcome.id),
        outcome.seq,
        format_ts(outcome.ts_us).encode(),
        b',"duplicate":true' if outcome.duplicate else b"",
    )
    _reply(connection, handle, response)


def _reply(connection: Connection, handle: int, response: bytes) -> None:
    if connection.phoenix is not None:
        connection.send(*connection.phoenix.reply(handle, True, response))


def _refuse(connection: Connection, handle: int, refusal: Refusal) -> None:
    if connection.phoenix is not None:
        connection.send(*connection.phoenix.reply(handle, False, encode_refusal(refusal)))
        connection.refused(refusal.reason)
