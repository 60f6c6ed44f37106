"""What a client shows when it connects: the app and the user's token, out of a query and headers. Pure.

The token stands in the query, or where the client keeps it out of URLs: as an entry of `Sec-WebSocket-Protocol`
(phoenix.js' `authToken`) or, on long-poll, in `X-Phoenix-AuthToken`. Such a place wins over the query, where on
long-poll a session's token may stand under the same name.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from polyglotd.gateway.requests import ConnectRequest
from polyglotd.model import Invalid, Unauthorized

FIELDS_MAX = 64  # of a query: ours are four, and applications put some of their own
AUTH_TOKEN_PREFIX = "base64url.bearer.phx."


@dataclass(frozen=True, slots=True)
class Shown:
    app_id: str
    token: str
    tokens: Sequence[str]  # all of the query, in order


def shown(request: ConnectRequest) -> Shown:
    """Raises `Invalid` for a query that can't be read, `Unauthorized` where app or token are missing."""
    values = parse_query(request.query)
    app_ids = set(values.get("app_id", ()))
    if len(app_ids) != 1:
        raise Unauthorized("name the app: ?app_id=APP")
    tokens = values.get("token", [])
    token = auth_token(request.headers) or next(iter(tokens), None)
    if not token:
        raise Unauthorized("show a user token: ?token=TOKEN, or the client's authToken")
    return Shown(app_ids.pop(), token, tokens)


def parse_query(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:  # also UnicodeDecodeError
        raise Invalid("the query can't be read", field="query") from None


def auth_token(headers: Sequence[tuple[str, str]]) -> str | None:
    """The token of a header, if one holds it. Raises `Unauthorized` for one that can't be read."""
    for name, value in headers:
        if name == "x-phoenix-authtoken":
            return value
        if name == "sec-websocket-protocol":
            for entry in value.split(","):
                if entry.strip().startswith(AUTH_TOKEN_PREFIX):
                    return _decode(entry.strip().removeprefix(AUTH_TOKEN_PREFIX))
    return None


def _decode(text: str) -> str:
    # phoenix.js writes the ordinary alphabet under this name, other clients the one of URLs; none writes padding.
    ordinary = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(ordinary + "=" * (-len(ordinary) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized("the authToken is not base64") from None
