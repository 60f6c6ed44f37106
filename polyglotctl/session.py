"""What a command works with: the server it found, the output it was asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polyglotctl.render import Output, default_output, show
from polyglotctl.server_address import ServerAddress, find_server

if TYPE_CHECKING:
    from polyglotctl.http_client import HttpClient


class Session:
    """One run of one command."""

    def __init__(self, output: Output | None) -> None:
        self.output = output or default_output()
        self.server: ServerAddress = find_server()

    @contextmanager
    def http(self) -> "Iterator[HttpClient]":
        """A client for several calls over one connection."""
        from polyglotctl.http_client import HttpClient

        with HttpClient(self.server) as client:
            yield client

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int | None] | None = None,
    ) -> Any:
        """One call; see `HttpClient.call`."""
        with self.http() as client:
            return client.call(method, path, body, query=query)

    def show(self, value: object, *, rows: str | None = None) -> None:
        show(value, self.output, rows=rows)
