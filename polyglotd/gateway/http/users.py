"""What an app's own server does to its users: kick, signal, disconnect, revoke."""

import msgspec

from polyglotd.gateway.http.answer import Answer, json_answer
from polyglotd.gateway.http.auth import caller_of
from polyglotd.gateway.http.call import Call, unknown_members
from polyglotd.gateway.http.doc import Doc
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.publish import event_members, text_member
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import (
    DisconnectedUser,
    EmptyBody,
    KickBody,
    Kicked,
    RevokedUser,
    SignalBody,
    Signalled,
)
from polyglotd.gateway.requests import SignalRequest
from polyglotd.model import check_channel, check_type, check_user_id

_kick = msgspec.json.Decoder(KickBody)
_empty = msgspec.json.Decoder(EmptyBody)


async def kick(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    channel = call.channel()
    user = check_user_id((await call.struct(_kick)).user, "user")
    return json_answer(Kicked(subscriptions=await edge.gateway.kick(caller, channel, user)))


async def signal(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    user = call.user()
    found = await event_members(call, caller.app.limits)
    unknown_members(found, ("channel", "type", "data"))
    request = SignalRequest(
        check_channel(text_member(found, "channel")),
        check_type(text_member(found, "type")),
        found.get("data", b"null"),
    )
    return json_answer(Signalled(devices=await edge.gateway.signal_user(caller, user, request)))


async def disconnect(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    user = call.user()
    await call.struct(_empty)
    return json_answer(DisconnectedUser(connections=await edge.gateway.disconnect_user(caller, user)))


async def revoke(edge: Edge, call: Call) -> Answer:
    caller = await caller_of(edge, call)
    user = call.user()
    await call.struct(_empty)
    await edge.gateway.revoke_user(caller, user)
    return json_answer(RevokedUser(user=user, revoked=True))


ROUTES = [
    Route(
        "POST",
        "/apps/{app}/channels/{channel}/kick",
        kick,
        Doc(
            tag="users",
            summary="End a user's subscriptions of a channel",
            needs="admin:app",
            about="They get `phx_close`. The user may join again.",
            request=KickBody,
            answer=Kicked,
            errors=(415, 422),
        ),
    ),
    Route(
        "POST",
        "/apps/{app}/users/{user}/signal",
        signal,
        Doc(
            tag="users",
            summary="Send a signal to one user's devices",
            needs="admin:app",
            about="To each that joined the channel; 404 where there is none.",
            request=SignalBody,
            answer=Signalled,
            errors=(404, 413, 415, 422),
        ),
    ),
    Route(
        "POST",
        "/apps/{app}/users/{user}/disconnect",
        disconnect,
        Doc(
            tag="users",
            summary="Close a user's connections",
            needs="admin:app",
            about="With 4003. The user may connect again.",
            request=EmptyBody,
            answer=DisconnectedUser,
            errors=(415, 422),
        ),
    ),
    Route(
        "POST",
        "/apps/{app}/users/{user}/revoke",
        revoke,
        Doc(
            tag="users",
            summary="Revoke a user's tokens",
            needs="admin:app",
            about="All that were issued up to now; live connections close with 4003 within a second.",
            request=EmptyBody,
            answer=RevokedUser,
            errors=(415, 422, 503),
        ),
    ),
]
