"""An answer: status, headers, body. What endpoints return and `app` sends."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

JSON = "application/json"

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
    return Answer(status, text, (("content-type", JSON),))


NO_CONTENT = Answer(204)
