"""What is said of a route in the OpenAPI document. Rows of `routes` carry it; `openapi` writes it out."""

from dataclasses import dataclass
from typing import Any, Literal

Needs = Literal["nothing", "publish", "read", "presence", "admin:app", "operator"]


@dataclass(frozen=True, slots=True)
class Param:
    """A query parameter or header."""

    name: str
    about: str
    schema: dict[str, Any]
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc:
    """`request` and `answer` are Structs of `shapes`, whose schemas they give."""

    tag: str
    summary: str
    needs: Needs
    user_token: bool = False  # a user token will do as well as a key
    about: str = ""
    params: tuple[Param, ...] = ()
    request: type | None = None
    answer: type | None = None
    status: int = 200
    answer_type: str = "application/json"  # of an answer that has no Struct, too
    errors: tuple[int, ...] = ()  # beside those of its credentials and of every call
