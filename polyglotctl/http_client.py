"""The HTTP side of the client: one call, one answer, one exception per way to fail."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from polyglotctl.failure import RefusedByServer, Unreachable, WrongUsage
from polyglotctl.server_address import ServerAddress

TIMEOUT_S = 30.0


class HttpClient:
    """A connection to the server, opened with `with`."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        transport = httpx.HTTPTransport(uds=str(server.socket)) if server.socket is not None else None
        self._client = httpx.Client(base_url=server.url, transport=transport, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        query: Mapping[str, str | int | None] | None = None,
        user: str | None = None,
    ) -> Any:
        """The decoded answer; None for 204. `content` is JSON text to be sent as it is, `user` whom it is sent for.

        Raises `RefusedByServer` with the problem details, `Unreachable` where no answer came.
        """
        response = self._response(method, path, body, content=content, query=query, user=user)
        return _decode(response) if response.content else None

    def text(self, path: str, *, query: Mapping[str, str | int | None] | None = None) -> bytes:
        """The answer of a GET as it came: for events, whose `data` must stay the same bytes. Raises as `call`."""
        return self._response("GET", path, None, content=None, query=query, user=None).content

    def _response(
        self,
        method: str,
        path: str,
        body: object,
        *,
        content: bytes | None,
        query: Mapping[str, str | int | None] | None,
        user: str | None,
    ) -> httpx.Response:
        headers = self._server.headers(app_call=path.startswith("/apps/"))
        if content is None and body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        if user is not None:
            headers["X-User-Id"] = _header_value(user)
        params = {name: value for name, value in (query or {}).items() if value is not None}
        with self._reaching():
            response = self._client.request(method, path, content=content, headers=_encoded(headers), params=params)
        if response.is_success:
            return response
        raise RefusedByServer(response.status_code, _problem(response))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        where = self._server.socket or self._server.url
        try:
            yield
        except httpx.TimeoutException:
            raise Unreachable(f"{where} did not answer within {TIMEOUT_S:.0f} s. Is the daemon overloaded?") from None
        except (httpx.TransportError, OSError) as error:
            raise Unreachable(
                f"no server at {where} ({error}; found by {self._server.found_by}). Start one with `polyglotd serve`,"
                " or set POLYGLOT_URL or POLYGLOT_DATA."
            ) from None


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def _header_value(text: str) -> str:
    """Headers carry UTF-8 here; what can't be in one at all is the caller's mistake."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise WrongUsage("a user has no control characters.")
    return text


def _decode(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except ValueError:
        raise Unreachable(f"{response.url} answered with something that is not JSON. Is it a Polyglot?") from None


def _problem(response: httpx.Response) -> Mapping[str, object]:
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"code": str(response.status_code), "detail": f"the server answered HTTP {response.status_code}."}
