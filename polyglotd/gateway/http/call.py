"""One HTTP request, as endpoints see it.

Made by `app`. Names in its path are decoded; checked ones come out of `app_id`, `channel` and `user`.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

import msgspec

from polyglotd.gateway.http.body import Receive, check_json_type, read_body
from polyglotd.gateway.http.query import Query
from polyglotd.model import Invalid, Limits, Malformed, check_app_id, check_channel, check_user_id
from polyglotd.protocol.json_text import NoObject, NotJson, RepeatedKey, members

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")

SMALL_BODY_BYTES = 64 * 1024  # of calls whose body is a few names and numbers; an imported key is the largest
# Set in the scope's state by the admin socket: the peer was found to be an operator by its uid.
OPERATOR_STATE = "polyglot.operator"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_\-.]{1,64}")
_DECODER_PATH = re.compile(r" - at `(?:key in )?\$?\.?([^`]*)`$")
_DECODER_FIELD = re.compile(r"field `([^`]*)`")


class Call:
    """A request. `headers`: names in lower case. `params`: the path's, decoded; None: they name nothing."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: list[tuple[str, str]] = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        self.method: str = scope.get("method", "GET")
        self.params: Mapping[str, str | None] = {}
        given = self.header("x-request-id")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        # Whether this request's body may still be on its way: such a request's connection ends with it.
        self.unread = any(name in ("content-length", "transfer-encoding") for name, _ in self.headers)
        self.origin_headers: list[tuple[str, str]] = []  # what the answer says to the page that asks, if one does
        self.streaming = False  # the head of a stream is out: no other answer can follow
        self.limits: Limits | None = None  # the app's, once the caller is known …
        self.rate: str | None = None  # … and which of them a 429 of this call is about

    # --- head ---

    def header(self, name: str) -> str | None:
        """The value of a header, the first where it is repeated. `name` in lower case."""
        for found, value in self.headers:
            if found == name:
                return value
        return None

    def single_header(self, name: str) -> str | None:
        """As `header`. Raises `Invalid` where it is repeated: two opinions on one thing."""
        values = [value for found, value in self.headers if found == name]
        if len(values) > 1:
            raise Invalid(f"the header {name} is given {len(values)} times", field=name)
        return values[0] if values else None

    @property
    def from_operator_socket(self) -> bool:
        return self.scope.get("state", {}).get(OPERATOR_STATE) is True

    @property
    def address(self) -> str:
        """The peer's. On the admin socket there is none."""
        client = self.scope.get("client")
        return "" if client is None else str(client[0])

    @property
    def query_text(self) -> str:
        text: bytes = self.scope["query_string"]
        return text.decode("latin-1")

    def query(self, known: Collection[str] = ()) -> Query:
        return Query(self.scope["query_string"], known)

    # --- path ---

    def app_id(self) -> str:
        return check_app_id(self.param("app"))

    def channel(self) -> str:
        return check_channel(self.param("channel"))

    def user(self) -> str:
        return check_user_id(self.param("user"), "user")

    def param(self, name: str) -> str:
        """Raises `Invalid` where the segment is no percent-encoded UTF-8."""
        value = self.params[name]
        if value is None:
            raise Invalid("the path holds what is not percent-encoded UTF-8", field=_FIELDS.get(name, name))
        return value

    # --- body ---

    async def body(self, limit: int) -> bytes:
        body = await read_body(self.receive, self.headers, limit)
        self.unread = False
        return body

    async def json(self, limit: int) -> bytes:
        check_json_type(self.headers)
        return await self.body(limit)

    async def members(self, limit: int) -> dict[str, bytes]:
        """The members of the body's object, each as its own text."""
        return object_members(await self.json(limit), "body")

    async def struct(self, decoder: msgspec.json.Decoder[T]) -> T:
        """A small body as a Struct. No body at all is `{}`."""
        has_body = any(
            name == "transfer-encoding" or (name == "content-length" and value != "0") for name, value in self.headers
        )
        body = await self.json(SMALL_BODY_BYTES) if has_body else b"{}"
        object_members(body, "body")  # for what the decoder does not see: UTF-8, repeated keys
        return decode(decoder, body)


_FIELDS = {"app": "app_id"}


def object_members(text: bytes, field: str) -> dict[str, bytes]:
    """Raises `Malformed` for what is not JSON, `Invalid` for what is no object or repeats a key."""
    try:
        return members(text)
    except NotJson as error:
        raise Malformed(str(error), field=field) from None
    except (NoObject, RepeatedKey) as error:
        raise Invalid(str(error), field=field) from None


def decode(decoder: msgspec.json.Decoder[T], text: bytes, field: str = "body") -> T:
    """Raises `Invalid`, naming the member that is wrong; `Malformed` for what is not JSON."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        words = str(error)
        path = _DECODER_PATH.search(words)
        named = _DECODER_FIELD.search(words)
        where = ".".join(part[1] for part in (path, named) if part is not None and part[1])
        raise Invalid(words[: path.start()] if path else words, field=where.partition("[")[0] or field) from None
    except RecursionError:
        raise Malformed("JSON nested too deeply", field=field) from None
    except msgspec.DecodeError:
        raise Malformed("not JSON", field=field) from None


def unknown_members(found: Mapping[str, object], known: Sequence[str], where: str = "") -> None:
    """Raises `Invalid` for members that the call does not know: a misspelt one would be lost without a word."""
    for name in found:
        if name not in known:
            raise Invalid(
                f"there is no member {name[:64]!r} here; known: {', '.join(known)}", field=where + name[:64]
            )
