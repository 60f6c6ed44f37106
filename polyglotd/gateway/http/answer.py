"""An answer: status, headers, body. What endpoints return and `app` sends."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

JSON = "application/json"

# Nothing on the way may keep what an app's credential has shown: X-API-Key is no header that caches know.
_JSON_HEADERS = (("content-type", JSON), ("cache-control", "no-store"))

encode_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole response. `headers`: names in lower case, beside `content-length`, which the sender adds."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


def json_answer(value: object, status: int = 200) -> Answer:
    return json_text_answer(encode_json(value), status)


def json_text_answer(text: bytes, status: int = 200) -> Answer:
    """`text` is JSON already, with values of users in it that are never rebuilt."""
    return Answer(status, text, _JSON_HEADERS)


NO_CONTENT = Answer(204)
