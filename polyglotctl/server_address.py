"""Where the server is, and by what right we speak to it: from the environment, in the contract's order.

The Unix socket where `POLYGLOT_DATA` names one, else `POLYGLOT_URL` with the admin token or the API key. With neither
set: the socket in `./data`, the daemon's own default, else the daemon's default port.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyglotctl.failure import WrongUsage

DEFAULT_DATA = "data"
DEFAULT_URL = "http://127.0.0.1:4000"
SOCKET_NAME = "admin.sock"
TOKEN_NAME = "admin.token"


@dataclass(frozen=True)
class ServerAddress:
    """One way to the server. `found_by` says, for people, which setting named it."""

    url: str
    socket: Path | None
    admin_token: str | None
    api_key: str | None
    found_by: str

    def headers(self, *, app_call: bool) -> dict[str, str]:
        """The credential to send. The peer's uid is enough over the socket; elsewhere an API key serves the calls of
        an app, and the admin token all."""
        if self.socket is not None:
            return {}
        if app_call and self.api_key:
            return {"X-API-Key": self.api_key}
        if self.admin_token:
            return {"Authorization": f"Bearer {self.admin_token}"}
        return {}


def find_server(environ: Mapping[str, str] = os.environ) -> ServerAddress:
    """Raises `WrongUsage` where a setting can't be right."""
    data = environ.get("POLYGLOT_DATA")
    url = environ.get("POLYGLOT_URL")
    api_key = environ.get("POLYGLOT_API_KEY") or None
    directory = Path(data or DEFAULT_DATA)
    token = environ.get("POLYGLOT_ADMIN_TOKEN") or None
    socket = directory / SOCKET_NAME
    if data is not None or url is None:
        found_by = "POLYGLOT_DATA" if data is not None else f"the default data directory ./{DEFAULT_DATA}"
        if socket.is_socket():
            return ServerAddress("http://polyglot.local", socket, token, api_key, found_by)
        if data is not None and not directory.is_dir():
            raise WrongUsage(
                f"POLYGLOT_DATA={data} is not a directory. Name the directory that `polyglotd --data` has."
            )
    if url is not None and not url.startswith(("http://", "https://")):
        raise WrongUsage(f"POLYGLOT_URL={url} is no URL. It begins with http:// or https://.")
    return ServerAddress(
        (url or DEFAULT_URL).rstrip("/"),
        None,
        token or _token_file(directory),
        api_key,
        "POLYGLOT_URL" if url is not None else "the default address",
    )


def _token_file(directory: Path) -> str | None:
    try:
        return (directory / TOKEN_NAME).read_text().strip() or None
    except OSError:
        return None
