"""The gateway service: reads the plane's records, answers with commands, and serves the HTTP edge.

Built by the daemon, called by `gateway.http`. Every refusal is a `polyglotd.model.Refusal`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import trio

from polyglotd.gateway.callers import Caller, Credentials, OperatorCaller
from polyglotd.gateway.requests import (
    AppUsage,
    ChannelInfo,
    ChannelPage,
    ConnectRequest,
    Health,
    HistoryPage,
    HistoryRequest,
    Published,
    PublishRequest,
    SignalRequest,
)
from polyglotd.model import App, Refusal
from polyglotd.plane.interface import Handoff

StreamKind = Literal["sse", "tail"]


class StreamEnded(Exception):
    """The stream's connection is gone. `code`: the close code that a WebSocket would get (4001, 4003, 1012, …)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SessionGone(Exception):
    """The long-poll session is not there, or was not opened with these credentials: status 410 in the body."""


class Stream(Protocol):
    """An SSE stream or a tail: a virtual connection with one channel."""

    async def frames(self, timeout_s: float) -> Sequence[bytes]:
        """Wait for encoded messages, oldest first; empty where none came within `timeout_s`. Raises `StreamEnded`
        after the last of them. Cancelled: nothing is lost."""


class Gateway(Protocol):
    """The public API; the service of this name fills it in."""

    # --- who asks ---

    async def authenticate(self, app_id: str, credentials: Credentials) -> Caller:
        """Raises `Unauthorized` (also for an app that is not there), `Forbidden` where the app is suspended,
        `Unavailable` where the registry is away. In development mode its literals are good too."""

    async def operator(self, app_id: str) -> OperatorCaller:
        """For a peer that was found to be an operator. Raises `NotFound`."""

    async def is_operator(self, bearer: str) -> bool:
        """Whether this is an admin token."""

    async def development_reader(self, app_id: str) -> Caller | None:
        """Development mode only: who reads history of `chat-app` without a credential."""

    async def find_app(self, app_id: str) -> App:
        """Cached. Raises `NotFound`."""

    async def registry_changed(self) -> None:
        """To be awaited after every write to the registry: on return the change holds, also on live connections."""

    # --- data ---

    async def publish(
        self, caller: Caller, items: Sequence[PublishRequest], *, as_user: str | None = None
    ) -> list[Published | Refusal]:
        """Publish up to 1,000 events in one crossing; a result an item, in order. `as_user`: X-User-Id. Raises
        `Forbidden` for the batch where the caller may not publish at all or `as_user` is not the token's own."""

    async def history(self, caller: Caller, channel: str, request: HistoryRequest) -> HistoryPage: ...

    async def presence(self, caller: Caller, channel: str) -> dict[str, object]:
        """Phoenix's shape: {user: {"metas": [{"phx_ref": …}]}}. Raises `Forbidden` without the capability."""

    async def channel_info(self, caller: Caller, channel: str) -> ChannelInfo: ...

    async def channels(self, caller: Caller, *, prefix: str, cursor: str | None, limit: int) -> ChannelPage: ...

    async def usage(self, caller: Caller) -> AppUsage: ...

    # --- operations: key `admin:app` or operator ---

    async def kick(self, caller: Caller, channel: str, user_id: str) -> int:
        """End the user's subscriptions of the channel with `phx_close`; how many there were."""

    async def signal_user(self, caller: Caller, user_id: str, signal: SignalRequest) -> int:
        """To each device of the user that joined the channel; how many. Raises `NotFound` where there is none."""

    async def disconnect_user(self, caller: Caller, user_id: str) -> int:
        """Close the user's connections with 4003; how many there were."""

    async def revoke_user(self, caller: Caller, user_id: str) -> None:
        """All tokens of the user that were issued up to now are void; live connections close with 4003."""

    # --- connections without a socket ---

    @asynccontextmanager
    def open_stream(
        self,
        caller: Caller,
        channel: str,
        *,
        kind: StreamKind,
        since: tuple[str, int] | None,
        request: ConnectRequest,
    ) -> AsyncIterator[Stream]:
        """Follow a channel. Limits hold as at a WebSocket's connect and join (a tail of an operator is free)."""
        ...

    async def open_longpoll(self, request: ConnectRequest) -> str:
        """Open a session; its token. Raises what a WebSocket's connect is refused for."""

    def longpoll_session(self, request: ConnectRequest) -> str | None:
        """The session's token in a request's query (its last `token`), if that is a live session opened with the
        credentials that this request shows; else None."""

    async def feed_longpoll(self, token: str, frames: Sequence[bytes], *, binary: bool) -> None:
        """Frames from the client, as if a socket had read them. Raises `SessionGone`."""

    async def poll(self, token: str, timeout_s: float) -> Sequence[bytes]:
        """Wait for frames; empty where none came. Raises `SessionGone`. Cancelled: nothing is lost."""

    # --- service ---

    @property
    def handoffs(self) -> trio.MemoryReceiveChannel[Handoff]:
        """Connections that are the HTTP server's; whoever receives one owns its descriptor."""

    def client_address(self, peer: str, headers: Sequence[tuple[str, str]]) -> str:
        """The address that limits count: what a trusted proxy forwards, else the peer's."""

    def health(self) -> Health: ...
