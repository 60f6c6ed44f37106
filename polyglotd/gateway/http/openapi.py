"""The OpenAPI 3.1 document, written from the rows of `routes` and the Structs that encode the answers.

`/openapi.json` serves it; a test validates it. What has no `Doc` (the sockets, long-poll, examples) is not in it.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from polyglotd.gateway.http.answer import Answer, json_text_answer
from polyglotd.gateway.http.call import Call
from polyglotd.gateway.http.doc import Doc, Param
from polyglotd.gateway.http.edge import Edge
from polyglotd.gateway.http.routes import Route
from polyglotd.gateway.http.shapes import EmptyBody, Problem
from polyglotd.gateway.problem import CONTENT_TYPE

_ABOUT = (
    "Events in, events out: the HTTP side of Polyglot. Clients follow channels over the Phoenix Channels protocol"
    " (`/socket/websocket`, long-poll at `/socket/longpoll`) or Server-Sent Events. Every error is RFC 9457 problem"
    " details with a `code`."
)
_NAMES = {
    "app": "The app's id.",
    "channel": "`KIND:NAME`, percent-encoded where need be; a slash in it always.",
    "id": "The event's id.",
    "erasure": "The erasure's id.",
    "user": "The user's id, percent-encoded where need be.",
    "kind": "The kind's name.",
    "key_id": "The key's id, not the key.",
    "secret_id": "The secret's id.",
    "webhook_id": "The webhook's id.",
    "message_id": "The message's id, as its `webhook-id`.",
}
_CREDENTIALS: dict[str, Any] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key of the app."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A user token (JWT), an API key, or an admin token; an operator may do what a key may.",
    },
}
_REF = "#/components/schemas/{name}"


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    documented = [(route, route.doc) for route in routes if route.doc is not None]
    types = {shape for _, doc in documented for shape in (doc.request, doc.answer) if shape is not None} | {Problem}
    in_order = sorted(types, key=lambda shape: shape.__name__)  # the document is the same at every start
    references, components = msgspec.json.schema_components(in_order, ref_template=_REF)
    schema_of = dict(zip(in_order, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, doc in documented:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, doc, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Polyglot", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _CREDENTIALS},
    }


def _operation(route: Route, doc: Doc, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    module = route.endpoint.__module__.rpartition(".")[2]
    operation: dict[str, Any] = {
        "operationId": f"{module}.{route.endpoint.__name__.rstrip('_')}",
        "tags": [doc.tag],
        "summary": doc.summary,
        "description": " ".join(filter(None, (doc.about, _needs(doc)))),
        "parameters": [_path_parameter(name) for name in re.findall(r"\{(\w+)\}", route.path)]
        + [_parameter(param) for param in doc.params],
        "responses": {str(doc.status): _answer(doc, schema_of)} | _errors(doc),
        "security": _security(doc),
    }
    if doc.request is not None:
        operation["requestBody"] = {
            "required": doc.request is not EmptyBody,
            "content": {"application/json": {"schema": schema_of[doc.request]}},
        }
    return operation


def _needs(doc: Doc) -> str:
    match doc.needs:
        case "nothing":
            return "Needs no credential."
        case "operator":
            return "For operators: the admin socket, or an admin token."
        case scope:
            return f"Needs an API key with the scope `{scope}`{', or a user token' if doc.user_token else ''}."


def _security(doc: Doc) -> list[dict[str, list[str]]]:
    match doc.needs:
        case "nothing":
            return []
        case "operator":
            return [{"bearer": []}]
        case _:
            return [{"apiKey": []}, {"bearer": []}]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": _NAMES[name], "schema": {"type": "string"}}


def _parameter(param: Param) -> dict[str, Any]:
    return {"name": param.name, "in": param.place, "description": param.about, "schema": param.schema}


def _answer(doc: Doc, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(doc.status).phrase}
    if doc.answer is not None:
        answer["content"] = {doc.answer_type: {"schema": schema_of[doc.answer]}}
    elif doc.status != 204:
        answer["content"] = {doc.answer_type: {"schema": {"type": "string"}}}
    return answer


def _errors(doc: Doc) -> dict[str, Any]:
    statuses = {*doc.errors, 500}
    if doc.request is not None:
        statuses |= {400, 408, 413}
    if doc.needs != "nothing":
        statuses |= {401, 403}
    content = {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    answers = {}
    for status in sorted(statuses):
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        answers[str(status)] = answer
    return answers


def openapi_route(routes: Sequence[Route], version: str) -> Route:
    """The row that serves the document of all rows."""
    text = msgspec.json.encode(document(routes, version))

    async def openapi(edge: Edge, call: Call) -> Answer:  # noqa: ARG001  an endpoint's signature
        return json_text_answer(text)

    return Route("GET", "/openapi.json", openapi)
