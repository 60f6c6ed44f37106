"""One POST: HTTP/1.1 over a connection that `connecting` has checked, with a bound on everything that comes back.

An endpoint's task has a `Sender` of its own, which keeps its connection for the next message; the admin API makes one
for a test. The status decides; of the body only so much is read as lets the connection be used again. Redirects are
not followed, proxies of the environment not asked, and nothing is unpacked.
"""

import email.utils
import time
from collections.abc import Sequence

import h11
import msgspec
import trio

from polyglotd.access.webhook_addresses import Target
from polyglotd.processor.webhooks.connecting import CannotConnect, Connector, has_ended

TOTAL_S = 15.0  # from the lookup of the name to the answer's status
BODY_S = 2.0  # for the body of the answer, whose status is known
BODY_BYTES_MAX = 64 << 10
HEAD_BYTES_MAX = 32 << 10
SHOWN_BYTES = 1_000  # of an answer's body, to whoever tests an endpoint
IDLE_S = 60.0  # a connection that was unused for longer is not used again
USER_AGENT = "Polyglot-Webhooks/1"
RETRY_AFTER_MAX_S = 3_600.0

_READ_BYTES = 16 << 10


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a POST. `error`: why it is no success, in words."""

    duration_ms: int
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    answer: str = ""  # the beginning of its body

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class _Kept:
    """A connection and the protocol's state on it."""

    def __init__(self, target: Target, stream: trio.abc.Stream) -> None:
        self.target = target
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self.used_s = trio.current_time()


class _Broken(Exception):
    """The connection is of no use; `early`: before anything of an answer came."""

    def __init__(self, why: str, *, early: bool) -> None:
        super().__init__(why)
        self.early = early


class Sender:
    """Not for two tasks at once. Whoever has one calls `aclose`."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._kept: _Kept | None = None

    async def aclose(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await trio.aclose_forcefully(kept.stream)

    async def post(self, target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> Outcome:
        """Send it and tell what came of it, within some 17 s. Raises nothing that an endpoint can bring about."""
        began_s = trio.current_time()
        answer = None
        error = f"no answer within {TOTAL_S:g} s"
        with trio.move_on_after(TOTAL_S):
            try:
                answer = await self._ask(target, headers, body)
            except (CannotConnect, _Broken) as fault:
                error = str(fault)
        duration_ms = round((trio.current_time() - began_s) * 1000)
        if answer is None:
            await self.aclose()
            return Outcome(duration_ms=duration_ms, error=error)
        shown = await self._read_body()
        return Outcome(
            duration_ms=duration_ms,
            status=answer.status_code,
            error=None if 200 <= answer.status_code < 300 else _words(answer),
            retry_after_s=_retry_after_s(answer),
            answer=shown.decode(errors="replace"),
        )

    async def _ask(self, target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> h11.Response:
        kept = self._reusable(target)
        if kept is not None:
            try:
                return await self._exchange(kept, headers, body)
            except _Broken as fault:
                await self.aclose()
                if not fault.early:
                    raise  # else it ended while it was idle: that says nothing of the endpoint
        await self.aclose()
        kept = _Kept(target, await self._connector.connect(target))
        return await self._exchange(kept, headers, body)

    def _reusable(self, target: Target) -> _Kept | None:
        kept = self._kept
        if kept is None or kept.target != target or trio.current_time() - kept.used_s > IDLE_S:
            return None
        return None if has_ended(kept.stream) else kept

    async def _exchange(self, kept: _Kept, headers: Sequence[tuple[str, str]], body: bytes) -> h11.Response:
        self._kept = kept
        request = h11.Request(
            method="POST",
            target=kept.target.path,
            headers=[
                ("Host", kept.target.authority),
                ("User-Agent", USER_AGENT),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                *headers,
            ],
        )
        http = kept.http
        sent = [http.send(request), http.send(h11.Data(body)), http.send(h11.EndOfMessage())]
        try:
            await kept.stream.send_all(b"".join(part for part in sent if part))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # It may have answered before it read all: that it did so is what counts, if it can still be read.
            refusal: Exception = error
        else:
            refusal = EOFError("the connection ended")
        return await self._head(kept, refusal)

    async def _head(self, kept: _Kept, refusal: Exception) -> h11.Response:
        early = True
        try:
            while True:
                event = kept.http.next_event()
                if isinstance(event, h11.Response):
                    return event
                if event is h11.NEED_DATA:
                    data = await kept.stream.receive_some(_READ_BYTES)
                    if not data and early:
                        raise _Broken(f"no answer: {refusal}", early=True)
                    early = False
                    kept.http.receive_data(bytes(data))
                elif not isinstance(event, h11.InformationalResponse):
                    raise _Broken("the answer is no HTTP", early=False)
        except h11.RemoteProtocolError as error:
            raise _Broken(f"the answer is no HTTP: {error}", early=False) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _Broken(f"no answer: {error.__cause__ or refusal}", early=early) from error

    async def _read_body(self) -> bytes:
        """The beginning of it. Unless all of it is short and quick, the connection goes."""
        kept = self._kept
        assert kept is not None
        shown, size = b"", 0
        whole = False
        try:
            with trio.move_on_after(BODY_S):
                while size <= BODY_BYTES_MAX and not whole:
                    event = kept.http.next_event()
                    if event is h11.NEED_DATA:
                        kept.http.receive_data(bytes(await kept.stream.receive_some(_READ_BYTES)))
                    elif isinstance(event, h11.Data):
                        size += len(event.data)
                        shown = (shown + bytes(event.data))[:SHOWN_BYTES]
                    else:
                        whole = True
        except (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            whole = False
        if whole and kept.http.our_state is h11.DONE and kept.http.their_state is h11.DONE:
            kept.http.start_next_cycle()
            kept.used_s = trio.current_time()
        else:
            await self.aclose()
        return shown


def _words(answer: h11.Response) -> str:
    if 300 <= answer.status_code < 400:
        return f"HTTP {answer.status_code}: redirects are not followed"
    return f"HTTP {answer.status_code}"


def _retry_after_s(answer: h11.Response) -> float | None:
    """In seconds from now, within bounds."""
    for name, value in answer.headers:
        if name == b"retry-after":
            text = value.decode("latin-1").strip()
            if text.isascii() and text.isdigit():
                return min(float(text[:9]), RETRY_AFTER_MAX_S)
            try:
                at_s = email.utils.parsedate_to_datetime(text).timestamp()
            except (ValueError, TypeError, OverflowError):
                return None
            return max(0.0, min(at_s - time.time(), RETRY_AFTER_MAX_S))
    return None
