"""Channels over HTTP: who is there, where one stands, which are occupied, and what an app uses."""

from typing import Any

from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import ChannelDetail, ChannelList, ChannelView, Presence, Usage, usage_view
from polyglotd.gateway.requests import ChannelInfo
from polyglotd.model import Invalid

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
NAME_BYTES_MAX = 1024  # of a prefix or a cursor, far above any channel's


async def presence(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    channel = call.channel()
    call.query()
    found = await edge.gateway.presence(caller, channel)
    return json_answer(Presence(app_id=caller.app.app_id, channel=channel, presence=found))


async def channel(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    name = call.channel()
    call.query()
    info = await edge.gateway.channel_info(caller, name)
    return json_answer(ChannelDetail(app_id=caller.app.app_id, **_members(info)))


async def channels(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    query = call.query(("prefix", "cursor", "limit"))
    prefix, cursor = query.text("prefix") or "", query.text("cursor")
    for name, value in (("prefix", prefix), ("cursor", cursor or "")):
        if len(value) > NAME_BYTES_MAX:
            raise Invalid(f"{name} is longer than any channel", field=name)
    limit = query.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
    page = await edge.gateway.channels(caller, prefix=prefix, cursor=cursor, limit=limit)
    views = [ChannelView(**_members(info)) for info in page.channels]
    return json_answer(ChannelList(app_id=caller.app.app_id, channels=views, cursor=page.cursor))


async def usage(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    call.query()
    return json_answer(usage_view(caller.app.app_id, await edge.gateway.usage(caller)))


def _members(info: ChannelInfo) -> dict[str, Any]:
    return {
        "channel": info.channel,
        "kind": info.kind,
        "epoch": info.epoch,
        "seq": info.seq,
        "subscriptions": info.subscriptions,
        "users": info.users,
    }


ROUTES = [
    Route(
        "GET",
        "/apps/{app}/channels/{channel}/presence",
        presence,
        Doc(
            tag="channels", summary="Who is in a channel", needs="presence", user_token=True, answer=Presence,
            errors=(404, 422, 503),
        ),
    ),
    Route(
        "GET",
        "/apps/{app}/channels/{channel}",
        channel,
        Doc(
            tag="channels", summary="Where a channel stands", needs="read", user_token=True, answer=ChannelDetail,
            errors=(404, 422, 503),
        ),
    ),
    Route(
        "GET",
        "/apps/{app}/channels",
        channels,
        Doc(
            tag="channels",
            summary="Occupied channels",
            needs="read",
            params=(
                Param("prefix", "Names that begin so.", {"type": "string"}),
                Param("cursor", "Of the page before.", {"type": "string"}),
                Param(
                    "limit", "At most so many.",
                    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                ),
            ),
            answer=ChannelList,
            errors=(422,),
        ),
    ),
    Route(
        "GET",
        "/apps/{app}/usage",
        usage,
        Doc(tag="channels", summary="Use against quotas", needs="read", answer=Usage, errors=(503,)),
    ),
]  # fmt: skip
