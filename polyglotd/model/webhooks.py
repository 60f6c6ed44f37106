"""Webhooks as plain data: endpoints, what they want, and the JSON of what they get.

The registry keeps endpoints, the gateway's admin API makes them, the processor matches what happens against them. An
item is one thing that happened to an app; a message is a POST of some of them (section 9 of the contract).
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, get_args

import msgspec

from polyglotd.model.event import Event, encode_event, format_ts
from polyglotd.model.names import pattern_matches

WebhookType = Literal[
    "event.published", "channel.occupied", "channel.vacated", "member.joined", "member.left", "quota.reached"
]
WEBHOOK_TYPES: tuple[WebhookType, ...] = get_args(WebhookType)
OCCUPANCY_TYPES = frozenset[WebhookType](("channel.occupied", "channel.vacated"))
MEMBER_TYPES = frozenset[WebhookType](("member.joined", "member.left"))

_encode_str = _encode_any = msgspec.json.Encoder().encode


class EndpointSecret(msgspec.Struct, frozen=True, array_like=True):
    """What messages are signed with: `whsec_` and base64, as the receiver's library takes it."""

    text: str
    expires_us: int | None = None  # set by a rotation: the end of its grace


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an app's messages go, and which. Times are µs since 1970."""

    endpoint_id: str
    app_id: str
    url: str
    types: tuple[WebhookType, ...]
    secrets: tuple[EndpointSecret, ...]  # newest first; at least one
    created_us: int
    since_us: int  # what happens from then on: when it was created, or enabled again
    channels: tuple[str, ...] = ()  # patterns; none: every channel
    event_types: tuple[str, ...] = ()  # of `event.published`; none: every type
    name: str = ""
    enabled: bool = True
    disabled_why: str | None = None

    def wants(self, type_: str, channel: str | None, event_type: str | None, ts_us: int) -> bool:
        """Whether it is to hear of this. `channel` None: it is about the whole app."""
        if type_ not in self.types or ts_us < self.since_us:
            return False
        if self.event_types and event_type is not None and event_type not in self.event_types:
            return False
        return not self.channels or channel is None or any(pattern_matches(p, channel) for p in self.channels)


class EndpointPatch(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an endpoint to be changed; UNSET ones stay."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    types: tuple[WebhookType, ...] | msgspec.UnsetType = msgspec.UNSET
    channels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    event_types: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    disabled_why: str | None | msgspec.UnsetType = msgspec.UNSET
    since_us: int | msgspec.UnsetType = msgspec.UNSET  # taken where `enabled` makes it so and it was not


# --- the JSON of items ---


def item_id(*what: str | int) -> str:
    """What a receiver knows an item by: the same whenever the same thing is read again from the log."""
    return "item_" + blake2b("\0".join(map(str, what)).encode(), digest_size=12).hexdigest()


def published_item(event: Event, id_: str | None = None) -> bytes:
    """`id_`: of the item that this one takes the place of."""
    if id_ is None:
        id_ = item_id(event.app_id, event.channel, event.epoch, event.seq)
    return b'{"id":"%b","type":"event.published","epoch":%b,"event":%b}' % (
        id_.encode(),
        _encode_str(event.epoch),
        encode_event(event),
    )


def channel_item(type_: WebhookType, app_id: str, channel: str, ts_us: int, user_id: str | None = None) -> bytes:
    """Of `channel.occupied` and `channel.vacated`; with a user, of `member.joined` and `member.left`."""
    id_ = item_id(type_, app_id, channel, user_id or "", ts_us)
    return b'{"id":"%b","type":"%b","app_id":%b,"channel":%b,%b"timestamp":"%b"}' % (
        id_.encode(),
        type_.encode(),
        _encode_str(app_id),
        _encode_str(channel),
        b"" if user_id is None else b'"user_id":%b,' % _encode_str(user_id),
        format_ts(ts_us).encode(),
    )


def quota_item(app_id: str, quota: str, month: str, percent: int, limit: int, used: int, ts_us: int) -> bytes:
    """Once a month, quota and percent, whatever is read again."""
    return b'{"id":"%b","type":"quota.reached",%b' % (
        item_id("quota.reached", app_id, quota, month, percent).encode(),
        _encode_any(
            {
                "app_id": app_id,
                "quota": quota,
                "month": month,
                "percent": percent,
                "limit": limit,
                "used": used,
                "timestamp": format_ts(ts_us),
            }
        ).removeprefix(b"{"),
    )


def test_item(message_id: str, app_id: str, at_us: int) -> bytes:
    """What an operator sends to see whether an endpoint works."""
    return b'{"id":"%b","type":"webhook.test","app_id":%b,"timestamp":"%b"}' % (
        item_id("webhook.test", message_id).encode(),
        _encode_str(app_id),
        format_ts(at_us).encode(),
    )


def message_body(items: "list[bytes]", at_us: int) -> bytes:
    """A message: the same bytes at every try."""
    return b'{"type":"batch","timestamp":"%b","data":[%b]}' % (format_ts(at_us).encode(), b",".join(items))
